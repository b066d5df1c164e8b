import Foundation
import Records
import Tenancy
import TestSupport
import Testing

@Suite("Batches over HTTP", .serialized)
struct BatchTests {
    @Test("changes of several types go in together, refer to each other, and are undone as one")
    func together() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("batches")
        let client = platform.client("contacts", token: tenant.key)
        let old = try await client.post("/v1/contacts", ["given_name": "Old"])
        let gone = try await client.post("/v1/contacts", ["given_name": "Gone", "external_id": "g"])
        let batch: JSONValue = [
            "operations": [
                ["op": "create", "type": "organization", "ref": "acme", "body": ["name": "Acme $acme"]],
                [
                    "op": "create", "type": "contact", "ref": "ada",
                    "body": ["given_name": "Ada", "organization_id": "$acme"],
                ],
                [
                    "op": "create", "type": "relationship",
                    "body": ["contact_id": "$ada", "kind": "friend", "other_contact_id": old.json["id"]!],
                ],
                ["op": "update", "type": "contact", "id": "$ada", "if_match": 1, "body": ["region": "North"]],
                [
                    "op": "update", "type": "contact", "id": old.json["id"]!, "if_match": "*",
                    "body": ["region": "South"],
                ],
                ["op": "delete", "type": "contact", "id": gone.json["id"]!, "if_match": 1],
            ]
        ]
        // A prediction speaks of what is not there yet by its name, and leaves nothing behind.
        let dry = try await client.post("/v1/batch?dry_run=true", batch)
        #expect(dry.status == 200 && dry.header("x-dry-run") == "true", "\(dry.text)")
        #expect(dry.json["record"]?["results"]?.array?.count == 6)
        #expect(dry.json["changes"]?.array?[1]["changes"]?["organization_id"] == ["from": .null, "to": "$acme"])
        #expect(dry.json["changes"]?.array?.count == 6)
        #expect(try await client.get("/v1/contacts?count=exact").json["count"] == 2)

        let done = try await client.post("/v1/batch", batch, key: "batch-12345678")
        #expect(done.status == 200, "\(done.text)")
        let results = done.json["results"]!.array!
        #expect(results.map { $0["status"] } == [201, 201, 201, 200, 200, 204])
        #expect(results[0]["record"]?["name"] == "Acme $acme")
        #expect(results[1]["record"]?["organization_id"] == results[0]["id"])
        #expect(results[3]["record"]?["region"] == "North" && results[3]["version"] == 2)
        let again = try await client.post("/v1/batch", batch, key: "batch-12345678")
        #expect(again.text == done.text && again.header("idempotency-replayed") == "true")
        #expect(try await client.get("/v1/organizations?count=exact").json["count"] == 1)

        let set = done.header("x-change-set")!
        #expect(try await client.get("/v1/change-sets/\(set)").json["counts"]?.array?.count == 5)
        let undone = try await client.post("/v1/change-sets/\(set)/undo", [:])
        #expect(undone.status == 200 && undone.json["conflict_count"] == 0, "\(undone.text)")
        #expect(try await client.get("/v1/organizations?count=exact").json["count"] == 0)
        let left = try await client.get("/v1/contacts?sort=given_name").json["items"]!.array!
        #expect(left.map { $0["given_name"] } == ["Gone", "Old"] && left[1]["region"] == .null)
    }

    @Test("one that is refused takes all with it, and is told by its place")
    func refused() async throws {
        let platform = try await TestPlatform(["contacts serve", "opportunities serve"])
        let tenant = try await platform.tenant("refusals")
        let client = platform.client("contacts", token: tenant.key)
        let fine: JSONValue = ["op": "create", "type": "contact", "ref": "a", "body": ["given_name": "Fine"]]
        let known = try await client.post("/v1/contacts", ["given_name": "Known", "source": "s", "external_id": "1"])
        let id = known.json["id"]!
        func expect(_ last: JSONValue, _ status: Int, _ code: String, _ pointer: String) async throws {
            let answer = try await client.post("/v1/batch", ["operations": [fine, fine.without("ref"), last]])
            #expect(answer.status == status && answer.json["code"] == .string(code), "\(last.encoded): \(answer.text)")
            #expect(answer.json["errors"]?.array?.first?["pointer"] == .string(pointer), "\(answer.text)")
            #expect(answer.json["operation"] == 2, "\(answer.text)")
            #expect(try await client.get("/v1/contacts?count=exact").json["count"] == 1, "nothing is left of it")
        }
        try await expect(
            ["op": "create", "type": "contact", "body": ["birth_date": "never", "emails": [["value": "no"]]]], 422,
            "invalid", "/operations/2/body/birth_date")
        try await expect(
            ["op": "create", "type": "contact", "body": ["source": "s", "external_id": "1"]], 409, "not_unique",
            "/operations/2/body/external_id")
        try await expect(
            ["op": "create", "type": "contact", "body": ["organization_id": .string(UUID().uuidString)]], 409,
            "no_such_record", "/operations/2/body/organization_id")
        try await expect(
            ["op": "create", "type": "contact", "body": ["organization_id": "$nobody"]], 422, "invalid",
            "/operations/2/body/organization_id")
        try await expect(
            ["op": "update", "type": "contact", "id": "$b", "if_match": "*", "body": [:]], 422, "invalid",
            "/operations/2/id")
        try await expect(
            ["op": "update", "type": "contact", "id": id, "if_match": 7, "body": [:]], 412, "stale", "/operations/2")
        try await expect(
            ["op": "delete", "type": "contact", "id": .string(UUID().uuidString), "if_match": "*"], 404, "not_found",
            "/operations/2")
        let twice = try await client.post(
            "/v1/batch",
            [
                "operations": [
                    ["op": "delete", "type": "contact", "id": id, "if_match": "*"],
                    ["op": "update", "type": "contact", "id": id, "if_match": "*", "body": [:]],
                ]
            ])
        #expect(twice.status == 404 && twice.json["operation"] == 1, "\(twice.text)")
        #expect(try await client.get("/v1/contacts/\(id.text!)").json["version"] == 1)

        // Rules that look at the database see what the batch did before.
        let sales = platform.client("opportunities", token: tenant.key)
        let deal = try await sales.post(
            "/v1/batch",
            [
                "operations": [
                    ["op": "create", "type": "pipeline", "ref": "p", "body": ["name": "P"]],
                    [
                        "op": "create", "type": "stage", "ref": "s",
                        "body": ["pipeline_id": "$p", "name": "S", "position": 1],
                    ],
                    ["op": "create", "type": "opportunity", "body": ["name": "D", "stage_id": "$s"]],
                ]
            ])
        #expect(deal.status == 200, "\(deal.text)")
        #expect(deal.json["results"]?.array?[2]["record"]?["pipeline_id"] == deal.json["results"]?.array?[0]["id"])
    }

    @Test("likely duplicates and missing rights refuse a batch as they refuse a single change")
    func likeness() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("likeness")
        let client = platform.client("contacts", token: tenant.key)
        let person: JSONValue = [
            "given_name": "Zoë", "family_name": "Müller", "birth_date": "1980-02-03",
            "emails": [["value": "zoe@example.eu"]], "phones": [["value": "+49301234567"]],
        ]
        let batch: JSONValue = [
            "operations": [
                ["op": "create", "type": "contact", "body": person],
                ["op": "create", "type": "contact", "body": person],
            ]
        ]
        let refused = try await client.post("/v1/batch", batch)
        #expect(refused.status == 409 && refused.json["code"] == "duplicates", "\(refused.text)")
        #expect(refused.json["operation"] == 1 && refused.json["duplicates"]?.array?.count == 1)
        #expect(try await client.get("/v1/contacts?count=exact").json["count"] == 0)
        #expect(try await client.post("/v1/batch?allow_duplicates=true", batch).status == 200)

        let reader = platform.client("contacts", token: try await platform.key(tenant.id, roles: ["read_only"]).key)
        let forbidden = try await reader.post("/v1/batch", batch)
        #expect(forbidden.status == 403 && forbidden.json["operation"] == 0, "\(forbidden.text)")
    }
}

extension JSONValue {
    fileprivate func without(_ name: String) -> JSONValue { .object((object ?? [:]).filter { $0.key != name }) }
}

import Foundation
import Records
import Tenancy
import TestSupport
import Testing

/// A clerk from whom some fields of contacts are hidden looks for their values everywhere.
@Suite("Hidden fields", .serialized)
struct FieldPermissionTests {
    /// Values that stand in hidden fields alone: no answer may hold one.
    private static let secrets = ["zebra", "1977-07-07", "301234567", "stripes"]

    private static let grants: JSONValue = [
        [
            "types": ["*"], "actions": ["read", "create", "update", "delete", "import", "export"], "scope": "all",
            "fields": [
                "contact": ["birth_date": "hidden", "emails": "hidden", "phones": "hidden", "region": "readable"],
                "organization": ["industry": "hidden"],
            ],
        ]
    ]

    private static let person: JSONValue = [
        "given_name": "Zoë", "family_name": "Müller-Lüdenscheid", "birth_date": "1977-07-07", "region": "North",
        "emails": [["value": "zebra@example.eu"]], "phones": [["value": "+49301234567"]],
        "identifiers": [["value": "X-12345", "kind": "national"]],
        "addresses": [["street": "Lindenstraße", "house_number": "7", "city": "Kleve", "postal_code": "47533"]],
    ]

    private struct Stage {
        let platform: TestPlatform
        let owner: HTTPClient
        let clerk: HTTPClient
        let contact: String
        let organization: String

        /// An answer to the clerk, searched for what must not be in it.
        func check(_ answer: Answer, _ status: Int, _ what: String) {
            #expect(answer.status == status, "\(what): \(answer.status) \(answer.text)")
            for secret in FieldPermissionTests.secrets {
                #expect(!answer.text.contains(secret), "\(what) tells \(secret): \(answer.text)")
            }
        }

        /// A refusal that names the field.
        func refuses(_ answer: Answer, _ field: String, _ what: String) {
            check(answer, 403, what)
            #expect(answer.json["code"] == "forbidden_field", "\(what): \(answer.text)")
            #expect(
                answer.json["errors"]?.array?.contains { $0["pointer"]?.text?.contains(field) == true } == true,
                "\(what)")
        }
    }

    private func stage(_ slug: String, workers: Bool = false) async throws -> Stage {
        let platform = try await TestPlatform(["contacts serve"] + (workers ? ["contacts work"] : []))
        let tenant = try await platform.tenant(slug)
        try await platform.role(tenant.id, "clerk", Self.grants)
        let owner = platform.client("contacts", token: tenant.key)
        let clerk = platform.client("contacts", token: try await platform.key(tenant.id, roles: ["clerk"]).key)
        let company = try await owner.post("/v1/organizations", ["name": "Acme", "industry": "stripes"])
        var person = Self.person.object!
        person["organization_id"] = company.json["id"]
        let contact = try await owner.post("/v1/contacts", .object(person))
        #expect(contact.status == 201, "\(contact.text)")
        return Stage(
            platform: platform, owner: owner, clerk: clerk, contact: contact.header("location")!,
            organization: company.header("location")!)
    }

    private func filter(_ field: String, _ op: String, _ value: JSONValue) -> String {
        let json: JSONValue = ["field": .string(field), "op": .string(op), "value": value]
        return "/v1/contacts?filter=" + json.encoded.addingPercentEncoding(withAllowedCharacters: .alphanumerics)!
    }

    @Test("no reading shows them: record, list, filter, order, search, expansion, history, the past, change sets")
    func reading() async throws {
        let stage = try await stage("hidden-reads")
        let (owner, clerk, contact) = (stage.owner, stage.clerk, stage.contact)
        #expect(try await owner.get(contact).text.contains("zebra"))
        let seen = try await clerk.get(contact)
        stage.check(seen, 200, "get")
        #expect(seen.json["given_name"] == "Zoë" && seen.json["birth_date"] == nil && seen.json["region"] == "North")
        stage.refuses(try await clerk.get("\(contact)?fields=given_name,birth_date"), "birth_date", "fields")
        stage.check(try await clerk.get("/v1/contacts"), 200, "list")
        stage.refuses(try await clerk.get("/v1/contacts?fields=emails"), "emails", "list fields")
        stage.refuses(try await clerk.get("/v1/contacts?sort=-birth_date"), "birth_date", "sort")

        stage.refuses(try await clerk.get(filter("birth_date", "eq", "1977-07-07")), "birth_date", "filter")
        stage.refuses(try await clerk.get(filter("birth_date", "empty", true)), "birth_date", "filter empty")
        stage.refuses(try await clerk.get(filter("emails.value", "starts", "z")), "emails", "filter in a list")
        stage.refuses(try await clerk.get(filter("emails", "empty", false)), "emails", "filter of a list")
        stage.refuses(
            try await clerk.get("/v1/contacts?filter%5Bbirth_date%5D%5Bgte%5D=1970-01-01"), "birth_date", "short")
        stage.refuses(
            try await clerk.get(filter("organization.industry", "eq", "stripes")), "industry", "filter by reference")
        stage.check(try await clerk.get(filter("organization.name", "eq", "Acme")), 200, "another by reference")
        let nested = #"{"or":[{"field":"given_name","op":"eq","value":"x"},{"not":{"field":"phones","op":"empty"}}]}"#
        stage.refuses(
            try await clerk.get(
                "/v1/contacts?filter=" + nested.addingPercentEncoding(withAllowedCharacters: .alphanumerics)!),
            "phones", "nested filter")

        for (word, found) in [("zebra", 0), ("01234567", 0), ("ludenscheid", 1), ("zoe%20zebra", 0)] {
            let list = try await clerk.get("/v1/contacts?q=\(word)&count=exact")
            stage.check(list, 200, "q=\(word)")
            #expect(list.json["count"] == JSONValue(found), "q=\(word)")
            let all = try await clerk.get("/v1/search?q=\(word)")
            stage.check(all, 200, "search \(word)")
            #expect(all.json["items"]?.array?.count == found, "search \(word)")
        }
        #expect(try await owner.get("/v1/contacts?q=zebra&count=exact").json["count"] == 1)

        let expanded = try await clerk.get("\(contact)?expand=organization")
        stage.check(expanded, 200, "expand")
        #expect(expanded.json["organization"]?["name"] == "Acme")
        stage.refuses(
            try await clerk.get("/v1/contacts?expand=organization&fields=organization.industry"), "industry",
            "expanded fields")

        let changed = try await owner.patch(contact, ["birth_date": "1977-07-08", "industry": "tea"])
        #expect(try await owner.patch(contact, ["birth_date": "1977-07-07"]).status == 200)
        let history = try await clerk.get("\(contact)/history")
        stage.check(history, 200, "history")
        #expect(!history.text.contains("1977"), "\(history.text)")
        let changes = history.json["items"]?.array?[1]["changes"]
        #expect(changes?["industry"] == ["from": .null, "to": "tea"] && changes?["birth_date"] == nil)
        // With all but one value known, a digest would tell that one.
        #expect(history.json["items"]?.array?.allSatisfy { $0["digest"] == nil } == true)
        #expect(try await owner.get("\(contact)/history").json["items"]?.array?.first?["digest"] != nil)
        let past = try await clerk.get("\(contact)?as_of=2030-01-01T00:00:00Z")
        stage.check(past, 200, "as_of")
        stage.refuses(
            try await clerk.get("\(contact)?as_of=2030-01-01T00:00:00Z&fields=phones"), "phones", "as_of fields")
        let set = try await clerk.get("/v1/change-sets/\(changed.header("x-change-set")!)")
        stage.check(set, 200, "change set")
        #expect(!set.text.contains("1977") && set.text.contains("tea"), "\(set.text)")

        let view = try await owner.post(
            "/v1/saved_views",
            [
                "name": "Born", "record_type": "contact", "shared": "everybody",
                "fields": ["given_name", "birth_date"],
                "filter": ["field": "birth_date", "op": "gte", "value": "1970-01-01"],
            ])
        #expect(view.status == 201, "\(view.text)")
        let id = view.json["id"]!.text!
        stage.refuses(try await clerk.get("/v1/contacts?view=\(id)"), "birth_date", "view")
        #expect(try await owner.patch("/v1/saved_views/\(id)", ["filter": .null]).status == 200)
        let viewed = try await clerk.get("/v1/contacts?view=\(id)")
        stage.check(viewed, 200, "view's fields")
        #expect(viewed.json["items"]?.array?.first?["given_name"] == "Zoë")

        let mine = try await clerk.get("/v1/me/permissions").json["types"]?.array?.first { $0["type"] == "contact" }
        #expect(
            mine?["fields"] == ["birth_date": "hidden", "emails": "hidden", "phones": "hidden", "region": "readable"])
    }

    @Test("no writing shows or sets them: answers, predictions, conflicts, duplicates, bulk, batch, merge, undo")
    func writing() async throws {
        let stage = try await stage("hidden-writes")
        let (owner, clerk, contact) = (stage.owner, stage.clerk, stage.contact)
        let id = contact.split(separator: "/").last.map(String.init)!
        stage.refuses(try await clerk.post("/v1/contacts", ["birth_date": "1990-01-01"]), "birth_date", "create")
        stage.refuses(try await clerk.post("/v1/contacts", ["region": "South"]), "region", "create, readable")
        stage.refuses(try await clerk.patch(contact, ["region": "South"]), "region", "patch, readable")
        stage.refuses(try await clerk.patch(contact, ["birth_date": .null]), "birth_date", "patch")
        let made = try await clerk.post("/v1/contacts", ["given_name": "New"], key: "made-12345678")
        stage.check(made, 201, "create")
        #expect(made.json["emails"] == nil && made.json["given_name"] == "New")
        stage.check(try await clerk.post("/v1/contacts", ["given_name": "New"], key: "made-12345678"), 201, "replay")
        stage.check(try await clerk.patch(contact, ["industry": "tea"]), 200, "patch")
        let preview = try await clerk.send(
            "PATCH", "\(contact)?dry_run=true", json: ["industry": "silk"], headers: ["If-Match": "*"])
        stage.check(preview, 200, "dry run")
        #expect(preview.json["record"]?["industry"] == "silk" && preview.json["record"]?["phones"] == nil)

        // The owner changes a hidden field: whoever is stale learns that the record changed, and no more.
        #expect(try await owner.patch(contact, ["birth_date": "1977-07-08"]).status == 200)
        #expect(try await owner.patch(contact, ["birth_date": "1977-07-07", "industry": "wool"]).status == 200)
        let stale = try await clerk.patch(contact, ["industry": "silk"], version: "\"2\"")
        stage.check(stale, 412, "stale")
        #expect(stale.json["conflicts"]?.array?.map { $0["field"]! } == ["industry"] && !stale.text.contains("1977"))
        let deletion = try await clerk.send("DELETE", contact, headers: ["If-Match": "\"2\""])
        stage.check(deletion, 412, "stale deletion")
        #expect(!deletion.text.contains("1977") && !deletion.text.contains("birth_date"), "\(deletion.text)")

        // A likely duplicate is told of, its reasons are not.
        var twin = Self.person.object!
        for name in ["birth_date", "region", "emails", "phones"] { twin[name] = nil }
        let duplicate = try await clerk.post("/v1/contacts", .object(twin))
        stage.check(duplicate, 409, "duplicates")
        #expect(duplicate.json["duplicates"]?.array?.first?["explanation"] == [], "\(duplicate.text)")
        #expect(duplicate.json["duplicates"]?.array?.first?["id"] == .string(id))
        let predicted = try await clerk.post("/v1/contacts?dry_run=true", .object(twin))
        stage.check(predicted, 200, "predicted duplicates")
        #expect(predicted.json["duplicates"]?.array?.count == 1)
        stage.check(try await clerk.get("/v1/duplicates"), 200, "list of duplicates")

        let bulk: JSONValue = [
            "operations": [
                ["op": "update", "id": .string(id), "data": ["birth_date": "1990-01-01"]],
                ["op": "update", "id": .string(id), "data": ["industry": "flax"]],
                ["op": "create", "data": ["region": "South"]],
            ]
        ]
        let predictedBulk = try await clerk.post("/v1/contacts/bulk?dry_run=true", bulk)
        stage.check(predictedBulk, 200, "bulk dry run")
        let done = try await clerk.post("/v1/contacts/bulk", bulk)
        stage.check(done, 200, "bulk")
        #expect(done.json["results"]?.array?.map { $0["status"]! } == [403, 200, 403], "\(done.text)")
        #expect(done.json["results"]?.array?[0]["code"] == "forbidden_field")
        func batch(_ body: JSONValue) -> JSONValue {
            [
                "operations": [
                    ["op": "update", "type": "contact", "id": .string(id), "if_match": "*", "body": body]
                ]
            ]
        }
        stage.refuses(try await clerk.post("/v1/batch", batch(["phones": []])), "/operations/0/body/phones", "batch")
        stage.check(try await clerk.post("/v1/batch", batch(["industry": "hemp"])), 200, "batch")
        stage.check(try await clerk.post("/v1/batch?dry_run=true", batch(["industry": "jute"])), 200, "batch dry run")

        let other = try await owner.post("/v1/contacts", ["given_name": "Other", "birth_date": "1999-09-09"])
        let merge = try await clerk.post("/v1/merges", ["survivor": other.json["id"]!, "merged": .string(id)])
        stage.check(merge, 403, "merge")
        #expect(merge.json["code"] == "forbidden_field")

        // Undoing would set what they must not set, and its conflicts would quote it.
        let set = try await owner.patch(contact, ["birth_date": "1966-06-06"]).header("x-change-set")!
        let undo = try await clerk.post("/v1/change-sets/\(set)/undo", [:])
        stage.check(undo, 403, "undo")
        #expect(try await owner.get(contact).json["birth_date"] == "1966-06-06")
        #expect(try await owner.patch(contact, ["birth_date": "1977-07-07"]).status == 200)
        for policy in ["refuse", "skip"] {
            let late = try await clerk.post("/v1/change-sets/\(set)/undo", ["on_conflict": .string(policy)])
            stage.check(late, policy == "refuse" ? 409 : 200, "late undo, \(policy)")
            #expect(late.json["conflicts"]?.array?.first?["field"] == "birth_date", "\(late.text)")
            #expect(!late.text.contains("1977") && !late.text.contains("1966"), "\(late.text)")
        }
        #expect(try await clerk.send("DELETE", contact, headers: ["If-Match": "*"]).status == 204)
        stage.check(try await clerk.post("\(contact)/restore?dry_run=true", [:]), 200, "restore dry run")
        stage.check(try await clerk.post("\(contact)/restore", [:]), 200, "restore")
        stage.check(try await clerk.get("\(contact)/relationships"), 200, "relationships")
        stage.check(try await clerk.get("\(contact)/summary"), 200, "summary")
    }

    @Test("no file takes them out or in: exports leave them out, imports are refused")
    func files() async throws {
        let stage = try await stage("hidden-files", workers: true)
        let (owner, clerk) = (stage.owner, stage.clerk)
        func finished(_ answer: Answer, _ client: HTTPClient) async throws -> JSONValue {
            guard answer.status == 202, let job = answer.json["job_id"]?.text else {
                throw TestFailure("\(answer.status) \(answer.text)")
            }
            return try await stage.platform.finished(client, job: job)
        }
        for format in ["csv", "ndjson"] {
            let export = try await finished(
                try await clerk.post("/v1/exports", ["type": "contact", "format": .string(format)]), clerk)
            let file = try await clerk.get(export["result"]!["file"]!.text!)
            stage.check(file, 200, "export \(format)")
            #expect(file.text.contains("Zoë") && !file.text.contains("birth_date"), "\(file.text)")
        }
        stage.refuses(
            try await clerk.post("/v1/exports", ["type": "contact", "fields": ["birth_date"]]), "fields",
            "export fields")
        stage.refuses(
            try await clerk.post(
                "/v1/exports",
                ["type": "contact", "filter": ["field": "birth_date", "op": "eq", "value": "1977-07-07"]]),
            "birth_date",
            "export filter")
        stage.refuses(
            try await clerk.post(
                "/v1/exports",
                ["type": "contact", "filter": ["field": "organization.industry", "op": "eq", "value": "stripes"]]),
            "industry", "export filter by reference")
        // A filter through a reference reaches no further in the job than it does in a list.
        let through = try await finished(
            try await clerk.post(
                "/v1/exports",
                ["type": "contact", "filter": ["field": "organization.name", "op": "eq", "value": "Acme"]]),
            clerk)
        #expect(through["result"]?["records"] == 1, "\(through.encoded)")

        func upload(_ text: String, _ options: [String: JSONValue] = [:]) async throws -> Answer {
            try await clerk.upload(
                options: .object(options.merging(["type": "contact"]) { $1 }), file: Array(text.utf8))
        }
        let mapped = try await upload("a,b\nx,1990-01-01\n", ["mapping": ["a": "given_name", "b": "birth_date"]])
        stage.refuses(mapped, "birth_date", "import mapping")
        let entry = try await upload("a,b\nx,y@z.eu\n", ["mapping": ["a": "given_name", "b": "emails.work"]])
        stage.refuses(entry, "emails", "import mapping into a list")
        let guessed = try await finished(try await upload("given_name,birth_date\nx,1990-01-01\n"), clerk)
        #expect(
            guessed["error"]?.encoded.contains("birth_date") == true, "\(guessed.encoded)"
        )
        let lines = try await finished(
            try await upload(
                "{\"given_name\":\"Good\"}\n{\"given_name\":\"Bad\",\"region\":\"x\"}\n", ["format": "ndjson"]), clerk)
        #expect(lines["result"]?["created"] == 1 && lines["result"]?["failed"] == 1, "\(lines.encoded)")
        #expect(try await owner.get("/v1/contacts?count=exact").json["count"] == 2)

        // What others sent, and what was wrong with it, is not the clerk's to see.
        let theirs = try await owner.upload(
            options: ["type": "contact"],
            file: Array("given_name,email,birth_date\nx,zebra@example.eu,1977-07-0x\n".utf8))
        let over = try await finished(theirs, owner)
        let path = over["result"]!["errors"]!.text!
        #expect(try await owner.get(path).text.contains("zebra"))
        stage.check(try await clerk.get(path), 404, "another's import errors")
    }

    @Test("an export that was made before a field was hidden is not handed out after")
    func lateHiding() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("late")
        let open: JSONValue = [["types": ["*"], "actions": ["read", "create", "export"], "scope": "all"]]
        try await platform.role(tenant.id, "clerk", open)
        let key = try await platform.key(tenant.id, roles: ["clerk"]).key
        let clerk = platform.client("contacts", token: key)
        _ = try await clerk.post("/v1/contacts", Self.person)
        let started = try await clerk.post("/v1/exports", ["type": "contact"])
        let over = try await platform.finished(clerk, job: started.json["job_id"]!.text!)
        let path = over["result"]!["file"]!.text!
        #expect(try await clerk.get(path).text.contains("zebra"))
        try await platform.role(tenant.id, "clerk", Self.grants)
        try await eventually(within: 30, "the role is read anew") { try await clerk.get(path).status == 403 }
    }
}

import Foundation
import Records
import Tenancy
import TestSupport
import Testing

@Suite("Expanded references", .serialized)
struct ExpandTests {
    @Test("a record comes with those it refers to, by itself and in lists")
    func expand() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("expanding")
        let client = platform.client("contacts", token: tenant.key)
        let acme = try await client.post("/v1/organizations", ["name": "Acme", "industry": "tea"])
        let gone = try await client.post("/v1/organizations", ["name": "Gone"])
        for (name, company) in [
            ("A", acme.json["id"]!), ("B", acme.json["id"]!), ("C", gone.json["id"]!), ("D", .null),
        ] {
            let answer = try await client.post(
                "/v1/contacts", ["given_name": .string(name), "organization_id": company])
            #expect(answer.status == 201)
        }
        #expect(try await client.send("DELETE", gone.header("location")!, headers: ["If-Match": "*"]).status == 204)
        let list = try await client.get("/v1/contacts?expand=organization&sort=given_name")
        let items = list.json["items"]!.array!
        #expect(items[0]["organization"] == acme.json, "\(list.text)")
        #expect(items[1]["organization"] == acme.json)
        // What is deleted is shown by its id alone.
        #expect(items[2]["organization"] == ["id": gone.json["id"]!])
        #expect(items[3]["organization"] == .null)
        let path = "/v1/contacts/\(items[0]["id"]!.text!)"
        #expect(try await client.get("\(path)?expand=organization_id").json["organization"] == acme.json)
        let some = try await client.get("\(path)?expand=organization&fields=given_name,organization.name")
        #expect(some.json["organization"]?["name"] == "Acme" && some.json["organization"]?["industry"] == nil)
        #expect(some.json["given_name"] == "A" && some.json["region"] == nil, "\(some.text)")
        #expect(try await client.get(path).json["organization"] == nil)
        // What it referred to then, as that is now.
        #expect(try await client.patch(path, ["organization_id": .null]).status == 200)
        let then = try await client.get("\(path)?expand=organization&as_of=\(items[0]["created_at"]!.text!)")
        #expect(then.json["organization"] == acme.json, "\(then.text)")
        #expect(try await client.get("\(path)?expand=organization").json["organization"] == .null)
        for wrong in [
            "expand=", "expand=owner", "expand=nope", "expand=organization,organization_id",
            "expand=organization&fields=organization.nope", "fields=organization.name",
        ] {
            #expect(try await client.get("\(path)?\(wrong)").status == 400, "\(wrong)")
        }
        let friend = try await client.post(
            "/v1/relationships",
            ["contact_id": items[0]["id"]!, "kind": "friend", "other_contact_id": items[1]["id"]!])
        #expect(friend.status == 201)
        let both = try await client.get("/v1/relationships?expand=contact,other_contact,organization")
        #expect(both.json["items"]?.array?.first?["contact"]?["given_name"] == "A", "\(both.text)")
        #expect(both.json["items"]?.array?.first?["other_contact"]?["given_name"] == "B")
    }

    @Test("what the bearer may not read is shown by its id, and answers no filter")
    func reach() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("reach")
        let client = platform.client("contacts", token: tenant.key)
        try await platform.role(
            tenant.id, "people", [["types": ["contact"], "actions": ["read"], "scope": "all"]])
        try await platform.role(
            tenant.id, "own_companies",
            [
                ["types": ["contact"], "actions": ["read"], "scope": "all"],
                ["types": ["organization"], "actions": ["read"], "scope": "own"],
            ])
        let blind = platform.client("contacts", token: try await platform.key(tenant.id, roles: ["people"]).key)
        let (key, user) = try await platform.key(tenant.id, roles: ["own_companies"], isUser: true)
        let narrow = platform.client("contacts", token: key)
        let theirs = try await client.post("/v1/organizations", ["name": "Zebra Ltd", "industry": "stripes"])
        let own = try await client.post(
            "/v1/organizations", ["name": "Own", "industry": "stripes", "owner_id": .string(user!.uuidString)])
        for id in [theirs.json["id"]!, own.json["id"]!] {
            _ = try await client.post("/v1/contacts", ["given_name": "P", "organization_id": id])
        }
        let blindly = try await blind.get("/v1/contacts?expand=organization&sort=created_at")
        #expect(
            blindly.json["items"]?.array?.map { $0["organization"]! } == [
                ["id": theirs.json["id"]!], ["id": own.json["id"]!],
            ], "\(blindly.text)")
        let narrowly = try await narrow.get("/v1/contacts?expand=organization&sort=created_at")
        #expect(
            narrowly.json["items"]?.array?.map { $0["organization"]?["name"] } == [nil, "Own"], "\(narrowly.text)")
        // A filter through the reference tells no more: the type's permission and scope hold there too.
        let filter = #"{"field":"organization.industry","op":"eq","value":"stripes"}"#.urlEncoded
        #expect(try await client.get("/v1/contacts?filter=\(filter)&count=exact").json["count"] == 2)
        #expect(try await blind.get("/v1/contacts?filter=\(filter)").status == 403)
        #expect(try await narrow.get("/v1/contacts?filter=\(filter)&count=exact").json["count"] == 1)
        let not = #"{"not":{"field":"organization.industry","op":"eq","value":"stripes"}}"#.urlEncoded
        let other = #"{"not":{"field":"organization.industry","op":"eq","value":"dots"}}"#.urlEncoded
        let answers = [
            try await narrow.get("/v1/contacts?filter=\(not)&count=exact").json["count"],
            try await narrow.get("/v1/contacts?filter=\(other)&count=exact").json["count"],
        ]
        #expect(answers == [1, 2], "of the other's company nothing can be told")
    }
}

extension String {
    fileprivate var urlEncoded: String { addingPercentEncoding(withAllowedCharacters: .alphanumerics)! }
}

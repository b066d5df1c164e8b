import Foundation
import Records
import Tenancy
import TestSupport
import Testing

@Suite("What a bearer may do", .serialized)
struct PermissionTests {
    @Test("all types with their scopes, and for a question the role and the record that decide")
    func explain() async throws {
        let platform = try await TestPlatform(["contacts serve", "analytics serve"])
        let tenant = try await platform.tenant("explained")
        let team = UUID.v7()
        let (key, user) = try await platform.key(tenant.id, roles: ["agent", "nothing"], team: team)
        let owner = platform.client("contacts", token: tenant.key)
        let agent = platform.client("contacts", token: key)
        let mine = try await agent.get("/v1/me/permissions")
        #expect(mine.status == 200 && mine.json["roles"] == ["agent", "nothing"], "\(mine.text)")
        let contact = mine.json["types"]?.array?.first { $0["type"] == "contact" }
        #expect(
            contact?["actions"] == [
                "read": "all", "create": "all", "update": "team", "delete": .null, "import": .null, "export": .null,
            ])
        #expect(contact?["fields"] == [:])
        #expect(mine.json["types"]?.array?.map { $0["type"]!.text! }.contains("saved_view") == true)

        func ask(_ question: String) async throws -> (allowed: JSONValue?, codes: [String], text: String) {
            let answer = try await agent.get("/v1/me/permissions?explain=\(question)")
            #expect(answer.status == 200, "\(question): \(answer.text)")
            return (
                answer.json["allowed"], answer.json["reasons"]?.array?.compactMap { $0["code"]?.text } ?? [],
                answer.text
            )
        }
        let own = try await owner.post(
            "/v1/contacts", ["given_name": "Own", "owner_id": .string(user!.uuidString.lowercased())])
        let teams = try await owner.post(
            "/v1/contacts", ["given_name": "Team", "team_id": .string(team.uuidString.lowercased())])
        let others = try await owner.post("/v1/contacts", ["given_name": "Others"])
        let can = try await ask("contact:update")
        #expect(can.allowed == true && can.codes == ["role_grants", "role_lacks"])
        #expect(try await ask("contact:delete").allowed == false)
        #expect(try await ask("contact:delete").codes == ["role_lacks", "role_lacks"])
        for (record, allowed) in [(own, true), (teams, true), (others, false)] {
            let id = record.json["id"]!.text!
            let answer = try await ask("contact:update:\(id)")
            #expect(answer.allowed == .bool(allowed), "\(answer.text)")
            #expect(answer.codes.last == (allowed ? "within_scope" : "outside_scope"))
            let patch = try await agent.patch("/v1/contacts/\(id)", ["region": "x"])
            #expect(patch.status == (allowed ? 200 : 403), "the answer is what happens")
        }
        #expect(try await ask("contact:update:\(others.json["id"]!.text!)").text.contains("owner_id is empty"))
        #expect(try await ask("contact:update:\(UUID().uuidString)").codes.last == "not_found")
        #expect(try await ask("contact:update:quality_score").codes.last == "read_only")
        #expect(try await ask("contact:update:\(own.json["id"]!.text!):region").allowed == true)
        #expect(try await ask("notification:create").codes.last == "not_offered")
        for wrong in ["contact", "x:read", "contact:fly", "contact:read:nope", "contact:read:region:x", "::::"] {
            #expect(try await agent.get("/v1/me/permissions?explain=\(wrong)").status == 400, "\(wrong)")
        }
        let analyst = platform.client("analytics", token: tenant.key)
        #expect(try await analyst.get("/v1/me/permissions").json["types"] == [])
    }

    @Test("who may import but some records may not bring a file, which could hold and change anybody's")
    func importing() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("importing")
        for scope in ["own", "team", "all"] {
            try await platform.role(
                tenant.id, "files-\(scope)",
                [["types": ["contact"], "actions": ["read", "create", "update", "import"], "scope": .string(scope)]])
            let key = try await platform.key(tenant.id, roles: ["files-\(scope)"], isUser: true).key
            let upload = try await platform.client("contacts", token: key).upload(
                options: ["type": "contact"], file: Array("given_name\nAda\n".utf8))
            #expect(upload.status == (scope == "all" ? 202 : 403), "\(upload.text)")
        }
    }

    @Test("what somebody's job found is told to them, to administrators, and to nobody else")
    func jobsOfOthers() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("jobs")
        let manager = try await platform.user("manager", of: tenant.id, roles: ["manager"])
        let other = try await platform.user("other", of: tenant.id, roles: ["manager"])
        let export = try await manager.client.post("/v1/exports", ["type": "contact", "format": "csv"])
        #expect(export.status == 202, "\(export.text)")
        let path = "/v1/jobs/\(export.json["job_id"]!.text!)"
        #expect(try await manager.client.get(path).status == 200)
        #expect(try await other.client.get(path).status == 404)
        #expect(try await platform.client("contacts", token: tenant.key).get(path).status == 200)
        // An import is followed by whoever may import the type.
        let upload = try await manager.client.upload(
            options: ["type": "contact"], file: Array("given_name\nAda\n".utf8))
        #expect(try await other.client.get("/v1/jobs/\(upload.json["job_id"]!.text!)").status == 200)
    }

    @Test("a hidden field is explained by the role that hides it")
    func fields() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("fields")
        try await platform.role(
            tenant.id, "clerk",
            [
                [
                    "types": ["*"], "actions": ["read", "update"], "scope": "own",
                    "fields": ["contact": ["birth_date": "hidden", "region": "readable", "owner_id": "hidden"]],
                ]
            ])
        let (key, user) = try await platform.key(tenant.id, roles: ["clerk"], isUser: true)
        let owner = platform.client("contacts", token: tenant.key)
        let clerk = platform.client("contacts", token: key)
        let theirs = try await owner.post("/v1/contacts", ["given_name": "Theirs"])
        let own = try await owner.post("/v1/contacts", ["given_name": "Own", "owner_id": .string(user!.uuidString)])
        func code(_ question: String) async throws -> JSONValue? {
            try await clerk.get("/v1/me/permissions?explain=\(question)").json["reasons"]?.array?.last?["code"]
        }
        #expect(try await code("contact:read:birth_date") == "field_hidden")
        #expect(try await code("contact:update:region") == "field_readable")
        #expect(try await code("contact:read:region") == "role_field")
        // What lies outside of their reach is to them as what is not there.
        #expect(try await code("contact:read:\(theirs.json["id"]!.text!)") == "not_found")
        let within = try await clerk.get("/v1/me/permissions?explain=contact:read:\(own.json["id"]!.text!)")
        #expect(
            within.json["allowed"] == true && !within.text.contains(user!.uuidString.lowercased()), "\(within.text)")
    }
}

@Suite("Saved views", .serialized)
struct SavedViewTests {
    @Test("a view is a list's filter, order and fields, and the request's own win")
    func apply() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("views")
        let client = platform.client("contacts", token: tenant.key)
        for (name, region) in [("Ada", "North"), ("Bob", "South"), ("Cyd", "North")] {
            _ = try await client.post("/v1/contacts", ["given_name": .string(name), "region": .string(region)])
        }
        let filter: JSONValue = ["field": "region", "op": "eq", "value": "North"]
        let view = try await client.post(
            "/v1/saved_views",
            [
                "name": "North", "record_type": "contact", "filter": filter, "sort": "-given_name",
                "fields": ["given_name"],
            ])
        #expect(
            view.status == 201 && view.json["filter"] == filter && view.json["shared"] == "everybody", "\(view.text)")
        let path = view.header("location")!
        let id = view.json["id"]!.text!
        func names(_ query: String) async throws -> [String] {
            let answer = try await client.get("/v1/contacts?view=\(id)\(query)")
            #expect(answer.status == 200, "\(answer.text)")
            return answer.json["items"]?.array?.compactMap { $0["given_name"]?.text } ?? []
        }
        #expect(try await names("") == ["Cyd", "Ada"])
        #expect(try await client.get("/v1/contacts?view=\(id)").json["items"]?.array?.first?["region"] == nil)
        #expect(try await names("&sort=given_name") == ["Ada", "Cyd"])
        #expect(try await names("&filter%5Bregion%5D=South") == ["Bob"])
        #expect(try await names("&limit=1") == ["Cyd"])
        let page = try await client.get("/v1/contacts?view=\(id)&limit=1")
        let next = page.header("link")!.split(separator: ">")[0].dropFirst()
        #expect(try await client.get(String(next)).json["items"]?.array?.first?["given_name"] == "Ada")

        // A change of nothing is none, though PostgreSQL spells the filter its own way.
        #expect(try await client.patch(path, ["filter": filter]).json["version"] == 1)
        #expect(try await client.get("\(path)/history").json["items"]?.array?.count == 1)
        for (wrong, pointer) in [
            (["filter": ["field": "nope", "op": "eq", "value": 1]], "/filter"), (["filter": "x"], "/filter"),
            (["filter": ["and": []]], "/filter"), (["sort": "region"], "/sort"), (["fields": ["nope"]], "/fields"),
            (["record_type": "organization"], "/record_type"), (["filter": ["field": "region"]], "/filter"),
        ] as [(JSONValue, JSONValue)] {
            let answer = try await client.patch(path, wrong)
            #expect(
                answer.status == 422 && answer.json["errors"]?.array?.first?["pointer"] == pointer, "\(answer.text)")
        }
        // A key that acts for nobody would not see what is somebody's: nobody puts a view out of their own sight.
        for wrong in [["shared": "private"], ["shared": "team"]] as [JSONValue] {
            #expect(try await client.patch(path, wrong).status == 403, "\(wrong.encoded)")
        }
        #expect(try await client.patch(path, ["fields": .null]).json["fields"] == .null)
        #expect(try await client.get("/v1/contacts?view=\(id)").json["items"]?.array?.first?["region"] == "North")
        #expect(try await client.get("/v1/organizations?view=\(id)").status == 404)
        #expect(try await client.get("/v1/contacts?view=\(UUID().uuidString)").status == 404)
        for wrong in ["", "x", "\(id)&view=\(id)"] {
            #expect(try await client.get("/v1/contacts?view=\(wrong)").status == 400, "\(wrong)")
        }
        #expect(try await client.send("DELETE", path, headers: ["If-Match": "*"]).status == 204)
        #expect(try await client.get("/v1/contacts?view=\(id)").status == 404)
    }

    @Test("a private view is its owner's, a team's the team's; to others neither is there")
    func sharing() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("sharing")
        let (team, other) = (UUID.v7(), UUID.v7())
        func client(_ team: UUID) async throws -> HTTPClient {
            platform.client("contacts", token: try await platform.key(tenant.id, roles: ["manager"], team: team).key)
        }
        let (ann, ben, cat) = (try await client(team), try await client(team), try await client(other))
        func view(_ shared: JSONValue) async throws -> Answer {
            let answer = try await ann.post(
                "/v1/saved_views",
                [
                    "name": .string("zebra \(shared.encoded)"), "record_type": "contact", "shared": shared,
                    "team_id": .string(team.lowercased),
                ])
            #expect(answer.status == 201, "\(answer.text)")
            return answer
        }
        let views = [try await view(.null), try await view("team"), try await view("everybody")]
        #expect(views[0].json["shared"] == "private")
        for (reader, shown) in [(ann, [true, true, true]), (ben, [false, true, true]), (cat, [false, false, true])] {
            let list = try await reader.get("/v1/saved_views?count=exact")
            #expect(list.json["count"] == JSONValue(shown.filter { $0 }.count))
            for (view, isShown) in zip(views, shown) {
                let path = view.header("location")!
                #expect(try await reader.get(path).status == (isShown ? 200 : 404))
                #expect(try await reader.get("\(path)/history").status == (isShown ? 200 : 404))
                #expect(
                    try await reader.get("/v1/contacts?view=\(view.json["id"]!.text!)").status == (isShown ? 200 : 404))
                let set = view.header("x-change-set")!
                let undoable = try await reader.get("/v1/change-sets/\(set)").status
                #expect(undoable == (reader.token == ann.token ? 200 : 404))
                let patch = try await reader.patch(path, ["name": "Other"])
                #expect(patch.status == (isShown ? 200 : 404), "\(patch.text)")
            }
        }
        let started = try await cat.post("/v1/exports", ["type": "saved_view"])
        let over = try await platform.finished(cat, job: started.json["job_id"]!.text!)
        #expect(over["result"]?["records"] == 1, "\(over.encoded)")
    }
}

@Suite("Usage", .serialized)
struct UsageTests {
    @Test("requests, records and jobs are counted, a bearer's own apart from others'")
    func usage() async throws {
        let platform = try await TestPlatform(["contacts serve", "analytics serve"])
        let (tenant, stranger) = (try await platform.tenant("using"), try await platform.tenant("stranger"))
        let owner = platform.client("contacts", token: tenant.key)
        let clerk = platform.client("contacts", token: try await platform.key(tenant.id, roles: ["read_only"]).key)
        for name in ["A", "B", "C"] { _ = try await owner.post("/v1/contacts", ["given_name": .string(name)]) }
        for _ in 0..<5 { _ = try await clerk.get("/v1/contacts") }
        _ = try await owner.upload(options: ["type": "contact"], file: Array("given_name\nD\n".utf8))
        let usage = try await owner.get("/v1/usage")
        #expect(usage.status == 200, "\(usage.text)")
        let days = usage.json["requests"]!["by_day"]!.array!
        // Four writes, five reads and this one; a day may have begun meanwhile.
        #expect(days.reduce(0) { $0 + $1["requests"]!.int! } == 10, "\(usage.text)")
        #expect(usage.json["requests"]?["by_actor"]?.array?.map { $0["requests"]!.int! }.sorted() == [5, 5])
        #expect(usage.json["records"]?["types"]?.array?.first { $0["type"] == "contact" }?["count"] == 3)
        let waiting = usage.json["jobs"]!["by_day"]!.array!.reduce(0) { $0 + ($1["waiting"]?.int ?? 0) }
        #expect(waiting == 1, "\(usage.text)")
        #expect(usage.json["limits"]?["requests_per_second"] == 100_000)
        #expect(usage.json["limits"]?["body_bytes"] == 1_048_576)

        let own = try await clerk.get("/v1/usage?days=2")
        #expect(own.json["requests"]?["by_actor"]?.array?.map { $0["requests"]!.int! } == [6], "\(own.text)")
        #expect(own.json["requests"]!["by_day"]!.array!.reduce(0) { $0 + $1["requests"]!.int! } == 11)
        let elsewhere = try await platform.client("contacts", token: stranger.key).get("/v1/usage")
        #expect(elsewhere.json["requests"]?["by_actor"]?.array?.count == 1)
        #expect(elsewhere.json["records"]?["types"]?.array?.allSatisfy { $0["count"] == 0 } == true)
        #expect(try await platform.client("analytics", token: tenant.key).get("/v1/usage").status == 200)
        for wrong in ["days=0", "days=367", "days=x", "x=1"] {
            #expect(try await owner.get("/v1/usage?\(wrong)").status == 400, "\(wrong)")
        }
        // The last counts are written when the process ends, and another goes on from there.
        #expect(try await platform.process("contacts serve").stop() == 0)
        try await platform.start("contacts serve")
        let after = try await owner.get("/v1/usage")
        #expect(
            after.json["requests"]!["by_day"]!.array!.reduce(0) { $0 + $1["requests"]!.int! } == 16, "\(after.text)")
    }
}

import Database
import Foundation
import Records
import Tenancy
import TestSupport
import Testing

/// A tenant with people who can sign in.
struct Household: Sendable {
    static let password = "correct horse battery"
    let platform: TestPlatform
    let id: TenantID
    let slug: String
    /// With a key that may do everything.
    let client: HTTPClient

    init(_ platform: TestPlatform, _ slug: String) async throws {
        self.platform = platform
        self.slug = slug
        let tenant = try await platform.tenant(slug)
        id = tenant.id
        client = platform.client("accounts", token: tenant.key)
    }

    /// Adds somebody as the operator does; gives their id.
    func person(_ name: String, roles: [String]) async throws -> UUID {
        try await TenantDirectory(owner: platform.owner).createUser(
            tenant: id, email: address(name), name: name, password: Self.password, roles: roles)
    }

    func address(_ name: String) -> String { "\(name)@\(slug).example" }

    func trySignIn(_ name: String, password: String = Self.password, _ more: [String: JSONValue] = [:])
        async throws -> Answer
    {
        let body: [String: JSONValue] = [
            "tenant": .string(slug), "email": .string(address(name)), "password": .string(password),
        ]
        return try await platform.client("accounts").post("/v1/sessions", .object(body.merging(more) { $1 }))
    }

    /// A client with a session of somebody's.
    func signIn(_ name: String, password: String = Self.password) async throws -> HTTPClient {
        let answer = try await trySignIn(name, password: password)
        guard let token = answer.json["token"]?.text else { throw TestFailure("\(name): \(answer.text)") }
        return platform.client("accounts", token: token)
    }
}

@Suite("Accounts", .serialized)
struct AccountsTests {
    @Test("somebody invited sets a password and is in; the token works once, and not after it was taken back")
    func invitations() async throws {
        let platform = try await TestPlatform(["accounts serve"])
        let house = try await Household(platform, "invited")
        let open = platform.client("accounts")
        let body: JSONValue = ["email": "Ada@Invited.example", "roles": ["agent"]]
        let predicted = try await house.client.send("POST", "/v1/invitations?dry_run=true", json: body)
        #expect(predicted.status == 200 && predicted.json["record"]?["token"] == nil, "\(predicted.text)")
        #expect(try await house.client.get("/v1/users").json["items"] == [])
        let first = try await house.client.post("/v1/invitations", body, key: "invitation-1")
        #expect(first.status == 201 && first.header("location")?.hasPrefix("/v1/invitations/") == true, "\(first.text)")
        let again = try await house.client.post("/v1/invitations", body, key: "invitation-1")
        #expect(again.json["id"] == first.json["id"] && again.json["token"] == nil, "kept without its secret")
        // A newer invitation takes the place of the older.
        let second = try await house.client.post("/v1/invitations", body)
        #expect(second.json["id"] == first.json["id"])
        func accept(_ token: JSONValue?, _ password: String = Household.password) async throws -> Answer {
            try await open.post(
                "/v1/invitations/accept", ["token": token ?? .null, "name": "Ada", "password": .string(password)])
        }
        #expect(try await accept(first.json["token"]).status == 404)
        #expect(try await accept(second.json["token"], "short").json["errors"]?.array?.count == 1)
        #expect(try await house.client.get("/v1/invitations").json["items"]?.array?.count == 1)
        let accepted = try await accept(second.json["token"])
        #expect(accepted.status == 200 && accepted.json["tenant"] == "invited", "\(accepted.text)")
        #expect(try await accept(second.json["token"]).status == 404, "used")
        let ada = try await open.post(
            "/v1/sessions",
            ["tenant": "invited", "email": "ada@invited.example", "password": .string(Household.password)])
        #expect(ada.status == 201, "\(ada.text)")
        #expect(try await house.client.post("/v1/invitations", body).json["code"] == "not_unique")

        let other = try await house.client.post("/v1/invitations", ["email": "bob@x.example", "roles": ["agent"]])
        let id = other.json["id"]!.text!
        #expect(try await house.client.patch("/v1/users/\(id)", ["status": "active"]).json["code"] == "not_accepted")
        #expect(try await house.client.send("DELETE", "/v1/invitations/\(id)").status == 204)
        #expect(try await accept(other.json["token"]).status == 404)
        #expect(try await house.client.get("/v1/users/\(id)").status == 404)
        // A week later it is too late.
        let late = try await house.client.post("/v1/invitations", ["email": "late@x.example", "roles": ["agent"]])
        let superuser = platform.database.pool(role: "postgres")
        defer { superuser.close() }
        _ = try await superuser.query(
            tenant: nil, Statement("update platform.user_token set expires_at = now() where kind = 'invitation'"))
        #expect(try await accept(late.json["token"]).status == 404)
        #expect(try await house.client.get("/v1/invitations").json["items"]?.array?[0]["expired"] == true)
    }

    @Test("the last owner stays, even when two go at once, and owners are changed by owners alone")
    func owners() async throws {
        let platform = try await TestPlatform(["accounts serve"])
        let house = try await Household(platform, "owners")
        var ids: [String] = []
        for name in ["ann", "ben"] { ids.append(try await house.person(name, roles: ["owner"]).lowercased) }
        _ = try await house.person("adm", roles: ["administrator"])
        let administrator = try await house.signIn("adm")
        for (method, path) in [
            ("PATCH", "/v1/users/\(ids[0])"), ("POST", "/v1/users/\(ids[0])/password-resets"),
            ("DELETE", "/v1/users/\(ids[0])/totp"), ("DELETE", "/v1/users/\(ids[0])/sessions"),
        ] {
            let answer = try await administrator.send(
                method, path, json: method == "PATCH" ? ["status": "disabled"] : nil)
            #expect(answer.status == 403, "\(method) \(path): \(answer.text)")
        }
        for path in ["/v1/invitations", "/v1/keys"] {
            let answer = try await administrator.post(
                path, path == "/v1/keys" ? ["name": "k", "roles": ["owner"]] : ["email": "x@y.zz", "roles": ["owner"]])
            #expect(answer.status == 403, "nobody gives what they do not have: \(answer.text)")
        }
        let answers = try await withThrowingTaskGroup(of: Int.self) { group in
            for id in ids {
                group.addTask {
                    try await house.client.patch("/v1/users/\(id)", ["roles": ["agent"]]).status
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }.sorted()
        }
        #expect(answers == [200, 409])
        let left = try await house.client.get("/v1/users?status=active").json["items"]!.array!
            .filter { $0["roles"] == ["owner"] }
        #expect(left.count == 1)
        let last = "/v1/users/\(left[0]["id"]!.text!)"
        #expect(try await house.client.patch(last, ["status": "disabled"]).json["code"] == "last_owner")
        #expect(try await house.client.patch(last, ["name": "Still here"]).status == 200)
    }

    @Test("a disabled user's session is refused in every service at once, and a reset password ends the old ones")
    func access() async throws {
        let platform = try await TestPlatform(["accounts serve", "contacts serve"])
        let house = try await Household(platform, "access")
        let id = try await house.person("ada", roles: ["agent"]).lowercased
        let ada = try await house.signIn("ada")
        let elsewhere = platform.client("contacts", token: ada.token)
        #expect(try await elsewhere.get("/v1/contacts").status == 200)
        let disabled = try await house.client.patch("/v1/users/\(id)", ["status": "disabled"])
        #expect(disabled.json["status"] == "disabled", "\(disabled.text)")
        try await eventually(within: 8, "both services know, before their memory ends") {
            let statuses = [try await ada.get("/v1/me").status, try await elsewhere.get("/v1/contacts").status]
            return statuses == [401, 401]
        }
        #expect(try await house.trySignIn("ada").status == 401)
        #expect(try await house.client.post("/v1/users/\(id)/password-resets", [:]).json["code"] == "not_active")
        #expect(try await house.client.patch("/v1/users/\(id)", ["status": "active"]).status == 200)

        let old = try await house.signIn("ada")
        let token = try await house.client.post("/v1/users/\(id)/password-resets", [:]).json["token"]
        let reset: JSONValue = ["token": token ?? .null, "password": "a quite new password"]
        #expect(try await platform.client("accounts").post("/v1/password-resets/accept", reset).status == 200)
        #expect(try await platform.client("accounts").post("/v1/password-resets/accept", reset).status == 404)
        try await eventually(within: 8, "the old session is over") { try await old.get("/v1/me").status == 401 }
        #expect(try await house.trySignIn("ada").status == 401)
        #expect(try await house.trySignIn("ada", password: "a quite new password").status == 201)
    }

    @Test("people see to their own account, and to nobody else's")
    func profile() async throws {
        let platform = try await TestPlatform(["accounts serve"])
        let house = try await Household(platform, "profile")
        _ = try await house.person("ada", roles: ["agent"])
        let (here, there) = (try await house.signIn("ada"), try await house.signIn("ada"))
        #expect(try await here.get("/v1/me").json["user"]?["email"] == .string(house.address("ada")))
        #expect(try await here.patch("/v1/me", ["name": "Ada L."]).json["name"] == "Ada L.")
        #expect(try await here.patch("/v1/me", ["roles": ["owner"]]).status == 422)
        for path in [
            "/v1/users", "/v1/invitations", "/v1/roles", "/v1/roles/agent", "/v1/keys", "/v1/settings",
            "/v1/audit-entries",
        ] {
            #expect(try await here.get(path).status == 403, "\(path)")
        }
        #expect(try await house.client.patch("/v1/me", ["name": "x"]).json["code"] == "not_a_person")
        let sessions = try await here.get("/v1/me/sessions").json["items"]!.array!
        #expect(sessions.count == 2 && sessions.filter { $0["current"] == true }.count == 1)
        #expect(sessions[0]["address"] == "127.0.0.1")
        // A third is ended by its id, the second with all others by a new password.
        let third = try await house.signIn("ada")
        let newest = try await third.get("/v1/me/sessions").json["items"]!.array!.first { $0["current"] == true }!
        #expect(try await here.send("DELETE", "/v1/me/sessions/\(newest["id"]!.text!)").status == 204)
        #expect(try await here.send("DELETE", "/v1/me/sessions/\(newest["id"]!.text!)").status == 404)
        func change(_ current: String) async throws -> Answer {
            try await here.post(
                "/v1/me/password", ["current_password": .string(current), "new_password": "my second password"])
        }
        #expect(try await change("not my password").json["errors"]?.array?[0]["code"] == "wrong_password")
        #expect(try await change(Household.password).status == 204)
        try await eventually(within: 8, "the others are over") {
            let statuses = [try await there.get("/v1/me").status, try await third.get("/v1/me").status]
            return statuses == [401, 401]
        }
        #expect(try await here.get("/v1/me").status == 200)
        #expect(try await house.trySignIn("ada", password: "my second password").status == 201)
    }

    @Test("a tenant's own role allows what it says from the moment it does, and stays while somebody has it")
    func roles() async throws {
        let platform = try await TestPlatform(["accounts serve", "contacts serve"])
        let house = try await Household(platform, "roles")
        func put(_ name: String, _ grants: JSONValue) async throws -> Answer {
            try await house.client.send("PUT", "/v1/roles/\(name)", json: ["grants": grants])
        }
        let read: JSONValue = [["types": ["contact"], "actions": ["read"], "scope": "all"]]
        #expect(try await put("reader", read).json["built_in"] == false)
        let wrong: [JSONValue] = [
            [], nil, [["types": ["contact"], "actions": ["fly"], "scope": "all"]],
            [["types": ["contact"], "actions": ["read"], "scope": "galaxy"]],
            [["types": ["Contact!"], "actions": ["read"], "scope": "all"]],
            [["types": ["contact"], "actions": ["read"], "scope": "all", "unless": "monday"]],
        ]
        for grants in wrong { #expect(try await put("wrong", grants).status == 422, "\(grants)") }
        #expect(try await put("owner", read).json["code"] == "built_in")
        #expect(try await put("Bad%20Name", read).status == 404)

        let key = try await house.client.post("/v1/keys", ["name": "reader", "roles": ["reader"]])
        #expect(key.status == 201, "\(key.text)")
        let reader = platform.client("contacts", token: key.json["key"]?.text)
        #expect(try await reader.get("/v1/contacts").status == 200)
        #expect(try await reader.post("/v1/contacts", ["given_name": "x"]).status == 403)
        #expect(
            try await put("reader", [["types": ["contact"], "actions": ["read", "create"], "scope": "all"]]).status
                == 200)
        try await eventually(within: 8, "the new grants count before the memory ends") {
            try await reader.post("/v1/contacts", ["given_name": "x"]).status == 201
        }
        #expect(try await house.client.send("DELETE", "/v1/roles/reader").json["code"] == "in_use")
        #expect(try await house.client.get("/v1/roles").json["items"]?.array?.count == 7)
        #expect(
            try await house.client.send("DELETE", "/v1/keys/\(key.json["id"]!.text!)").status == 204)
        #expect(try await house.client.send("DELETE", "/v1/roles/reader").status == 204)
        #expect(try await house.client.get("/v1/roles/reader").status == 404)
        #expect(try await house.client.get("/v1/roles/agent").json["built_in"] == true)
        let unknown = try await house.client.post("/v1/keys", ["name": "x", "roles": ["reader"]])
        #expect(unknown.json["errors"]?.array?[0]["code"] == "no_such_role")
    }

    @Test("a key's secret is shown once; it is bound to its addresses and its rate, and gone when revoked")
    func keys() async throws {
        let platform = try await TestPlatform(["accounts serve", "contacts serve"])
        let house = try await Household(platform, "keys")
        func make(_ more: [String: JSONValue]) async throws -> Answer {
            try await house.client.post(
                "/v1/keys", .object(["name": "k", "roles": ["agent"]].merging(more) { $1 }))
        }
        let key = try await make([
            "addresses": ["192.0.2.0/24", "2001:db8::1"], "requests_per_second": 5,
            "expires_at": "2090-01-01T00:00:00Z",
        ])
        #expect(key.status == 201 && key.json["key"]?.text?.hasPrefix("gx_") == true, "\(key.text)")
        let path = "/v1/keys/\(key.json["id"]!.text!)"
        #expect(key.header("location") == path)
        let stored = try await house.client.get(path)
        #expect(stored.json["key"] == nil && stored.json["requests_per_second"] == 5, "\(stored.text)")
        #expect(stored.json["addresses"] == ["192.0.2.0/24", "2001:db8:0:0:0:0:0:1"])
        let client = platform.client("contacts", token: key.json["key"]?.text)
        #expect(try await client.get("/v1/contacts").json["code"] == "address_not_allowed")
        func from(_ address: String) async throws -> Int {
            try await client.send("GET", "/v1/contacts", headers: ["X-Forwarded-For": address]).status
        }
        #expect(try await from("192.0.2.77") == 200)
        #expect(try await from("192.0.3.1") == 403)
        #expect(try await from("192.0.2.77, 198.51.100.1") == 403, "what a caller wrote itself does not count")
        for wrong: [String: JSONValue] in [
            ["addresses": []], ["addresses": ["300.1.1.1"]], ["addresses": ["10.0.0.0/33"]],
            ["expires_at": "2020-01-01T00:00:00Z"], ["requests_per_second": 0], ["roles": []], ["roles": ["nobody"]],
        ] {
            #expect(try await make(wrong).status == 422, "\(wrong)")
        }
        #expect(try await make(["user_id": .string(UUID().uuidString)]).status == 409)
        #expect(try await house.client.send("DELETE", path).status == 204)
        #expect(try await house.client.send("DELETE", path).status == 404)
        #expect(try await house.client.get(path).status == 404)
        let listed = try await house.client.get("/v1/keys").json["items"]!.array!
        #expect(listed.filter { $0["revoked_at"] != .null }.map { $0["id"] } == [key.json["id"]])
        try await eventually(within: 8, "the key is forgotten") { try await from("192.0.2.77") == 401 }
        // Pages of one go through all of them, once each.
        for _ in 0..<3 { #expect(try await make([:]).status == 201) }
        var seen: [String] = []
        var next = "/v1/keys?limit=1"
        while seen.count < 10 {
            let page = try await house.client.get(next)
            guard let items = page.json["items"]?.array else { throw TestFailure(page.text) }
            seen += items.map { $0["id"]!.text! }
            guard let cursor = page.json["next_cursor"]?.text else { break }
            next = "/v1/keys?limit=1&cursor=\(cursor)"
        }
        #expect(seen.count == 5 && Set(seen).count == 5)
    }

    @Test("settings take what IANA, ISO 3166 and ISO 4217 know, and count at once")
    func settings() async throws {
        let platform = try await TestPlatform(["accounts serve"])
        let house = try await Household(platform, "settings")
        for wrong: JSONValue in [
            ["time_zone": "Mars/Olympus"], ["time_zone": "FOO+3"], ["default_currency": "XYZ1"],
            ["default_country": "ZZ"], ["locale": "xx"], ["name": ""], ["name": nil], ["slug": "other"],
        ] {
            let answer = try await house.client.patch("/v1/settings", wrong)
            #expect(answer.status == 422, "\(wrong.encoded): \(answer.text)")
        }
        let changed = try await house.client.patch(
            "/v1/settings", ["time_zone": "Asia/Shanghai", "default_currency": "CNY", "name": "关系"])
        #expect(changed.json["time_zone"] == "Asia/Shanghai" && changed.json["name"] == "关系", "\(changed.text)")
        try await eventually(within: 8, "the bearer's settings are read anew") {
            try await house.client.get("/v1/me").json["currency"] == "CNY"
        }
        #expect(try await house.client.get("/v1/settings").json == changed.json)
    }

    @Test("no tenant sees, changes or hints at another's people, keys, roles, sessions or trail")
    func tenantsApart() async throws {
        let platform = try await TestPlatform(["accounts serve"])
        let (ours, theirs) = (
            try await Household(platform, "ours"), try await Household(platform, "theirs")
        )
        let id = try await theirs.person("zebra", roles: ["agent"]).lowercased
        let session = try await theirs.signIn("zebra").get("/v1/me/sessions").json["items"]!.array![0]["id"]!.text!
        let key = try await theirs.client.post("/v1/keys", ["name": "zebra", "roles": ["agent"]]).json["id"]!.text!
        let grants: JSONValue = ["grants": [["types": ["*"], "actions": ["read"], "scope": "own"]]]
        #expect(try await theirs.client.send("PUT", "/v1/roles/zebra", json: grants).status == 200)
        _ = try await ours.person("own", roles: ["agent"])
        let person = try await ours.signIn("own")
        for path in ["/v1/users", "/v1/invitations", "/v1/keys", "/v1/roles", "/v1/audit-entries", "/v1/settings"] {
            let answer = try await ours.client.get(path)
            #expect(answer.status == 200 && !answer.text.contains("zebra") && !answer.text.contains(id), "\(path)")
        }
        let refused: [(String, String, JSONValue?)] = [
            ("GET", "/v1/users/\(id)", nil), ("PATCH", "/v1/users/\(id)", ["name": "x"]),
            ("DELETE", "/v1/users/\(id)/sessions", nil), ("DELETE", "/v1/invitations/\(id)", nil),
            ("POST", "/v1/users/\(id)/password-resets", nil), ("GET", "/v1/keys/\(key)", nil),
            ("DELETE", "/v1/keys/\(key)", nil), ("GET", "/v1/roles/zebra", nil), ("DELETE", "/v1/roles/zebra", nil),
        ]
        for (method, path, body) in refused {
            #expect(try await ours.client.send(method, path, json: body).status == 404, "\(method) \(path)")
        }
        #expect(try await person.send("DELETE", "/v1/me/sessions/\(session)").status == 404)
        #expect(try await ours.client.post("/v1/keys", ["name": "x", "roles": ["zebra"]]).status == 422)
        #expect(
            try await ours.client.post("/v1/keys", ["name": "x", "roles": ["agent"], "user_id": .string(id)]).status
                == 409)
        #expect(try await theirs.signIn("zebra").get("/v1/me").status == 200, "and nothing has changed")
    }
}

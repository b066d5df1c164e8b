import Foundation
import Records
import Tenancy
import TestSupport
import Testing

@Suite("The common surface of records", .serialized)
struct RecordSurfaceTests {
    @Test("create, read, change, conflict, merge, delete, restore and history")
    func life() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("life")
        let client = platform.client("contacts", token: tenant.key)
        let created = try await client.post(
            "/v1/contacts",
            [
                "given_name": "伟", "family_name": "王", "emails": [["value": "Wei@Example.CN", "primary": true]],
                "phones": [["value": "030 1234567"]], "needs": ["tea", "tea", "silk"],
            ])
        #expect(created.status == 201, "\(created.text)")
        #expect(created.json["display_name"] == "王伟")
        #expect(created.json["emails"]?.array?.first?["value"] == "wei@example.cn")
        #expect(created.json["phones"]?.array?.first?["value"] == "+49301234567")
        #expect(created.json["needs"] == ["tea", "silk"])
        #expect(created.header("etag") == "\"1\"")
        let path = created.header("location")!
        let read = try await client.get(path)
        #expect(read.json == created.json, "what was answered is what is stored")

        #expect(try await client.send("PATCH", path, json: ["region": "x"]).status == 428)
        let changed = try await client.patch(path, ["region": "上海"], version: "\"1\"")
        #expect(changed.status == 200 && changed.json["version"] == 2)
        let stale = try await client.patch(path, ["region": "北京"], version: "\"1\"")
        #expect(stale.status == 412)
        #expect(
            stale.json["conflicts"] == [["field": "region", "base": .null, "current": "上海", "submitted": "北京"]],
            "\(stale.text)")
        let merged = try await client.send(
            "PATCH", path + "?merge=true", json: ["industry": "tea"], headers: ["If-Match": "\"1\""])
        #expect(merged.status == 200 && merged.json["region"] == "上海" && merged.json["industry"] == "tea")
        let same = try await client.patch(path, ["industry": "tea"])
        #expect(same.json["version"] == 3, "a change of nothing is no change")
        #expect(try await client.patch(path, ["industry": .null]).json["industry"] == .null)

        let preview = try await client.send(
            "PATCH", path + "?dry_run=true", json: ["region": "dry"], headers: ["If-Match": "*"])
        #expect(preview.json["record"]?["region"] == "dry")
        #expect(preview.json["changes"]?.array?.first?["changes"]?["region"] == ["from": "上海", "to": "dry"])
        #expect(try await client.get(path).json["region"] == "上海")

        #expect(try await client.send("DELETE", path, headers: ["If-Match": "\"4\""]).status == 204)
        #expect(try await client.get(path).status == 404)
        #expect(try await client.post(path + "/restore", [:]).status == 200)
        let history = try await client.get(path + "/history").json["items"]?.array ?? []
        #expect(history.map { $0["operation"]?.text } == ["restore", "delete", "update", "update", "update", "create"])
        #expect(history[4]["changes"]?["region"] == ["from": .null, "to": "上海"])
    }

    @Test("a reference leads to a living record, or nowhere")
    func references() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("references")
        let client = platform.client("contacts", token: tenant.key)
        let company = try await client.post("/v1/organizations", ["name": "Acme"])
        let id = company.json["id"]!
        let person = try await client.post("/v1/contacts", ["given_name": "Ada", "organization_id": id])
        #expect(person.status == 201)
        let path = company.header("location")!
        #expect(try await client.send("DELETE", path, headers: ["If-Match": "*"]).status == 204)
        let late = try await client.post("/v1/contacts", ["given_name": "Bob", "organization_id": id])
        #expect(late.status == 409 && late.json["code"] == "no_such_record", "\(late.text)")
        #expect(late.json["errors"]?.array?.first?["pointer"] == "/organization_id")
        // What referred to it before may go on being changed.
        let contact = person.header("location")!
        #expect(try await client.patch(contact, ["region": "x"]).status == 200)
        #expect(try await client.patch(contact, ["organization_id": .null]).status == 200)
        #expect(try await client.patch(contact, ["organization_id": id]).status == 409)
        #expect(try await client.post(path + "/restore", [:]).status == 200)
        #expect(try await client.post(path + "/restore", [:]).json["code"] == "not_deleted")
        #expect(try await client.patch(contact, ["organization_id": id]).status == 200)
    }

    @Test("an upload that is repeated with its key starts no second import")
    func repeatedUpload() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("uploads")
        let client = platform.client("contacts", token: tenant.key)
        let file = Array("given_name\nAda\n".utf8)
        func upload(_ options: JSONValue, _ file: [UInt8]) async throws -> Answer {
            try await client.upload(options: options, file: file, key: "upload-12345678")
        }
        let first = try await upload(["type": "contact"], file)
        #expect(first.status == 202, "\(first.text)")
        let again = try await upload(["type": "contact"], file)
        #expect(again.text == first.text && again.header("idempotency-replayed") == "true")
        #expect(try await upload(["type": "contact"], file + file).status == 422)
        #expect(try await upload(["type": "organization"], file).status == 422)
        #expect(try await client.upload(options: ["type": "contact"], file: file).json != first.json)
    }

    @Test("a cancelled import imports nothing; asked again it is still cancelled, and one that is over is not")
    func cancelledImport() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("cancels")
        let client = platform.client("contacts", token: tenant.key)
        func start(_ name: String) async throws -> String {
            let answer = try await client.upload(
                options: ["type": "contact"], file: Array("given_name\n\(name)\n".utf8))
            return answer.json["job_id"]!.text!
        }
        let cancelled = try await start("Never")
        let kept = try await start("Kept")
        for _ in 0..<2 {
            let answer = try await client.post("/v1/jobs/\(cancelled)/cancel", [:])
            #expect(answer.status == 200 && answer.json["state"] == "cancelled", "\(answer.text)")
        }
        try await platform.start("contacts work")
        try await eventually("the other import is done") {
            try await client.get("/v1/jobs/\(kept)").json["state"] == "done"
        }
        #expect(try await client.get("/v1/contacts").json["items"]?.array?.map { $0["given_name"] } == ["Kept"])
        #expect(try await client.post("/v1/jobs/\(kept)/cancel", [:]).json["code"] == "already_over")
        #expect(try await client.post("/v1/jobs/\(UUID())/cancel", [:]).status == 404)
    }

    @Test("the same key and body gives the first answer again, another body is refused, and nothing is done twice")
    func idempotency() async throws {
        let platform = try await TestPlatform(["contacts serve", "opportunities serve"])
        let tenant = try await platform.tenant("keys")
        let client = platform.client("contacts", token: tenant.key)
        let answers = try await withThrowingTaskGroup(of: Answer.self) { group in
            for _ in 0..<12 {
                group.addTask { try await client.post("/v1/contacts", ["given_name": "Once"], key: "key-12345678") }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.allSatisfy { $0.status == 201 }, "\(answers.map(\.status))")
        #expect(Set(answers.map(\.text)).count == 1)
        #expect(try await client.get("/v1/contacts?count=exact").json["count"] == 1)
        #expect(try await client.post("/v1/contacts", ["given_name": "Other"], key: "key-12345678").status == 422)
        let path = "/v1/contacts/\(answers[0].json["id"]!.text!)"
        for _ in 0..<3 {
            let patched = try await client.send(
                "PATCH", path, json: ["region": "once"],
                headers: ["If-Match": "\"1\"", "Idempotency-Key": "patch-12345678"])
            #expect(
                patched.status == 200 && patched.json["version"] == 2, "a repeated change is not stale: \(patched.text)"
            )
        }
        // Types whose rules look at the database take the other path.
        let sales = platform.client("opportunities", token: tenant.key)
        let pipeline = try await sales.post("/v1/pipelines", ["name": "P"]).json["id"]!
        _ = try await sales.post("/v1/stages", ["pipeline_id": pipeline, "name": "S", "position": 1])
        let deals = try await withThrowingTaskGroup(of: Answer.self) { group in
            for _ in 0..<8 {
                group.addTask { try await sales.post("/v1/opportunities", ["name": "D"], key: "deal-12345678") }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(Set(deals.map(\.text)).count == 1, "\(deals.map(\.text))")
        // A conversion asked for again gets the first answer, not that it is under way.
        let lead = try await sales.post("/v1/leads", ["family_name": "Lead"]).json["id"]!.text!
        func convert(_ name: String) async throws -> Answer {
            try await sales.post("/v1/leads/\(lead)/conversion", ["name": .string(name)], key: "lead-12345678")
        }
        let converted = try await convert("Tea")
        let again = try await convert("Tea")
        #expect(converted.status == 202 && again.status == 202 && again.text == converted.text, "\(again.text)")
        #expect(again.header("idempotency-replayed") == "true")
        #expect(try await convert("Coffee").status == 422)
    }

    @Test("pages hold every record once, whatever is written between them")
    func paging() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("pages")
        let client = platform.client("contacts", token: tenant.key)
        let names: [JSONValue] = (0..<60).map { $0 % 4 == 0 ? .null : .string("N\($0 % 7)") }
        let operations: [JSONValue] = names.map { ["op": "create", "data": ["family_name": $0, "given_name": "g"]] }
        let bulk = try await client.post("/v1/contacts/bulk", ["operations": .array(operations)])
        #expect(bulk.json["results"]?.array?.allSatisfy { $0["status"] == 201 } == true, "\(bulk.text.prefix(300))")
        for sort in ["created_at", "-created_at", "family_name", "-family_name,created_at", "family_name,-created_at"] {
            var seen: [String] = []
            var cursor: String?
            var pages = 0
            repeat {
                let page = try await client.get(
                    "/v1/contacts?sort=\(sort)&limit=7" + (cursor.map { "&cursor=\($0)" } ?? ""))
                #expect(page.status == 200, "\(page.text)")
                seen += page.json["items"]?.array?.compactMap { $0["id"]?.text } ?? []
                cursor = page.json["next_cursor"]?.text
                pages += 1
                if pages == 3 { _ = try await client.post("/v1/contacts", ["family_name": "N3", "given_name": "new"]) }
            } while cursor != nil && pages < 60
            #expect(Set(seen).count == seen.count, "\(sort): twice")
            #expect(seen.count >= 60, "\(sort): \(seen.count)")
        }
    }

    @Test("every wrong value is told at once, with its place, and bad requests are 4xx")
    func errors() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("errors")
        let client = platform.client("contacts", token: tenant.key)
        let wrong = try await client.post(
            "/v1/contacts",
            [
                "birth_date": "1980-02-30", "emails": [["value": "no"]], "likelihood_to_recommend": 11, "nope": 1,
                "quality_score": 5, "organization_id": "x", "do_not_contact": "yes",
            ])
        #expect(wrong.status == 422)
        let pointers = Set(wrong.json["errors"]?.array?.compactMap { $0["pointer"]?.text } ?? [])
        #expect(
            pointers == [
                "/birth_date", "/emails/0/value", "/likelihood_to_recommend", "/nope", "/quality_score",
                "/organization_id",
                "/do_not_contact",
            ])
        let missing = try await client.post("/v1/contacts", ["organization_id": .string(UUID().uuidString)])
        #expect(
            missing.status == 409 && missing.json["errors"]?.array?.first?["pointer"] == "/organization_id",
            "\(missing.text)")
        _ = try await client.post("/v1/contacts", ["source": "s", "external_id": "1"])
        let taken = try await client.post("/v1/contacts", ["source": "s", "external_id": "1"])
        #expect(taken.status == 409 && taken.json["code"] == "not_unique", "\(taken.text)")
        for (method, path, status) in [
            ("GET", "/v1/contacts?limit=0", 400), ("GET", "/v1/contacts?nope=1", 400),
            ("GET", "/v1/contacts?sort=nope", 400),
            ("GET", "/v1/contacts?filter=%7B", 400), ("GET", "/v1/contacts?cursor=abc", 400),
            ("GET", "/v1/contacts/x", 404),
            ("GET", "/v1/contacts/%ff", 404), ("PUT", "/v1/contacts", 405), ("GET", "/nope", 404),
            ("TRACE", "/v1/contacts", 405),
            ("GET", "/v1/contacts?filter%5Bbirth_date%5D%5Bgte%5D=never", 400),
        ] {
            let answer = try await client.send(method, path)
            #expect(answer.status == status, "\(method) \(path): \(answer.status)")
            if status == 405 { #expect(answer.header("allow") == "GET, POST" || answer.header("allow") == "POST, GET") }
        }
        for body in ["", "[", "[]", "\"x\"", #"{"given_name":"\u0000"}"#, String(repeating: "[", count: 5000)] {
            let answer = try await client.send(
                "POST", "/v1/contacts", body: Array(body.utf8), headers: ["Content-Type": "application/json"])
            #expect([400, 422].contains(answer.status), "\(body.prefix(20)): \(answer.status)")
        }
        let huge = try await client.send(
            "POST", "/v1/contacts", body: [UInt8](repeating: 32, count: 2_000_000),
            headers: ["Content-Type": "application/json"])
        #expect(huge.status == 413)
        #expect(
            try await client.send("POST", "/v1/contacts", body: [123, 125], headers: ["Content-Type": "text/plain"])
                .status == 415)
    }

    @Test("an agent changes its own records and its team's alone, an analyst none")
    func permissions() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("roles")
        let directory = TenantDirectory(owner: platform.owner)
        let team = UUID()
        var clients: [String: HTTPClient] = [:]
        for (name, roles, of) in [
            ("ann", ["agent"], team), ("ben", ["agent"], team), ("cid", ["agent"], UUID()), ("eve", ["analyst"], team),
        ] {
            let user = try await directory.createUser(
                tenant: tenant.id, email: "\(name)@example.com", name: name, password: "correct horse \(name)",
                roles: roles, team: of)
            let key = try await directory.createKey(tenant: tenant.id, name: name, roles: roles, user: user)
            clients[name] = platform.client("contacts", token: key.text)
        }
        let record = try await clients["ann"]!.post(
            "/v1/contacts", ["given_name": "Hers", "team_id": .string(team.uuidString)])
        #expect(record.status == 201)
        let path = "/v1/contacts/\(record.json["id"]!.text!)"
        #expect(try await clients["ben"]!.patch(path, ["region": "a"]).status == 200)
        #expect(try await clients["cid"]!.get(path).status == 200)
        #expect(try await clients["cid"]!.patch(path, ["region": "b"]).status == 403)
        #expect(try await clients["eve"]!.post("/v1/contacts", [:]).status == 403)
        #expect(try await clients["ann"]!.send("DELETE", path, headers: ["If-Match": "*"]).status == 403)

        let anonymous = platform.client("contacts")
        let session = try await anonymous.post(
            "/v1/sessions", ["tenant": "roles", "email": "Ann@example.com", "password": "correct horse ann"])
        #expect(session.status == 201, "\(session.text)")
        let signedIn = platform.client("contacts", token: session.json["token"]!.text!)
        #expect(try await signedIn.get("/v1/me").json["tenant"] == "roles")
        #expect(try await signedIn.send("DELETE", "/v1/sessions").status == 204)
        try await eventually(within: 15, "the session is over") { try await signedIn.get("/v1/me").status == 401 }
        for _ in 0..<6 {
            let wrong = try await anonymous.post(
                "/v1/sessions", ["tenant": "roles", "email": "ben@example.com", "password": "wrong"])
            #expect(wrong.status == 401)
        }
        let locked = try await anonymous.post(
            "/v1/sessions", ["tenant": "roles", "email": "ben@example.com", "password": "correct horse ben"])
        #expect(locked.status == 401, "after too many wrong passwords even the right one waits")
    }
}

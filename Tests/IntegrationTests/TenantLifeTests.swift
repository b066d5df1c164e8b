import Contacts
import Database
import Foundation
import Records
import Tenancy
import TestSupport
import Testing

@Suite("The life of a tenant", .serialized)
struct TenantLifeTests {
    private struct Killed: Error {}

    @Test("a suspended tenant's requests answer 403 and its jobs rest, until it is resumed")
    func suspended() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let (tenant, other) = (try await platform.tenant("resting"), try await platform.tenant("working"))
        let command = try OperatorCommand(platform.database, redis: platform.redis.url)
        defer { command.clean() }
        let (client, others) = (
            platform.client("contacts", token: tenant.key), platform.client("contacts", token: other.key)
        )
        let file = Array("external_id,given_name\n1,Ada\n".utf8)
        let job = try await client.upload(options: ["type": "contact"], file: file).json["job_id"]!.text!
        let asked = try await command.run("tenants", "suspend", "resting")
        #expect(asked.status == 64 && asked.error.contains("--yes"))
        let suspended = try await command.run("tenants", "suspend", "resting", "--json", "--yes")
        #expect(try suspended.json.array?.first?["status"] == "suspended", "\(suspended.error)")
        try await eventually("requests are refused") {
            let answer = try await client.get("/v1/contacts")
            return answer.status == 403 && answer.json["code"] == "tenant_suspended"
        }
        try await platform.start("contacts work")
        let theirs = try await others.upload(options: ["type": "contact"], file: file).json["job_id"]!.text!
        #expect(try await platform.finished(others, job: theirs)["state"] == "done")
        try await Task.sleep(for: .seconds(2))
        let state = try await platform.owner.query(
            tenant: tenant.id,
            Statement("select state, started_at from contacts.job_status where id = $1", [.text(job)]))
        #expect(state.text(0, 0) == "waiting" && state.isNull(0, 1), "the job has not begun")
        let resumed = try await command.run("tenants", "resume", "resting")
        #expect(resumed.status == 0 && resumed.output.contains("active"), "\(resumed.error)")
        try await eventually("requests are answered again") { try await client.get("/v1/contacts").status == 200 }
        let over = try await platform.finished(client, job: job)
        #expect(over["state"] == "done" && over["result"]?["created"] == 1, "\(over)")
        #expect(try await command.run("tenants", "suspend", "nobody", "--yes").status == 64)
    }

    /// A tenant with what is hard to carry: other scripts, quotes, line ends, nothing, too much.
    private static func fill(_ platform: TestPlatform, _ key: String) async throws {
        let accounts = platform.client("accounts", token: key)
        let client = platform.client("contacts", token: key)
        for (name, kind) in [("shoe_size", "number"), ("nick", "text")] {
            let answer = try await accounts.post(
                "/v1/custom_fields",
                [
                    "record_type": "contact", "name": .string(name), "kind": .string(kind), "label_en": "Field",
                    "label_zh": "字段", "is_indexed": true,
                ])
            guard answer.status == 201 else { throw TestFailure(answer.text) }
        }
        try await eventually("contacts know of the fields") {
            try await client.get("/v1/custom-fields").json["items"]?.array?.count == 2
        }
        let organization = try await client.post("/v1/organizations", ["name": "الشركة \"株式\" \\ 会社"])
        guard organization.status == 201 else { throw TestFailure(organization.text) }
        let people: [JSONValue] = [
            [
                "given_name": "伟", "family_name": "王", "region": "上海 \"quoted\" \\back\\slash\\n",
                "needs": ["茶", "a;b", "{}"],
                "custom": ["shoe_size": .number("44.5"), "nick": "🧑‍🚀 \u{202E}rtl\u{202C} 'x'"], "external_id": "1",
                "organization_id": organization.json["id"]!,
            ],
            ["given_name": "عمر", "job_title": "\u{1}\u{2}\u{7f} control", "external_id": "2"],
            ["given_name": "null", "family_name": "\\N", "region": "", "external_id": "\\."],
            ["given_name": "Zoë", "emails": [["value": "zoe@example.eu", "primary": true]], "external_id": "NULL"],
        ]
        var ids: [String] = []
        for person in people {
            let answer = try await client.post("/v1/contacts?allow_duplicates=true", person)
            if answer.status != 201 {
                // What the surface refuses comes in without it.
                var members = person.object!
                members["job_title"] = nil
                members["region"] = nil
                let plain = try await client.post("/v1/contacts?allow_duplicates=true", .object(members))
                guard plain.status == 201 else { throw TestFailure(plain.text) }
                ids.append(plain.json["id"]!.text!)
            } else {
                ids.append(answer.json["id"]!.text!)
            }
        }
        for region in ["北京", "Ñandú 'q'", "z"] {
            let answer = try await client.patch("/v1/contacts/\(ids[3])", ["region": .string(region)])
            guard answer.status == 200 else { throw TestFailure(answer.text) }
        }
        let deleted = try await client.send("DELETE", "/v1/contacts/\(ids[1])", headers: ["If-Match": "*"])
        guard deleted.status == 204 else { throw TestFailure(deleted.text) }
        let activity = try await client.post(
            "/v1/activities",
            [
                "kind": "note", "contact_id": .string(ids[0]), "body": "line one\nline \"two\" \\ \u{2028}b",
                "occurred_at": "2030-01-01T10:00:00.123456Z",
            ])
        guard activity.status == 201 else { throw TestFailure(activity.text) }
        let view = try await client.post("/v1/saved_views", ["name": "Мои", "record_type": "contact"])
        guard [200, 201, 404].contains(view.status) else { throw TestFailure(view.text) }
    }

    @Test("an export makes the same tenant again, with its history, and a second export has the same digests")
    func transferred() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work", "accounts serve", "accounts work"])
        let source = try await platform.tenant("source")
        let command = try OperatorCommand(platform.database, redis: platform.redis.url)
        defer { command.clean() }
        try await Self.fill(platform, source.key)
        let user = try await TenantDirectory(owner: platform.owner).createUser(
            tenant: source.id, email: "ada@example.com", name: "Ada", password: "password-123", roles: ["agent"])
        let (there, back) = (command.directory("there"), command.directory("back"))
        let exported = try await command.run("tenants", "export", "source", there.path, "--json")
        #expect(exported.status == 0, "\(exported.error)")
        #expect(try await command.run("tenants", "export", "source", there.path).status == 64, "it is not empty")
        let imported = try await command.run("tenants", "import", there.path, "--slug", "copy", "--json")
        #expect(imported.status == 0, "\(imported.error)")
        let again = try await command.run("tenants", "export", "copy", back.path, "--json")
        #expect(again.status == 0, "\(again.error)")
        let (left, right) = (try exported.json, try again.json)
        #expect(left["digest"] == right["digest"])
        for (table, other) in zip(left["tables"]!.array!, right["tables"]!.array!) {
            #expect(table == other, "\(table["name"]?.text ?? "")")
        }
        for name in [
            "contacts.contact", "contacts.history", "contacts.custom_value", "platform.audit_entry",
            "platform.app_user",
        ] {
            let table = left["tables"]!.array!.first { $0["name"]?.text == name }
            #expect((table?["rows"]).map { $0 != 0 } == true, "\(name) holds something")
        }
        #expect(!left["tables"]!.array!.contains { $0["name"] == "platform.api_key" })

        let copy = TenantID(
            Int64(try await command.run("tenants", "show", "copy", "--json").json.array![0]["id"]!.int!))
        let key = try await TenantDirectory(owner: platform.owner).createKey(tenant: copy, name: "k", roles: ["owner"])
            .text
        let client = platform.client("contacts", token: key)
        #expect(try await client.get("/v1/contacts").json["code"] == "tenant_suspended")
        #expect(try await command.run("tenants", "resume", "copy").status == 0)
        try await eventually("the copy answers") { try await client.get("/v1/contacts").status == 200 }
        let original = platform.client("contacts", token: source.key)
        let path = "/v1/contacts?limit=200&sort=created_at"
        #expect(try await client.get(path).json["items"] == (try await original.get(path).json["items"]))
        // Found by the words of a search, which carry the tenant's number; and by a custom field's index.
        let query = "王".addingPercentEncoding(withAllowedCharacters: .alphanumerics)!
        #expect(try await client.get("/v1/contacts?q=\(query)").json["items"]?.array?.count == 1)
        let filter = #"{"field":"custom.shoe_size","op":"eq","value":44.5}"#
            .addingPercentEncoding(withAllowedCharacters: .alphanumerics)!
        #expect(try await client.get("/v1/contacts?filter=\(filter)").json["items"]?.array?.count == 1)
        for (service, path) in [
            ("contacts", "/v1/history/verification"), ("accounts", "/v1/audit-entries/verification"),
        ] {
            let verifier = platform.client(service, token: key)
            let started = try await verifier.send("POST", path, json: [:])
            if let job = started.json["job_id"]?.text {
                let verified = try await platform.finished(verifier, job: job)["result"]
                #expect(verified?["verified"] == true, "\(verified?.encoded ?? started.text)")
            } else {
                #expect(started.json["verified"] == true, "\(started.text)")
            }
        }
        // The person came along; the password did not.
        let person = try await platform.owner.query(
            tenant: copy, Statement("select password_hash from platform.app_user where id = $1", [.uuid(user)]))
        #expect(person.count == 1 && person.isNull(0, 0))
        let secrets = command.directory("secrets")
        #expect(try await command.run("tenants", "export", "source", secrets.path, "--with-credentials").status == 0)
        let twice = try await command.run("tenants", "import", secrets.path, "--slug", "twin")
        #expect(twice.status == 64 && twice.error.contains("credentials"), "\(twice.error)")
        #expect(try await command.run("tenants", "show", "twin").status == 64)
    }

    @Test("a damaged export, or one of another release, is refused by name and line, and nothing is written")
    func damaged() async throws {
        let bed = try await TenantBed()
        defer { bed.close() }
        _ = try await bed.tenant("whole", contacts: 50)
        let command = try OperatorCommand(bed.bed.database)
        defer { command.clean() }
        let whole = command.directory("whole")
        let exported = try await command.run("tenants", "export", "whole", whole.path)
        #expect(exported.status == 0, "\(exported.error)")
        func rows() async throws -> [String: Int] {
            var counts: [String: Int] = [:]
            for table in try await TenantBed.tables(bed.admin) + ["platform.tenant"] {
                counts[table] = try await bed.admin.query(tenant: nil, Statement("select count(*) from \(table)")).int(
                    0, 0)
            }
            return counts
        }
        let before = try await rows()
        let contacts = "contacts.contact.ndjson"
        func replace(_ name: String, _ old: String, _ new: String) -> @Sendable (URL) throws -> Void {
            { folder in
                let file = folder.appending(path: name)
                let text = try String(contentsOf: file, encoding: .utf8)
                guard let range = text.range(of: old) else { throw TestFailure("no \(old) in \(name)") }
                try Data(text.replacingCharacters(in: range, with: new).utf8).write(to: file)
            }
        }
        func lines(_ change: @escaping @Sendable (inout [Substring]) -> Void) -> @Sendable (URL) throws -> Void {
            { folder in
                let file = folder.appending(path: contacts)
                var lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
                change(&lines)
                try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: file)
            }
        }
        let damages: [(String, @Sendable (URL) throws -> Void, [String])] = [
            ("a byte", replace(contacts, "Given 17\"", "Given 71\""), [contacts, "line 17"]),
            ("a missing line", lines { $0.remove(at: 9) }, [contacts, "50"]),
            ("two lines changed places", lines { $0.swapAt(3, 4) }, [contacts]),
            ("a line of its own", lines { $0[5] = "{}" }, [contacts, "line 6"]),
            (
                "no file", { try FileManager.default.removeItem(at: $0.appending(path: contacts)) },
                [contacts, "missing"]
            ),
            (
                "cut off",
                { folder in
                    let file = folder.appending(path: contacts)
                    try Data(contentsOf: file).dropLast(7).write(to: file)
                }, [contacts, "line 50"]
            ),
            (
                "another version", replace("manifest.json", "\"version\" : 1", "\"version\" : 2"),
                ["manifest.json", "version 2"]
            ),
            (
                "no manifest", { try FileManager.default.removeItem(at: $0.appending(path: "manifest.json")) },
                ["manifest.json"]
            ),
            ("not JSON", replace("manifest.json", "{", "["), ["manifest.json"]),
            ("another release", replace("manifest.json", "M0002CreateContacts", "M9999CreateContacts"), ["contacts/M"]),
            ("another table", replace("manifest.json", "contacts.contact\"", "contacts.contract\""), ["manifest.json"]),
        ]
        for (name, damage, said) in damages {
            let folder = command.directory(UUID().uuidString)
            try FileManager.default.copyItem(at: whole, to: folder)
            try damage(folder)
            let outcome = try await command.run("tenants", "import", folder.path, "--slug", "broken")
            #expect(outcome.status == 64, "\(name): \(outcome.output)")
            for part in said { #expect(outcome.error.contains(part), "\(name): \(outcome.error)") }
            #expect(try await rows() == before, "\(name)")
        }
        #expect(try await command.run("tenants", "import", whole.path, "--slug", "whole").status == 64, "it is taken")
        #expect(try await command.run("tenants", "import", whole.path, "--slug", "No Slug").status == 64)
        #expect(try await rows() == before)
        #expect(try await command.run("tenants", "import", whole.path, "--slug", "mended").status == 0)
    }

    @Test("an erased tenant leaves nothing but a report, and others as they were", arguments: [false, true])
    func erased(isDedicated: Bool) async throws {
        let bed = try await TenantBed()
        defer { bed.close() }
        let (gone, other) = (
            try await bed.tenant("gone", contacts: 700), try await bed.tenant("other", contacts: 300)
        )
        let command = try OperatorCommand(bed.bed.database)
        defer { command.clean() }
        if isDedicated {
            for tenant in [gone, other] { _ = try await TenantPlacement(owner: bed.owner).promote(tenant) }
        }
        let others = try await bed.contents(other)
        let rows = try await bed.contents(gone).mapValues { Int($0.split(separator: " ")[0])! }.filter { $0.value > 0 }
        #expect(try await command.run("tenants", "erase", "gone").status == 64, "nobody is there to be asked")
        let closing = try await command.run("tenants", "erase", "gone", "--after", "2d", "--yes", "--json")
        #expect(try closing.json["status"] == "closing", "\(closing.error)")
        // Nothing goes before its time, and there is a way back.
        #expect(try await command.run("tenants", "erase", "gone", "--yes").status == 0)
        #expect(try await bed.contents(gone)["contacts.contact"]!.hasPrefix("700 "))
        let resumed = try await command.run("tenants", "resume", "gone")
        #expect(resumed.output.contains("active"), "\(resumed.status): \(resumed.output) \(resumed.error)")
        let audited = try await bed.contents(gone)["platform.audit_entry"]!.split(separator: " ")[0]

        let slow = TenantErasure(owner: bed.owner) { if $0 == "contacts.activity" { throw Killed() } }
        await #expect(throws: Killed.self) { try await slow.erase(gone, slug: "gone") }
        #expect(try await command.run("tenants", "resume", "gone").status == 64, "there is no way back any more")
        let done = try await command.run("tenants", "erase", "gone", "--yes", "--json")
        #expect(done.status == 0, "\(done.error)")
        for (table, contents) in try await bed.contents(gone) {
            #expect(contents.hasPrefix("0 "), "\(table): \(contents)")
        }
        let names = try await bed.admin.query(
            tenant: nil,
            Statement(
                """
                select (select count(*) from platform.tenant where tenant_id = $1)
                    + (select count(*) from pg_class where relname ~ ('_tenant_' || $1 || '$'))
                """, [gone.parameter]))
        #expect(names.int(0, 0) == 0)
        let counts = try done.json["counts"]!.object!
        for (table, count) in rows where table != "platform.audit_entry" {
            #expect(counts[table] == JSONValue(count), "\(table)")
        }
        #expect(counts["platform.audit_entry"]?.int.map(String.init) == String(audited))
        #expect(try await bed.contents(other) == others)
        #expect(try await bed.partitions(other).allSatisfy { $0.contains(isDedicated ? "_tenant_" : "_pool_") })
        let again = try await command.run("tenants", "erase", "gone", "--yes", "--json")
        #expect(try again.json == done.json, "the report stays")
        #expect(try await command.run("tenants", "erase", "nobody", "--yes").status == 64)
        // The slug is free again, and another's erasure is not in its way.
        _ = try await bed.tenant("gone", contacts: 3)
        #expect(try await command.run("tenants", "suspend", "gone", "--yes").status == 0)
        let fresh = try await command.run("tenants", "erase", "gone", "--now", "--yes", "--json")
        #expect(try fresh.json["counts"]?["contacts.contact"] == 3, "\(fresh.error)")
    }
}

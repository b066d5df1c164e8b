import Database
import Foundation
import Records
import TestSupport
import Testing

@Suite("The audit trail", .serialized)
struct AuditTrailTests {
    private func prove(_ house: Household) async throws -> JSONValue {
        let started = try await house.client.send("POST", "/v1/audit-entries/verification")
        guard let job = started.json["job_id"]?.text else { throw TestFailure(started.text) }
        return try await house.platform.finished(house.client, job: job)["result"] ?? .null
    }

    @Test("who changed what is written down, found by actor, action and time, and proved; a changed byte is found")
    func proof() async throws {
        let platform = try await TestPlatform(["accounts serve", "accounts work"])
        let house = try await Household(platform, "audited")
        let ada = try await house.person("ada", roles: ["owner"])
        let session = try await house.signIn("ada")
        #expect(try await session.patch("/v1/settings", ["name": "Renamed"]).status == 200)
        #expect(try await session.send("PATCH", "/v1/settings?dry_run=true", json: ["name": "Not"]).status == 200)
        // Many at once: each follows from one other.
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<20 {
                group.addTask {
                    _ = try? await house.client.post(
                        "/v1/invitations", ["email": .string("p\(index)@x.example"), "roles": ["agent"]])
                }
            }
        }
        #expect(try await session.send("DELETE", "/v1/sessions").status == 204)
        let all = try await house.client.get("/v1/audit-entries?limit=200").json["items"]!.array!
        #expect(all.map { $0["sequence"]!.int! } == Array((1...all.count).reversed()))
        #expect(all.filter { $0["action"] == "invitation.created" }.count == 20)
        #expect(all[0]["action"] == "session.closed" && all[0]["address"] == "127.0.0.1")
        let mine = try await house.client.get("/v1/audit-entries?actor=user:\(ada.lowercased)").json["items"]!.array!
        #expect(mine.map { $0["action"]!.text! } == ["session.closed", "settings.updated", "session.opened"])
        #expect(mine[1]["detail"]?["name"] == ["from": "audited", "to": "Renamed"])
        #expect(try await house.client.get("/v1/audit-entries?from=2040-01-01T00:00:00Z").json["items"] == [])
        #expect(try await house.client.get("/v1/audit-entries?action=key.created").json["items"]?.array?.count == 1)

        let sound = try await prove(house)
        #expect(sound["verified"] == true && sound["entries"] == JSONValue(all.count), "\(sound)")
        #expect(sound["head_digest"] == all[0]["digest"])
        let superuser = platform.database.pool(role: "postgres")
        defer { superuser.close() }
        func sql(_ text: String) async throws { _ = try await superuser.query(tenant: nil, Statement(text)) }
        let changes = [
            "actor = 'user:x'", "action = action || ' '", "subject = 'nobody'", "at = at + interval '1 microsecond'",
            "detail = detail || '{\"a\": 1}'", "address = '127.0.0.2'",
            "digest = set_byte(digest, 3, get_byte(digest, 3) # 1)",
        ]
        for change in changes {
            try await sql("create table public.kept as select * from platform.audit_entry where sequence = 5")
            try await sql("update platform.audit_entry set \(change) where sequence = 5")
            let report = try await prove(house)
            #expect(report["verified"] == false, "\(change)")
            #expect(report["fault"] == ["code": "entry_changed", "sequence": 5], "\(change): \(report)")
            try await sql("delete from platform.audit_entry where sequence = 5")
            #expect(try await prove(house)["fault"] == ["code": "entry_missing", "sequence": 5])
            try await sql("insert into platform.audit_entry select * from public.kept")
            try await sql("drop table public.kept")
        }
        #expect(try await prove(house)["verified"] == true)
        try await sql("delete from platform.audit_entry where sequence = \(all.count)")
        #expect(try await prove(house)["fault"] == ["code": "end_missing", "sequence": JSONValue(all.count)])
    }

    @Test("no service can change or remove an entry, the one for accounts neither")
    func appendOnly() async throws {
        let database = try await TestDatabase()
        for role in ["guanxi_accounts", "guanxi_contacts"] {
            let pool = database.pool(role: role)
            defer { pool.close() }
            for sql in [
                "update platform.audit_entry set actor = 'x'", "delete from platform.audit_entry",
                "update platform.audit_head set sequence = 0", "select secret_hash from platform.session",
                "select secret_hash from platform.api_key", "select hash from platform.recovery_code",
                "insert into platform.audit_entry (tenant_id, sequence) values (1, 1)",
            ] {
                await #expect(throws: DatabaseError.self, "\(role): \(sql)") {
                    _ = try await pool.query(tenant: TenantID(1), Statement(sql))
                }
            }
        }
        let contacts = database.pool(role: "guanxi_contacts")
        defer { contacts.close() }
        for sql in [
            "select secret from platform.totp", "select platform.append_audit('x', 'x', 'x', null, null, null)",
        ] {
            await #expect(throws: DatabaseError.self, "\(sql)") {
                _ = try await contacts.query(tenant: TenantID(1), Statement(sql))
            }
        }
    }
}

import Database
import Foundation
import Records
import TestSupport
import Testing

@Suite("History", .serialized)
struct HistoryTests {
    @Test("the chain verifies, and one flipped byte anywhere in it or in the records is found")
    func verification() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("chain")
        let client = platform.client("contacts", token: tenant.key)
        var ids: [String] = []
        for name in ["Ada", "伟", "Zoë"] {
            let created = try await client.post("/v1/contacts", ["given_name": .string(name)])
            ids.append(created.json["id"]!.text!)
            for region in ["a", "b"] {
                #expect(try await client.patch("/v1/contacts/\(ids.last!)", ["region": .string(region)]).status == 200)
            }
        }
        #expect(try await client.send("DELETE", "/v1/contacts/\(ids[2])", headers: ["If-Match": "*"]).status == 204)

        let owner = platform.database.pool(role: "postgres")
        defer { owner.close() }
        func report() async throws -> JSONValue {
            let started = try await client.post("/v1/history/verification", [:])
            #expect(started.status == 202, "\(started.text)")
            let job = try await platform.finished(client, job: started.json["job_id"]!.text!)
            return job["result"]!
        }
        let clean = try await report()
        #expect(clean["verified"] == true && clean["entries"] == 10 && clean["records"] == 3, "\(clean)")

        // Each is one byte somewhere, and each is put back.
        let tampering: [(change: String, undo: String, code: String)] = [
            (
                "update contacts.contact set region = 'c' where id = '\(ids[0])'",
                "update contacts.contact set region = 'b' where id = '\(ids[0])'", "record_changed"
            ),
            (
                "update contacts.history set actor = actor || 'x' where record_id = '\(ids[1])' and version = 2",
                "update contacts.history set actor = left(actor, -1) where record_id = '\(ids[1])' and version = 2",
                "entry_changed"
            ),
            (
                "update contacts.history set digest = set_byte(digest, 7, get_byte(digest, 7) # 1) where record_id = '\(ids[1])' and version = 3",
                "update contacts.history set digest = set_byte(digest, 7, get_byte(digest, 7) # 1) where record_id = '\(ids[1])' and version = 3",
                "entry_changed"
            ),
            (
                "update contacts.contact set deleted_at = null where id = '\(ids[2])'",
                "update contacts.contact set deleted_at = updated_at where id = '\(ids[2])'", "record_changed"
            ),
        ]
        for (change, undo, code) in tampering {
            _ = try await owner.query(tenant: nil, Statement(change))
            let found = try await report()
            #expect(found["verified"] == false, "\(change)")
            #expect(found["faults"]?.array?.first?["code"]?.text == code, "\(change): \(found)")
            _ = try await owner.query(tenant: nil, Statement(undo))
            #expect(try await report()["verified"] == true, "\(undo)")
        }
        // Half an hour later all of it is sealed; then even the last entry of a record can't go.
        _ = try await owner.query(
            tenant: nil, Statement("update contacts.history set at = at - interval '30 minutes'"))
        _ = try await owner.query(
            tenant: nil,
            Statement(
                """
                update contacts.contact set created_at = created_at - interval '30 minutes',
                    updated_at = updated_at - interval '30 minutes', deleted_at = deleted_at - interval '30 minutes'
                """))
        _ = try await owner.query(tenant: nil, Statement(Self.rechain))
        _ = try await owner.query(
            tenant: nil,
            Statement(
                """
                insert into contacts.outbox (tenant_id, id, queue, name, payload, priority, max_attempts,
                    timeout_seconds, cost, is_tracked)
                values ($1, $2, 'contacts.default', 'contacts.seal-history', '{}', 1, 25, 300, 5, false)
                """, [tenant.id.parameter, .uuid(.v7())]))
        try await eventually("a seal stands") {
            try await owner.query(tenant: nil, Statement("select entries from contacts.history_seal")).count == 1
        }
        #expect(try await report()["verified"] == true)
        _ = try await owner.query(
            tenant: nil,
            Statement("delete from contacts.history where record_id = '\(ids[0])' and version = 3"))
        _ = try await owner.query(
            tenant: nil,
            Statement("update contacts.contact set version = 2, region = 'a' where id = '\(ids[0])'"))
        let cut = try await report()
        #expect(cut["faults"]?.array?.contains { $0["code"] == "seal_broken" } == true, "\(cut)")
    }

    /// What somebody with all rights over the database could do: compute the chain again after changing it.
    private static let rechain = """
        do $$
        declare entry record;
        begin
            for entry in select * from contacts.history order by record_type, record_id, version loop
                update contacts.history e set digest = sha256(coalesce((
                    select p.digest from contacts.history p where p.tenant_id = e.tenant_id
                    and p.record_type = e.record_type and p.record_id = e.record_id and p.version = e.version - 1),
                    ''::bytea) || e.salt || convert_to(row(e.record_type, e.record_id, e.version,
                    extract(epoch from e.at), e.actor, e.request_id, e.change_set, e.operation)::text
                    || e.changes::text, 'UTF8'))
                where e.tenant_id = entry.tenant_id and e.record_type = entry.record_type
                and e.record_id = entry.record_id and e.version = entry.version;
            end loop;
        end $$
        """
}

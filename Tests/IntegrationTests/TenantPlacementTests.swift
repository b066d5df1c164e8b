import Contacts
import Database
import Foundation
import Records
import Synchronization
import Tenancy
import TestSupport
import Testing

/// A database with tenants whose contacts, activities and organizations refer to each other.
struct TenantBed {
    let bed: TestStore
    let owner: Database
    let service: Database
    /// Sees everything.
    let admin: Database

    init() async throws {
        bed = try await TestStore(contactsService, connections: 6)
        owner = bed.database.pool(role: "guanxi_owner")
        service = bed.database.pool(role: "guanxi_contacts", interactive: 6)
        admin = bed.database.pool(role: "postgres")
    }

    /// A tenant with so many contacts, some of which were merged into others, with organizations and activities.
    func tenant(_ slug: String, contacts: Int) async throws -> TenantID {
        let id = try await bed.tenant(slug)
        try await admin.withTenant(id) { transaction in
            for sql in [
                """
                insert into contacts.organization (tenant_id, id, created_at, updated_at, name, parent_id)
                select $1, ('00000000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, now(), now(), '株式 ' || i,
                    case when i > 1 then '00000000-0000-7000-8000-000000000001'::uuid end
                from generate_series(1, 10) i
                """,
                """
                insert into contacts.contact (tenant_id, id, created_at, updated_at, given_name, organization_id)
                select $1, ('00000000-0000-7000-9000-' || lpad(i::text, 12, '0'))::uuid, now(), now(), 'Given ' || i,
                    ('00000000-0000-7000-8000-' || lpad((i % 10 + 1)::text, 12, '0'))::uuid
                from generate_series(1, \(contacts)) i
                """,
                """
                update contacts.contact set merged_into = '00000000-0000-7000-9000-000000000001'
                where tenant_id = $1 and id = '00000000-0000-7000-9000-000000000002'
                """,
                """
                insert into contacts.activity (tenant_id, id, created_at, updated_at, kind, contact_id, occurred_at)
                select $1, gen_random_uuid(), now(), now(), 'note', id, now() from contacts.contact where tenant_id = $1
                """,
            ] { try await transaction.query(sql, [id.parameter]) }
        }
        return id
    }

    /// How many rows of the tenant each table has, and their digests: all tables that hold any tenant's rows.
    func contents(_ tenant: TenantID) async throws -> [String: String] {
        var contents: [String: String] = [:]
        for table in try await Self.tables(admin) {
            let rows = try await admin.query(
                tenant: nil,
                Statement(
                    """
                    select count(*), md5(coalesce(string_agg(md5(t::text), '' order by md5(t::text)), ''))
                    from \(table) t where t.tenant_id = $1
                    """, [tenant.parameter]))
            contents[table] = "\(rows.int(0, 0)!) \(rows.text(0, 1)!)"
        }
        return contents
    }

    /// Every table with a tenant's number, but for the platform's own two lists and for copies that are not done.
    static func tables(_ admin: Database) async throws -> [String] {
        let rows = try await admin.query(
            tenant: nil,
            Statement(
                """
                select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
                join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
                where c.relkind in ('r', 'p') and not c.relispartition and n.nspname not like 'pg\\_%'
                and c.relname not in ('tenant', 'tenant_erasure') and c.relname !~ '_tenant_[0-9]+$' order by 1
                """))
        return (0..<rows.count).map { rows.text($0, 0)! }
    }

    /// Where the tenant's contacts are.
    func partitions(_ tenant: TenantID, of table: String = "contacts.contact") async throws -> [String] {
        let rows = try await admin.query(
            tenant: nil,
            Statement(
                "select distinct tableoid::regclass::text from \(table) where tenant_id = $1", [tenant.parameter]))
        return (0..<rows.count).map { rows.text($0, 0)! }
    }

    func close() {
        owner.close()
        service.close()
        admin.close()
    }
}

@Suite("Tenants with partitions of their own", .serialized)
struct TenantPlacementTests {
    private struct Killed: Error {}

    /// Tells the others that it is over.
    private final class Flag: Sendable {
        private let value = Mutex(false)
        var isSet: Bool { value.withLock { $0 } }
        func set() { value.withLock { $0 = true } }
    }

    @Test("a tenant is promoted and demoted under readers and writers who notice nothing")
    func online() async throws {
        let bed = try await TenantBed()
        defer { bed.close() }
        let count = 20_000
        let (tenant, other) = (
            try await bed.tenant("moving", contacts: count), try await bed.tenant("staying", contacts: 500)
        )
        let others = try await bed.contents(other)
        let before = try await bed.contents(tenant)["contacts.activity"]
        let isOver = Flag()
        let type = bed.bed.store.catalogue.type(named: "contact")!
        let (created, reads) = try await withThrowingTaskGroup(of: ([UUID], Int).self) { group in
            for writer in 0..<2 {
                group.addTask {
                    var made: [UUID] = []
                    while !isOver.isSet {
                        let context = bed.bed.context(tenant)
                        let answer = try await bed.bed.store.create(
                            type, ["given_name": .string("new \(writer)")], allowingDuplicates: true, context)
                        made.append(answer.id!)
                        let known = String(format: "00000000-0000-7000-9000-%012d", made.count % count + 1)
                        // A statement of its own each time: it is planned anew, in the middle of a switch too.
                        let changed = try await bed.service.query(
                            tenant: tenant,
                            Statement(
                                """
                                update contacts.contact set region = 'r\(made.count)'
                                where tenant_id = $1 and id = $2 /* \(writer) */
                                """, [tenant.parameter, .text(known)]))
                        if changed.affected != 1 { throw TestFailure("\(known) was not there to be changed") }
                    }
                    return (made, 0)
                }
            }
            for reader in 0..<2 {
                group.addTask {
                    var (reads, least) = (0, count)
                    while !isOver.isSet {
                        let sql = "select count(*) from contacts.contact where tenant_id = $1"
                        let rows = try await bed.service.query(
                            tenant: tenant,
                            Statement(reader == 0 ? sql : "\(sql) /* \(reads) */", [tenant.parameter]), readOnly: true)
                        let seen = rows.int(0, 0)!
                        if seen < least { throw TestFailure("a reader saw \(seen) contacts of at least \(least)") }
                        least = seen
                        reads += 1
                    }
                    return ([], reads)
                }
            }
            group.addTask {
                defer { isOver.set() }
                let placement = TenantPlacement(owner: bed.owner)
                let moves = try await placement.promote(tenant)
                #expect(moves.first { $0.table == "contacts.contact" }!.rows >= count)
                #expect(try await bed.partitions(tenant) == ["contacts.contact_tenant_\(tenant)"])
                try await Task.sleep(for: .milliseconds(200))
                _ = try await placement.demote(tenant)
                #expect(try await bed.partitions(tenant).allSatisfy { $0.hasPrefix("contacts.contact_pool_") })
                try await Task.sleep(for: .milliseconds(200))
                #expect(try await !placement.promote(tenant).isEmpty)
                #expect(try await placement.promote(tenant).isEmpty, "all done already")
                return ([], 0)
            }
            var all: ([UUID], Int) = ([], 0)
            do {
                for try await part in group { all = (all.0 + part.0, all.1 + part.1) }
            } catch {
                isOver.set()
                throw error
            }
            return all
        }
        #expect(created.count > 10 && reads > 10)
        let rows = try await bed.admin.query(
            tenant: nil,
            Statement(
                """
                select count(*), count(distinct id), count(*) filter (where id = any ($2::uuid[]))
                from contacts.contact where tenant_id = $1
                """, [tenant.parameter, .array(created.map { $0.uuidString })]))
        #expect(rows.int(0, 0) == count + created.count)
        #expect(rows.int(0, 1) == count + created.count)
        #expect(rows.int(0, 2) == created.count, "each once")
        #expect(try await bed.contents(tenant)["contacts.activity"] == before)
        #expect(try await bed.contents(other) == others)
        // The plan reads the tenant's own partition and nothing else; references hold as before.
        let plan = try await bed.admin.query(
            tenant: nil,
            Statement("explain select * from contacts.contact where tenant_id = \(tenant) and id = gen_random_uuid()"))
        let text = (0..<plan.count).map { plan.text($0, 0)! }.joined(separator: "\n")
        #expect(text.contains("contact_tenant_\(tenant)") && !text.contains("pool"), "\(text)")
        await #expect(throws: DatabaseError.self) {
            try await bed.admin.query(
                tenant: nil, Statement("delete from contacts.contact where tenant_id = $1", [tenant.parameter]))
        }
        await #expect(throws: DatabaseError.self) {
            try await bed.admin.query(
                tenant: nil,
                Statement(
                    "update contacts.contact set organization_id = gen_random_uuid() where tenant_id = $1",
                    [tenant.parameter]))
        }
        try await secured(bed)
    }

    /// What the catalogue's test asks of every table, with partitions that are a tenant's own.
    private func secured(_ bed: TenantBed) async throws {
        let open = try await bed.admin.query(
            tenant: nil,
            Statement(
                """
                select c.oid::regclass::text from pg_class c
                where c.relname ~ '_tenant_[0-9]+$' and c.relkind in ('r', 'p') and (not c.relispartition
                    or not c.relrowsecurity or not c.relforcerowsecurity
                    or exists (select 1 from aclexplode(c.relacl) a where a.grantee <> c.relowner))
                """))
        #expect(open.count == 0, "\(open.text(0, 0) ?? "")")
        for role in ["contacts", "tickets"] {
            let pool = bed.bed.database.pool(role: "guanxi_\(role)")
            defer { pool.close() }
            await #expect(throws: DatabaseError.self) {
                try await pool.query(tenant: TenantID(1), Statement("select * from contacts.contact_tenant_1"))
            }
        }
        let seen = try await bed.service.query(
            tenant: TenantID(2), Statement("select count(*) from contacts.contact where tenant_id = 1"))
        #expect(seen.int(0, 0) == 0)
    }

    @Test("a move that is killed between any two steps, or within one, goes on where it stopped")
    func resumed() async throws {
        let bed = try await TenantBed()
        defer { bed.close() }
        let tenant = try await bed.tenant("stopped", contacts: 300)
        let before = try await bed.contents(tenant)
        func contents() async throws -> [String: String] {
            // The moves themselves are in the trail.
            try await bed.contents(tenant).filter { !$0.key.hasPrefix("platform.audit_") }
        }
        let expected = before.filter { !$0.key.hasPrefix("platform.audit_") }
        // In the order of their moves: a table that is done is not stopped at.
        let tables = ["contacts.organization", "platform.audit_entry", "contacts.contact", "contacts.activity"]
        for step in tables.flatMap({ [TenantPlacement.Step.copied($0), .switching($0), .switched($0)] }) {
            let placement = TenantPlacement(owner: bed.owner) { if $0 == step { throw Killed() } }
            await #expect(throws: Killed.self, "\(step)") { try await placement.promote(tenant) }
            #expect(try await contents() == expected, "\(step)")
            // Life goes on between the two runs: what was copied already changes, goes and comes.
            _ = try await bed.admin.query(
                tenant: nil,
                Statement(
                    "update contacts.contact set region = 'between' where tenant_id = $1 and version = 1 and id in (select id from contacts.contact where tenant_id = $1 limit 7)",
                    [tenant.parameter]))
            _ = try await bed.admin.query(
                tenant: nil,
                Statement(
                    "update contacts.contact set region = null where tenant_id = $1 and region = 'between'",
                    [tenant.parameter]))
        }
        #expect(try await !TenantPlacement(owner: bed.owner).promote(tenant).isEmpty)
        #expect(try await contents() == expected)
        #expect(try await bed.partitions(tenant) == ["contacts.contact_tenant_\(tenant)"])
        for step in tables.flatMap({ [TenantPlacement.Step.returning($0), .returned($0)] }) {
            let placement = TenantPlacement(owner: bed.owner) { if $0 == step { throw Killed() } }
            await #expect(throws: Killed.self, "\(step)") { try await placement.demote(tenant) }
            #expect(try await contents() == expected, "\(step)")
        }
        _ = try await TenantPlacement(owner: bed.owner).demote(tenant)
        #expect(try await contents() == expected)
        #expect(try await bed.partitions(tenant).allSatisfy { $0.contains("_pool_") })
        let left = try await bed.admin.query(
            tenant: nil, Statement("select count(*) from pg_class where relname ~ '_tenant_[0-9]+$'"))
        #expect(left.int(0, 0) == 0, "no copy is left beside a table")
    }

    @Test("an export that is taken while its tenant moves has every row once")
    func exported() async throws {
        let bed = try await TenantBed()
        defer { bed.close() }
        let tenant = try await bed.tenant("both", contacts: 3000)
        let command = try OperatorCommand(bed.bed.database)
        defer { command.clean() }
        @Sendable func tables(_ name: String) async throws -> [TenantManifest.Table] {
            let folder = command.directory(name)
            let manifest = try await TenantExport(owner: bed.owner).write(tenant, to: folder, withCredentials: true)
            return manifest.tables.filter { !$0.name.hasPrefix("platform.audit_") }
        }
        let expected = try await tables("first")
        #expect(expected.first { $0.name == "contacts.contact" }?.rows == 3000)
        let isOver = Flag()
        try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask {
                defer { isOver.set() }
                for _ in 0..<2 {
                    _ = try await TenantPlacement(owner: bed.owner).promote(tenant)
                    _ = try await TenantPlacement(owner: bed.owner).demote(tenant)
                }
                return 0
            }
            group.addTask {
                var count = 0
                while !isOver.isSet {
                    let found = try await tables("during-\(count)")
                    #expect(found == expected, "export \(count)")
                    count += 1
                    // Moves wait for exports: they get their turn.
                    try await Task.sleep(for: .milliseconds(500))
                }
                return count
            }
            var exports = 0
            for try await count in group { exports += count }
            #expect(exports > 1)
        }
    }

    @Test("the command is killed again and again, and ends with every row in its place")
    func killed() async throws {
        let bed = try await TenantBed()
        defer { bed.close() }
        let tenant = try await bed.tenant("killed", contacts: 5000)
        let expected = try await bed.contents(tenant).filter { !$0.key.hasPrefix("platform.audit_") }
        let command = try OperatorCommand(bed.bed.database)
        defer { command.clean() }
        for milliseconds in [300, 900, 1500, 2500] {
            let process = try command.start(["tenants", "promote", "killed"])
            try await Task.sleep(for: .milliseconds(milliseconds))
            try await process.crash()
            #expect(try await bed.contents(tenant).filter { !$0.key.hasPrefix("platform.audit_") } == expected)
        }
        let done = try await command.run("tenants", "promote", "killed", "--json")
        #expect(done.status == 0, "\(done.error)")
        #expect(try done.json["placement"] == "dedicated")
        let shown = try await command.run("tenants", "show", "killed", "--json")
        #expect(try shown.json.array?.first?["placement"] == "dedicated", "\(shown.output)")
        #expect(try await bed.contents(tenant).filter { !$0.key.hasPrefix("platform.audit_") } == expected)
        #expect(try await bed.partitions(tenant) == ["contacts.contact_tenant_\(tenant)"])
        #expect(try await command.run("tenants", "promote", "nobody").status == 64)
    }
}

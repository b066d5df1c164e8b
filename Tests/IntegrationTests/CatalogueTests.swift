import Database
import Foundation
import TestSupport
import Testing

@Suite("The database's catalogue")
struct CatalogueTests {
    private static let schemas = "('platform', 'contacts', 'opportunities', 'tickets', 'analytics', 'accounts')"

    private func names(_ sql: String) async throws -> [String] {
        let database = try await TestDatabase().pool(role: "postgres")
        defer { database.close() }
        let rows = try await database.query(tenant: nil, Statement(sql))
        return (0..<rows.count).map { rows.text($0, 0)! }
    }

    @Test("every table has row security, forced, with the one policy, but for those listed here")
    func rowSecurity() async throws {
        let without = try await names(
            """
            select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname in \(Self.schemas) and c.relkind in ('r', 'p') and not c.relispartition
            and not (c.relrowsecurity and c.relforcerowsecurity
                and (select count(*) from pg_policy p where p.polrelid = c.oid) = 1
                and (select pg_get_expr(p.polqual, p.polrelid) from pg_policy p where p.polrelid = c.oid)
                    like '%tenant_id = (NULLIF(current_setting(''app.tenant_id''::text, true), ''''::text))::bigint%')
            order by 1
            """)
        // They hold no tenant's data: events and queues, record types, batches of ids, positions, epochs.
        let allowed =
            ["platform.queue_setting", "platform.record_type", "platform.subscription"]
            + ["accounts", "analytics", "contacts", "opportunities", "tickets"].flatMap {
                ["\($0).outbox_sent", "\($0).queue_epoch", "\($0).relay_position"]
            }
        #expect(without == allowed.sorted())
    }

    @Test("nobody has a privilege on a partition: the policy stands on its parent")
    func partitions() async throws {
        let open = try await names(
            """
            select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname in \(Self.schemas) and c.relispartition and exists (
                select 1 from aclexplode(c.relacl) a where a.grantee <> c.relowner)
            """)
        #expect(open == [])
    }

    @Test("tenant_id comes first in every primary key, foreign key and index, but for those listed here")
    func tenantFirst() async throws {
        let keys = try await names(
            """
            select i.indexrelid::regclass::text from pg_index i
            join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
            where n.nspname in \(Self.schemas) and not c.relispartition
            and exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id')
            and (select attname from pg_attribute a where a.attrelid = c.oid and a.attnum = i.indkey[0]) is distinct from 'tenant_id'
            order by 1
            """)
        // Ids that are looked up before the tenant is known, queues that are ordered by time, and what operators count of a
        // whole queue.
        let services = ["accounts", "analytics", "contacts", "opportunities", "tickets"]
        let allowed =
            [
                "platform.api_key_id_idx", "platform.job_retry_queue_due_idx", "platform.serial_job_queue_idx",
                "platform.session_id_idx",
                "platform.tenant_slug_key",
                "platform.user_token_id_idx",
            ]
            // An inverted index has no first column; its words are mixed with the tenant's number.
            + allServices.flatMap(\.types).filter { !$0.searchFields.isEmpty }.map { "\($0.table)_words_idx" }
            + services.flatMap {
                [
                    "\($0).inbox_pkey", "\($0).outbox_pkey", "\($0).outbox_xid_idx", "\($0).scheduled_job_run_at_idx",
                ]
            }
        #expect(keys == allowed.sorted())
        let foreign = try await names(
            """
            select conname from pg_constraint c join pg_namespace n on n.oid = c.connamespace
            where n.nspname in \(Self.schemas) and c.contype = 'f'
            and (select attname from pg_attribute a where a.attrelid = c.conrelid and a.attnum = c.conkey[1]) <> 'tenant_id'
            """)
        #expect(foreign == [])
    }

    @Test("functions that see several tenants are those listed here, each with a fixed search path")
    func functions() async throws {
        let across = try await names(
            """
            select n.nspname || '.' || p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname in \(Self.schemas) and p.prosecdef order by 1
            """)
        let services = ["accounts", "analytics", "contacts", "opportunities", "tickets"]
        let allowed =
            [
                "active_tenants", "append_audit", "backlog_place", "backlog_tenants", "change_scheduled",
                "close_session",
                "dead_jobs", "define_custom_field", "describe_job", "due_retries", "end_retries", "erased_tenants",
                "find_credential", "find_token", "find_user",
                "has_earlier_event", "hasten_retry", "is_queue_paused", "job_payload", "lock_backlog", "move_backlog",
                "name_tenants",
                "note_backlog", "note_custom_field_indexed", "open_session", "queue_figures", "queue_shares",
                "refuse_sign_in", "replay_job", "set_queue_paused", "set_queue_share", "use_token", "subscribe",
                "subscribe_tenant", "subscriptions", "tenant_plans", "tenant_settings", "unfinished_in",
                "unfinished_jobs",
                "waiting_retries",
            ].map { "platform.\($0)" }
            + services.flatMap { service in
                [
                    "drop_finished_partitions", "ensure_partitions", "forget_expired", "redact_history",
                    "redact_payloads", "relay_due", "relay_unsent", "search_ids",
                ].map { "\(service).\($0)" }
            }
        #expect(across == allowed.sorted())
        let loose = try await names(
            """
            select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname in \(Self.schemas) and p.prosecdef
            and not coalesce(p.proconfig::text like '%search_path=%', false)
            """)
        #expect(loose == [])
        let open = try await names(
            """
            select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname in \(Self.schemas) and p.prosecdef
            and (p.proacl is null or exists (select 1 from aclexplode(p.proacl) a where a.grantee = 0))
            """)
        #expect(open == [], "no function across tenants is open to everybody")
    }

    @Test("views and sequences would be new here: there are none")
    func others() async throws {
        let found = try await names(
            """
            select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname in \(Self.schemas) and (c.relkind in ('v', 'm', 'f')
                or (c.relkind = 'S' and c.relname <> 'tenant_tenant_id_seq'))
            """)
        #expect(found == [])
    }

    @Test("with no tenant set a service sees nothing and can write nothing, with one it can't write for another")
    func failsClosed() async throws {
        let test = try await TestDatabase()
        let database = test.pool(role: "guanxi_contacts")
        defer { database.close() }
        let insert = """
            insert into contacts.job_status (tenant_id, id, name) values ($1, gen_random_uuid(), 'x')
            """
        _ = try await database.query(tenant: TenantID(1), Statement(insert, [1]))
        await #expect(throws: DatabaseError.self) { _ = try await database.query(tenant: nil, Statement(insert, [1])) }
        await #expect(throws: DatabaseError.self) {
            _ = try await database.query(tenant: TenantID(2), Statement(insert, [1]))
        }
        for (tenant, count) in [(nil, 0), (TenantID(2), 0), (TenantID(1), 1)] as [(TenantID?, Int)] {
            let rows = try await database.query(tenant: tenant, Statement("select count(*) from contacts.job_status"))
            #expect(rows.int(0, 0) == count)
        }
    }

    @Test("a service reaches no other service's schema")
    func otherSchemas() async throws {
        let database = try await TestDatabase().pool(role: "guanxi_contacts")
        defer { database.close() }
        for table in [
            "tickets.ticket", "opportunities.lead", "analytics.fact", "platform.app_user", "platform.api_key",
        ] {
            await #expect(throws: DatabaseError.self, "\(table)") {
                _ = try await database.query(tenant: TenantID(1), Statement("select count(*) from \(table)"))
            }
        }
    }

    @Test("each record type's columns are the table's, with the same types")
    func descriptions() async throws {
        let database = try await TestDatabase().pool(role: "postgres")
        defer { database.close() }
        for type in allServices.flatMap(\.types) {
            let rows = try await database.query(
                tenant: nil,
                Statement(
                    """
                    select attname, format_type(atttypid, null) from pg_attribute
                    where attrelid = $1::regclass and attnum > 0 and not attisdropped
                    """, [.text(type.table)]))
            var actual: [String: String] = [:]
            for row in 0..<rows.count {
                actual[rows.text(row, 0)!] = rows.text(row, 1)!.replacing(
                    "timestamp with time zone", with: "timestamptz")
            }
            for (column, sqlType) in zip(type.columns, type.columnTypes) {
                #expect(actual[column] == sqlType, "\(type.table).\(column)")
            }
        }
    }
}

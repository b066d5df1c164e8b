import Database
import Foundation

/// A table that holds tenants' rows, as the database's catalogue describes it: a new one is known by being there.
package struct TenantTable: Sendable, Decodable {
    /// A stored column; generated ones follow from these.
    struct Column: Sendable, Decodable {
        let name: String
        let type: String
        let isRequired: Bool
    }

    /// A foreign key.
    struct Reference: Sendable, Decodable {
        /// The table that is referred to.
        let table: String
        let columns: [String]
        let targets: [String]
        /// As PostgreSQL would declare it.
        let definition: String
    }

    /// With its schema, such as `contacts.contact`.
    package let name: String
    /// True when it is partitioned by tenant and has a pool: such a table's rows can get a partition of their own.
    let isPartitioned: Bool
    let columns: [Column]
    let key: [String]
    let references: [Reference]

    var schema: String { String(name.prefix { $0 != "." }) }
    /// The name within the schema.
    var baseName: String { String(name.drop { $0 != "." }.dropFirst()) }
    var pool: String { "\(name)_pool" }
    /// The stored columns, quoted, separated by commas.
    var columnList: String { columns.map { Self.quoted($0.name) }.joined(separator: ", ") }

    /// The partition that a tenant on a dedicated placement has of its own.
    func partition(of tenant: TenantID) -> String { "\(name)_tenant_\(tenant)" }

    static func quoted(_ name: String) -> String { "\"\(name)\"" }

    /// All tables with a `tenant_id`, but for the platform's own list of tenants and of erasures; referred tables before
    /// those that refer to them.
    static func all(in transaction: Transaction) async throws -> [TenantTable] {
        let rows = try await transaction.query(Statement(catalogue))
        let tables = try JSONDecoder().decode([TenantTable].self, from: Data((rows.text(0, 0) ?? "[]").utf8))
        return ordered(tables)
    }

    private static func ordered(_ tables: [TenantTable]) -> [TenantTable] {
        var ordered: [TenantTable] = []
        var rest = tables
        let known = Set(tables.map(\.name))
        while !rest.isEmpty {
            let done = Set(ordered.map(\.name))
            let ready = rest.filter { table in
                table.references.allSatisfy {
                    $0.table == table.name || done.contains($0.table) || !known.contains($0.table)
                }
            }
            // Tables that refer to each other have no order: as they come.
            let next = ready.isEmpty ? rest : ready
            ordered += next
            let names = Set(next.map(\.name))
            rest.removeAll { names.contains($0.name) }
        }
        return ordered
    }

    /// A partition that is still being filled stands beside its table, and is none itself.
    private static let catalogue = """
        select json_agg(json_build_object('name', n.nspname || '.' || c.relname,
            'isPartitioned', exists (
                select 1 from pg_class p where p.relnamespace = c.relnamespace and p.relname = c.relname || '_pool'
                and p.relispartition),
            'columns', (
                select json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, null),
                    'isRequired', a.attnotnull) order by a.attnum)
                from pg_attribute a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''),
            'key', coalesce((
                select json_agg(a.attname order by k.place)
                from pg_index i cross join unnest(i.indkey::int2[]) with ordinality k (number, place)
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
                where i.indrelid = c.oid and i.indisprimary), '[]'),
            'references', coalesce((
                select json_agg(json_build_object('table', rn.nspname || '.' || r.relname,
                    'columns', (select json_agg(a.attname order by k.place)
                        from unnest(f.conkey) with ordinality k (number, place)
                        join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number),
                    'targets', (select json_agg(a.attname order by k.place)
                        from unnest(f.confkey) with ordinality k (number, place)
                        join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.number),
                    'definition', pg_get_constraintdef(f.oid)) order by f.conname)
                from pg_constraint f join pg_class r on r.oid = f.confrelid
                join pg_namespace rn on rn.oid = r.relnamespace
                where f.conrelid = c.oid and f.contype = 'f' and f.conparentid = 0), '[]'))
            order by n.nspname || '.' || c.relname)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p'
        and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%'
        and c.relname !~ '_tenant_[0-9]+$'
        and (n.nspname, c.relname) not in (('platform', 'tenant'), ('platform', 'tenant_erasure'))
        and exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnum > 0)
        """
}

extension Database {
    /// A transaction of the owner's on one tenant's rows, with statements that no service may run.
    ///
    /// - Parameters:
    ///   - asTheyAre: rows are written without triggers and without looking up what they refer to.
    ///   - snapshot: the whole transaction reads one state of these tables, and writes nothing. They are held from before
    ///     the snapshot is taken: were a tenant's rows of one moved to another partition after it, they would be invisible
    ///     there to this transaction.
    func operating<Result: Sendable>(
        on tenant: TenantID, asTheyAre: Bool = false, snapshot: [TenantTable] = [],
        _ body: @Sendable (Transaction) async throws -> Result
    ) async throws -> Result {
        try await withoutTenant { transaction in
            var opening: [Statement] = []
            if !snapshot.isEmpty {
                let tables = snapshot.map { "only \($0.name)" }.joined(separator: ", ")
                opening = [
                    Statement("set transaction isolation level repeatable read, read only"),
                    Statement("lock table \(tables) in access share mode"),
                ]
            }
            opening += [
                Statement("select set_config('app.tenant_id', $1, true)", [tenant.parameter]),
                // Whole tables are read here, where requests look at a few rows: plans are made for that.
                Statement("set local enable_seqscan = on"),
                Statement("set local plan_cache_mode = auto"),
                Statement("set local work_mem = '128MB'"),
            ]
            if asTheyAre { opening.append(Statement("set local session_replication_role = replica")) }
            do { _ = try await transaction.batch(opening) } catch let error as DatabaseError
                where error.code == .forbidden
            {
                throw TenantWorkError.notGranted
            }
            return try await body(transaction)
        }
    }
}

/// Why the operator's work on a tenant can't be done.
package enum TenantWorkError: Error, CustomStringConvertible, Equatable {
    /// Bootstrapping gives the owner the right to write rows as they are; an older one did not.
    case notGranted
    /// Long transactions held a table all the time.
    case busy(String)
    /// What the caller asks for does not go together with the tenant's state.
    case refused(String)
    /// A file of an export is not what its manifest says.
    case damaged(file: String, line: Int?, what: String)

    package var description: String {
        switch self {
        case .notGranted:
            "the owner may not set session_replication_role: run `guanxi migrate` with GUANXI_DATABASE_ADMIN_URL set"
        case .busy(let table):
            "\(table) was held by long transactions all the time; the same command goes on where it stopped"
        case .refused(let why): why
        case .damaged(let file, let line, let what): "\(file)\(line.map { ", line \($0)" } ?? ""): \(what)"
        }
    }
}

import Database
import Foundation

/// The statements that move one tenant's rows of one table from the pool into a partition of its own, and back.
///
/// The partition is filled beside the table, as a table like it: a comment on it says as of which transaction. Rows carry
/// the number of the transaction that wrote them, so that what was written since is found without a trigger on anybody's
/// writes. The names come from the catalogue and the tenant's number: nothing of a caller's is in these texts.
struct PartitionMove: Sendable {
    /// Where a table's move stands.
    enum State: Sendable {
        case absent
        /// There is a whole copy beside the table.
        case copied
        case attached
    }

    let table: TenantTable
    let tenant: TenantID
    /// Other tables that refer to this one.
    let referring: [String]

    private var partition: String { table.partition(of: tenant) }
    private var aside: String { "\(table.schema).\(table.baseName)_return_tenant_\(tenant)" }

    init(_ table: TenantTable, _ tenant: TenantID, referring: [String]) {
        self.table = table
        self.tenant = tenant
        self.referring = referring
    }

    // MARK: Looking

    /// Looks where the move stands; drops a copy that can't be completed any more.
    func prepare(in transaction: Transaction) async throws -> State {
        try await takeTurn(in: transaction)
        let rows = try await transaction.query(
            Statement(
                """
                select c.relispartition, substring(obj_description(c.oid) from 'as of (\\d+)'),
                    pg_snapshot_xmax(pg_current_snapshot())::text
                from pg_class c where c.oid = to_regclass($1)
                """, [.text(partition)]))
        if rows.isEmpty { return .absent }
        if rows.bool(0, 0) == true { return .attached }
        // Numbers of transactions come round after four thousand million of them; a quarter of that is old enough.
        if let mark = rows.int(0, 1), let now = rows.int(0, 2), now - mark < 1 << 30 { return .copied }
        try await dropCopy(in: transaction)
        return .absent
    }

    /// How many rows the tenant's own partition holds; nil when it has none.
    func dedicatedRows(in transaction: Transaction) async throws -> Int? {
        let rows = try await transaction.query(
            Statement(
                "select relispartition from pg_class where oid = to_regclass($1)", [.text(partition)]))
        guard !rows.isEmpty, rows.bool(0, 0) == true else { return nil }
        return try await transaction.query(Statement("select count(*) from \(partition)")).int(0, 0)
    }

    /// Two operators at one tenant's table take turns.
    private func takeTurn(in transaction: Transaction) async throws {
        _ = try await transaction.query(
            Statement(
                "select pg_advisory_xact_lock(hashtextextended('guanxi.placement.' || $1, $2))",
                [.text(table.name), tenant.parameter]))
    }

    /// The partition of the pool that the tenant's rows are in.
    private func leaf(in transaction: Transaction) async throws -> String {
        let rows = try await transaction.query(
            Statement(
                """
                select remainder from generate_series(0, 15) as remainder
                where satisfies_hash_partition($1::regclass, 16, remainder, $2::bigint)
                """, [.text(table.pool), tenant.parameter]))
        return "\(table.pool)_\(rows.int(0, 0)!)"
    }

    // MARK: Copying, with nobody waiting

    /// Makes the copy, as of a transaction that is written down with it.
    func copy(in transaction: Transaction) async throws {
        try await takeTurn(in: transaction)
        guard try await transaction.query(Statement("select to_regclass($1)", [.text(partition)])).isNull(0, 0) else {
            return
        }
        let leaf = try await leaf(in: transaction)
        let mark = try await mark(in: transaction)
        _ = try await transaction.batch([
            // The check proves to PostgreSQL, without reading the rows, that all of them belong into the partition.
            Statement(
                """
                create table \(partition) (like \(table.name) including all,
                    constraint of_one_tenant check (tenant_id = \(tenant)))
                """),
            Statement("alter table \(partition) enable row level security"),
            Statement("alter table \(partition) force row level security"),
            Statement(
                """
                create policy tenant_isolation on \(partition)
                using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
                """),
            Statement(
                """
                insert into \(partition) (\(table.columnList))
                select \(table.columnList) from \(leaf) where tenant_id = \(tenant)
                """),
            Statement("comment on table \(partition) is 'Copied as of \(mark).'"),
            Statement("analyze \(partition)"),
        ])
    }

    /// Brings the copy up to date, but for what is written meanwhile.
    func catchUp(in transaction: Transaction) async throws {
        try await takeTurn(in: transaction)
        guard let since = try await copiedAsOf(in: transaction) else { return }
        let leaf = try await leaf(in: transaction)
        let mark = try await mark(in: transaction)
        // A row that changes between the two statements stands in the copy as it was, and is found the next time.
        _ = try await transaction.batch([
            removal(of: leaf, since: since),
            Statement(insertion(from: leaf, since: since).sql + " on conflict do nothing"),
            Statement("comment on table \(partition) is 'Copied as of \(mark).'"),
        ])
    }

    /// No transaction with a lower number is under way: whatever is not seen yet was written by a higher one.
    private func mark(in transaction: Transaction) async throws -> Int {
        try await transaction.query(Statement("select pg_snapshot_xmin(pg_current_snapshot())::text")).int(0, 0)!
    }

    private func copiedAsOf(in transaction: Transaction) async throws -> Int? {
        let rows = try await transaction.query(
            Statement(
                """
                select substring(obj_description(c.oid) from 'as of (\\d+)') from pg_class c
                where c.oid = to_regclass($1) and not c.relispartition
                """, [.text(partition)]))
        return rows.isEmpty ? nil : rows.int(0, 0)
    }

    /// Takes out of the copy what the pool does not have any more as it is there.
    private func removal(of leaf: String, since: Int) -> Statement {
        let same = table.key.map { "p.\(TenantTable.quoted($0)) = t.\(TenantTable.quoted($0))" }
        return Statement(
            """
            delete from \(partition) t where not exists (
                select 1 from \(leaf) p where p.tenant_id = \(tenant) and \(same.joined(separator: " and "))
                and age(p.xmin) > age('\(since)'::xid8::xid))
            """)
    }

    private func insertion(from leaf: String, since: Int) -> Statement {
        Statement(
            """
            insert into \(partition) (\(table.columnList))
            select \(table.columnList) from \(leaf) p where \(isNew(since))
            """)
    }

    /// The condition that a row of the pool is the tenant's and may have been written since.
    private func isNew(_ since: Int) -> String {
        "p.tenant_id = \(tenant) and age(p.xmin) <= age('\(since)'::xid8::xid)"
    }

    /// Drops what stands beside the table.
    func dropCopy(in transaction: Transaction) async throws {
        _ = try await transaction.query(Statement("drop table if exists \(partition)"))
    }

    // MARK: Switching, with writers waiting

    /// Makes writers of the table wait at its door: none may already be on its way to a partition. Attaching needs the
    /// same of tables on the other ends of foreign keys; taken here and in one order, nobody meets us halfway.
    func lockWriters(in transaction: Transaction) async throws {
        try await takeTurn(in: transaction)
        var locks: [String: String] = [table.name: "only \(table.name)"]
        for name in referring { locks[name] = "only \(name)" }
        // With all partitions: a reference is declared on each of them.
        for reference in table.references where reference.table != "platform.tenant" {
            locks[reference.table] = reference.table
        }
        let targets = locks.sorted { $0.key < $1.key }.map(\.value).joined(separator: ", ")
        _ = try await transaction.batch([
            Statement("set local lock_timeout = '200ms'"),
            Statement("lock table \(targets) in share row exclusive mode"),
        ])
    }

    /// How many rows the copy holds. To be asked before writers wait.
    func copiedRows(in transaction: Transaction) async throws -> Int {
        try await takeTurn(in: transaction)
        guard try await copiedAsOf(in: transaction) != nil else {
            throw TenantWorkError.refused("the copy of \(table.name) is gone: somebody else works on the tenant")
        }
        return try await transaction.query(Statement("select count(*) from \(partition)")).int(0, 0)!
    }

    /// Brings what was written since into the copy. Gives by how many rows it grew.
    ///
    /// Rows that were deleted are not looked for, since that takes longest: whoever calls compares the numbers.
    func completeCopy(in transaction: Transaction) async throws -> Int {
        guard let since = try await copiedAsOf(in: transaction) else { return 0 }
        let leaf = try await leaf(in: transaction)
        let same = table.key.map { "c.\(TenantTable.quoted($0)) = t.\(TenantTable.quoted($0))" }
        let changed = try await transaction.batch([
            Statement(
                """
                create temporary table changed_row on commit drop as
                select \(table.columnList) from \(leaf) p where \(isNew(since))
                """),
            Statement(
                "delete from \(partition) t using pg_temp.changed_row c where \(same.joined(separator: " and "))"),
            Statement(
                "insert into \(partition) (\(table.columnList)) select \(table.columnList) from pg_temp.changed_row"),
        ])
        return changed[2].affected - changed[1].affected
    }

    /// Declares the copy's references, which looks each row's up. Declared earlier, they would hold others' deletions up
    /// for the sake of rows that are not in the table yet; left to attaching, they would be looked up while readers wait.
    func declareReferences(in transaction: Transaction) async throws {
        _ = try await transaction.batch(
            table.references.map { Statement("alter table \(partition) add \($0.definition)") })
    }

    /// Takes the rows out of the pool, and says so. Gives how many.
    func emptyPool(in transaction: Transaction) async throws -> Int {
        let leaf = try await leaf(in: transaction)
        let deleted = try await transaction.query(Statement("delete from \(leaf) where tenant_id = \(tenant)"))
        let others = try await dedicated(in: transaction)
        try await define(without: others + [tenant.rawValue], in: transaction)
        return deleted.affected
    }

    /// From here on readers wait as well: one that had looked at the table's partitions before the switch and read after
    /// it would find the rows in neither place.
    ///
    /// With the tables it refers to, where its references are declared already: PostgreSQL takes away what these have on
    /// the other side, once the whole table's cover them, and whoever reads there would wait behind it for the longest
    /// reader of all.
    func lockReaders(withReferences: Bool, in transaction: Transaction) async throws {
        var targets = withReferences ? Set(table.references.map(\.table)) : []
        // One that refers to itself, with all its partitions.
        if !targets.contains(table.name) { targets.insert("only \(table.name)") }
        _ = try await transaction.batch([
            Statement("set local lock_timeout = '20ms'"),
            Statement("lock table \(targets.sorted().joined(separator: ", ")) in access exclusive mode"),
            Statement("set local lock_timeout = '200ms'"),
        ])
    }

    /// Readers do not wait for the disk: the commit is not waited for there. Lost with the server, it was as if it had not
    /// been, with whatever came after it; the next commit of anybody makes it last, and a promotion ends with one.
    func attach(in transaction: Transaction) async throws {
        _ = try await transaction.batch([
            Statement("set local synchronous_commit = off"),
            Statement("comment on table \(partition) is null"),
            Statement("alter table \(table.name) attach partition \(partition) for values in (\(tenant))"),
        ])
    }

    // MARK: Returning

    /// Puts the rows where no reference holds them, and empties the partition: one that rows refer to can't be detached.
    func setAside(in transaction: Transaction) async throws {
        _ = try await transaction.batch([
            Statement("create table \(aside) (like \(table.name))"),
            Statement("insert into \(aside) (\(table.columnList)) select \(table.columnList) from \(partition)"),
            Statement("delete from \(partition)"),
        ])
    }

    /// Takes the rows of a table that refer to others of the same: those would keep the partition from being detached.
    func emptyOfOwnReferences(in transaction: Transaction) async throws {
        for reference in table.references where reference.table == table.name {
            let set = reference.columns.map { "\(TenantTable.quoted($0)) is not null" }
            _ = try await transaction.query(
                Statement("delete from \(partition) where \(set.joined(separator: " and "))"))
        }
    }

    /// Takes the partition off its table and drops it; the pool may hold the tenant's rows again.
    func detach(in transaction: Transaction) async throws {
        let others = try await dedicated(in: transaction).filter { $0 != tenant.rawValue }
        _ = try await transaction.query(Statement("alter table \(table.name) detach partition \(partition)"))
        try await define(without: others, in: transaction)
        try await dropCopy(in: transaction)
    }

    func fillPool(in transaction: Transaction) async throws -> Int {
        let leaf = try await leaf(in: transaction)
        let filled = try await transaction.batch([
            Statement("insert into \(leaf) (\(table.columnList)) select \(table.columnList) from \(aside)"),
            Statement("drop table \(aside)"),
        ])
        return filled[0].affected
    }

    // MARK: The pool's constraint

    /// The tenants that have partitions of this table.
    private func dedicated(in transaction: Transaction) async throws -> [Int64] {
        let rows = try await transaction.query(
            Statement(
                """
                select substring(pg_get_expr(c.relpartbound, c.oid) from 'IN \\(''?(\\d+)')
                from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where i.inhparent = to_regclass($1) and pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT' order by 1
                """, [.text(table.name)]))
        return (0..<rows.count).compactMap { rows.int($0, 0).map(Int64.init) }
    }

    private func define(without tenants: [Int64], in transaction: Transaction) async throws {
        let list = tenants.sorted().map(String.init).joined(separator: ",")
        let holds = tenants.isEmpty ? "true" : "tenant_id <> all (''{\(list)}''::bigint[])"
        _ = try await transaction.query(
            Statement(
                """
                create or replace function \(table.pool)_holds(tenant_id bigint) returns boolean
                language sql immutable parallel safe as 'select \(holds)'
                """))
    }
}

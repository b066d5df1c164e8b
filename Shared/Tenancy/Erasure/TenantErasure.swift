import Database
import Foundation

/// Erases a tenant with all it has, for good; what is left is a report without anybody's data.
///
/// Rows go in pieces, each with its count in the same transaction: a run that was killed goes on with the same call, and
/// the report is right.
package struct TenantErasure: Sendable {
    /// What went.
    package struct Report: Sendable, Codable {
        package let tenant: Int64
        package let beganAt: String
        package let finishedAt: String?
        /// Rows by table.
        package let counts: [String: Int]

        package var total: Int { counts.values.reduce(0, +) }
    }

    private let database: Database
    private let hook: @Sendable (String) async throws -> Void
    private static let piece = 20_000

    /// - Parameter hook: called after each table, with its name; throwing ends the erasure there, as a kill would.
    package init(owner database: Database, hook: @escaping @Sendable (String) async throws -> Void = { _ in }) {
        self.database = database
        self.hook = hook
    }

    /// Closes the tenant: its requests are refused and its jobs rest until it is resumed, or erased after `date`.
    package func close(_ tenant: TenantID, until date: Date) async throws {
        try await database.operating(on: tenant) { transaction in
            _ = try await transaction.query(
                Statement(
                    """
                    with closed as (
                        update platform.tenant set status = 'closing', erase_after = $2 where tenant_id = $1
                        returning slug)
                    select platform.write_audit($1, 'operator', 'tenant.closing', 'tenant:' || slug,
                        jsonb_build_object('erase_after', $2::timestamptz), null, null),
                        pg_notify('guanxi_credentials', 'tenant:' || $1::bigint)
                    from closed
                    """, [tenant.parameter, .time(date)]))
        }
    }

    /// Deletes everything, now. Whoever calls has asked whether the time has come.
    package func erase(_ tenant: TenantID, slug: String) async throws -> Report {
        let wasActive = try await begin(tenant, slug)
        // A service that missed the notice lets a bearer in for ten seconds more.
        if wasActive { try await Task.sleep(for: .seconds(11)) }
        let placement = TenantPlacement(owner: database)
        // What refers goes before what it refers to.
        for move in try await placement.moves(of: tenant).reversed() {
            try await placement.drop(move) { count, transaction in
                try await Self.count(move.table.name, count, tenant, in: transaction)
            }
        }
        let tables = try await database.withoutTenant { try await TenantTable.all(in: $0) }.reversed()
        // A job that ran when the tenant was closed may write until it ends: the last look finds nothing.
        var found = true
        while found {
            found = false
            for table in tables {
                var deleted = Self.piece
                while deleted == Self.piece {
                    deleted = try await erasePiece(of: table, tenant)
                    if deleted > 0 { found = true }
                }
                try await hook(table.name)
            }
        }
        return try await end(tenant)
    }

    /// The report of the erasure of the tenant that had this slug; nil when there was none.
    package func report(slug: String) async throws -> Report? {
        try await database.withoutTenant { transaction in
            _ = try await transaction.query(Statement("set local role guanxi_across"))
            let rows = try await transaction.query(
                Statement(
                    "\(Self.reading) where slug_digest = sha256(convert_to($1, 'UTF8')) order by began_at desc limit 1",
                    [.text(slug)]))
            return try Self.report(rows)
        }
    }

    // MARK: Steps

    /// From here on there is no way back: the tenant's jobs end without being run.
    /// True when the tenant could be used until now.
    private func begin(_ tenant: TenantID, _ slug: String) async throws -> Bool {
        try await database.operating(on: tenant) { transaction in
            let rows = try await transaction.batch([
                Statement("select status = 'active' from platform.tenant where tenant_id = $1", [tenant.parameter]),
                Statement(
                    """
                    update platform.tenant set status = 'closing', erase_after = coalesce(erase_after, now())
                    where tenant_id = $1
                    """, [tenant.parameter]),
                Statement(
                    """
                    insert into platform.tenant_erasure (tenant_id, slug_digest)
                    values ($1, sha256(convert_to($2, 'UTF8'))) on conflict do nothing
                    """, [tenant.parameter, .text(slug)]),
                Statement("select pg_notify('guanxi_credentials', 'tenant:' || $1::bigint)", [tenant.parameter]),
            ])
            return !rows[0].isEmpty && rows[0].bool(0, 0) == true
        }
    }

    private func erasePiece(of table: TenantTable, _ tenant: TenantID) async throws -> Int {
        let key = table.key.map(TenantTable.quoted).joined(separator: ", ")
        return try await database.operating(on: tenant, asTheyAre: true) { transaction in
            let deleted = try await transaction.query(
                Statement(
                    """
                    delete from \(table.name) where tenant_id = $1 and (\(key)) in (
                        select \(key) from \(table.name) where tenant_id = $1 limit \(Self.piece))
                    """, [tenant.parameter])
            ).affected
            if deleted > 0 { try await Self.count(table.name, deleted, tenant, in: transaction) }
            return deleted
        }
    }

    private static func count(_ table: String, _ rows: Int, _ tenant: TenantID, in transaction: Transaction)
        async throws
    {
        _ = try await transaction.query(
            Statement(
                """
                update platform.tenant_erasure set counts = counts
                    || jsonb_build_object($2::text, coalesce((counts ->> $2::text)::bigint, 0) + $3::bigint)
                where tenant_id = $1
                """, [tenant.parameter, .text(table), .int(rows)]))
    }

    /// The tenant itself goes last: until then the erasure can be found and goes on.
    private func end(_ tenant: TenantID) async throws -> Report {
        try await database.operating(on: tenant, asTheyAre: true) { transaction in
            _ = try await transaction.batch([
                Statement("delete from platform.tenant where tenant_id = $1", [tenant.parameter]),
                Statement(
                    "update platform.tenant_erasure set finished_at = now() where tenant_id = $1 and finished_at is null",
                    [tenant.parameter]),
                Statement("select pg_notify('guanxi_credentials', 'tenant:' || $1::bigint)", [tenant.parameter]),
            ])
            let rows = try await transaction.query(
                Statement("\(Self.reading) where tenant_id = $1", [tenant.parameter]))
            guard let report = try Self.report(rows) else {
                throw TenantWorkError.refused("the erasure's own entry is gone")
            }
            return report
        }
    }

    private static let reading = """
        select tenant_id, to_char(began_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            to_char(finished_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), counts::text from platform.tenant_erasure
        """

    private static func report(_ rows: Rows) throws -> Report? {
        guard !rows.isEmpty else { return nil }
        return Report(
            tenant: Int64(rows.int(0, 0)!), beganAt: rows.text(0, 1)!, finishedAt: rows.text(0, 2),
            counts: try JSONDecoder().decode([String: Int].self, from: Data(rows.text(0, 3)!.utf8)))
    }
}

import Database
import Foundation
import Jobs
import Tenancy

/// The hourly seal over a tenant's new history: the Merkle root of all entries of a time, chained to the seal before.
///
/// An entry's own digest proves that it follows its predecessors; the seal proves that none was taken off the end of a
/// record's chain, and that none was put in afterwards. Whoever keeps a root elsewhere can prove both to others.
package struct HistorySeal: Sendable {
    private let store: RecordStore
    private var schema: String { store.outbox.schema }
    /// Seconds that an entry may take from its time to its commit: sealed is only what is older.
    private static let settling: TimeInterval = 600
    static let pageSize = 5000

    package init(store: RecordStore) { self.store = store }

    /// Seals what is new and settled; nothing when there is nothing.
    package func run(_ context: JobContext) async throws {
        let last = try await context.step { try await self.last(in: $0) }
        let to = Date(timeIntervalSinceNow: -Self.settling)
        guard to > last.to else { return try await context.once { _ in } }
        let tree = try await Self.tree(schema: schema, from: last.to, to: to) { statement in
            try await context.step { try await $0.query(statement($0.tenant)) }
        }
        try await context.once { transaction in
            // Another run may have sealed meanwhile: the number is taken then, and this one ends.
            guard tree.count > 0, try await self.last(in: transaction).number == last.number else { return }
            transaction.later(
                Statement(
                    """
                    insert into \(schema).history_seal (tenant_id, number, from_time, to_time, entries, root)
                    values ($1, $2, $3, $4, $5, $6)
                    """,
                    [
                        transaction.tenant.parameter, .int(last.number + 1), .time(last.to), .time(to),
                        .int(tree.count), .bytes(Self.root(tree, after: last.root)),
                    ]))
        }
    }

    private func last(in transaction: TenantTransaction) async throws -> (number: Int, to: Date, root: [UInt8]) {
        let rows = try await transaction.query(
            "select number, to_time, root from \(schema).history_seal where tenant_id = $1 order by number desc limit 1",
            [transaction.tenant.parameter])
        guard !rows.isEmpty else { return (0, Date(timeIntervalSince1970: 0), []) }
        return (rows.int(0, 0)!, rows.time(0, 1)!, rows.bytes(0, 2)!)
    }

    /// A seal's root: the tree's, chained to the root before.
    static func root(_ tree: MerkleTree, after previous: [UInt8]) -> [UInt8] { Sodium.hash(previous + tree.root) }

    /// The tree over all entries of the time, read page by page in the order of time, type, record and version.
    static func tree(
        schema: String, from: Date, to: Date, page: (@escaping @Sendable (TenantID) -> Statement) async throws -> Rows
    ) async throws -> MerkleTree {
        var tree = MerkleTree()
        var after: [Parameter] = [
            .time(from), .text("\u{10FFFF}"), .text("ffffffff-ffff-ffff-ffff-ffffffffffff"), .int(Int.max),
        ]
        while true {
            let beyond = after
            let rows = try await page { tenant in
                Statement(
                    """
                    select at, record_type, record_id, version, digest from \(schema).history
                    where tenant_id = $1 and at >= $2 and at <= $6
                    and (at, record_type, record_id, version) > ($2, $3, $4::uuid, $5)
                    order by at, record_type, record_id, version limit \(pageSize)
                    """, [tenant.parameter] + beyond + [.time(to)])
            }
            for row in 0..<rows.count { tree.append(rows.bytes(row, 4)!) }
            guard rows.count == pageSize else { return tree }
            let last = rows.count - 1
            after = (0..<4).map { .optional(rows.text(last, $0)) }
        }
    }
}

import Database
import Foundation

/// Gives a tenant's rows partitions of their own, and takes them back, while services go on.
///
/// Each table is moved by itself. Where a table's move stands is read from the catalogue every time, so that a move which
/// was killed at any moment goes on with the same call, and one that is done does nothing.
package struct TenantPlacement: Sendable {
    /// What was just done, for whoever watches; throwing ends the move there, as a kill would.
    package enum Step: Sendable, Equatable {
        /// The copy beside the table is made.
        case copied(String)
        /// Committed next: the table's rows are in the new partition.
        case switching(String)
        case switched(String)
        case returning(String)
        case returned(String)
    }

    /// How a table's move went.
    package struct Move: Sendable, Codable {
        package let table: String
        package let rows: Int
        /// From the lock that writers wait for to the end of the transaction, in milliseconds.
        package let writesBlocked: Double
        /// The part of it in which readers wait too.
        package let readsBlocked: Double
        /// How often the locks were asked for.
        package let attempts: Int
    }

    private let database: Database
    private let hook: @Sendable (Step) async throws -> Void
    /// Above this, a table's return would keep everybody from reading it for about a second.
    static let mostRowsToReturn = 30_000
    private static let mostAttempts = 150

    /// - Parameter hook: called after each step.
    package init(owner database: Database, hook: @escaping @Sendable (Step) async throws -> Void = { _ in }) {
        self.database = database
        self.hook = hook
    }

    /// Moves all of the tenant's partitioned tables into partitions of its own; gives what was moved by this call.
    package func promote(_ tenant: TenantID) async throws -> [Move] {
        var moves: [Move] = []
        for move in try await self.moves(of: tenant) {
            if let done = try await promote(move) { moves.append(done) }
        }
        try await note(tenant, "dedicated", "tenant.promoted", moves)
        return moves
    }

    /// Moves them back into the pool. Readers of a table wait while its rows are written, so that tables of more than
    /// 30,000 of the tenant's rows are refused unless `evenIfSlow`.
    package func demote(_ tenant: TenantID, evenIfSlow: Bool = false) async throws -> [Move] {
        let all = try await self.moves(of: tenant)
        if !evenIfSlow {
            for move in all {
                let count = try await database.operating(on: tenant) { try await move.dedicatedRows(in: $0) } ?? 0
                guard count <= Self.mostRowsToReturn else {
                    throw TenantWorkError.refused(
                        "\(move.table.name) holds \(count) rows of the tenant: nobody could read the table for about \(count / 30_000 + 1) s"
                    )
                }
            }
        }
        var moves: [Move] = []
        for move in all {
            if let done = try await demote(move) { moves.append(done) }
        }
        try await note(tenant, "pooled", "tenant.demoted", moves)
        return moves
    }

    /// Drops the tenant's own partition of a table with all rows in it, and calls `counted` with their number before the
    /// transaction ends. What refers to the rows must be gone already.
    func drop(
        _ move: PartitionMove, counted: @escaping @Sendable (Int, Transaction) async throws -> Void
    ) async throws {
        try await patiently(move) { _ in
            try await database.operating(on: move.tenant, asTheyAre: true) { transaction in
                guard let count = try await move.dedicatedRows(in: transaction) else {
                    return try await move.dropCopy(in: transaction)
                }
                try await move.lockWriters(in: transaction)
                try await move.emptyOfOwnReferences(in: transaction)
                try await lockReaders(move, withReferences: true, in: transaction)
                try await move.detach(in: transaction)
                try await counted(count, transaction)
            }
        }
    }

    // MARK: One table

    private func promote(_ move: PartitionMove) async throws -> Move? {
        let state = try await database.operating(on: move.tenant) { try await move.prepare(in: $0) }
        if state == .attached { return nil }
        if state == .absent {
            try await database.operating(on: move.tenant, asTheyAre: true) { try await move.copy(in: $0) }
            try await hook(.copied(move.table.name))
        }
        for _ in 1...Self.mostAttempts {
            // What was written and deleted since, without anybody waiting, so that little is left to do while they wait.
            try await database.operating(on: move.tenant, asTheyAre: true) { try await move.catchUp(in: $0) }
            do { return try await switchOver(move) } catch is RowsWereDeleted {
                try await Task.sleep(for: .milliseconds(Int.random(in: 20...100)))
            }
        }
        throw TenantWorkError.busy(move.table.name)
    }

    /// The copy has rows that the pool has not any more.
    private struct RowsWereDeleted: Error {}

    private func switchOver(_ move: PartitionMove) async throws -> Move {
        try await patiently(move) { attempt in
            let (rows, began, readers) = try await database.operating(on: move.tenant, asTheyAre: true) { transaction in
                let copied = try await move.copiedRows(in: transaction)
                try await move.lockWriters(in: transaction)
                let began = ContinuousClock.now
                let complete: Int
                do {
                    complete = try await copied + move.completeCopy(in: transaction)
                    if complete > 0 { try await move.declareReferences(in: transaction) }
                } catch let error as DatabaseError
                    where error.code == .foreignKeyViolation || error.code == .uniqueViolation
                {
                    // Something of the copy refers to, or is in the way of, what is there now.
                    throw RowsWereDeleted()
                }
                let rows = try await move.emptyPool(in: transaction)
                guard complete == rows else { throw RowsWereDeleted() }
                // What attaching declares for a table without rows, there is nothing to look up for.
                try await lockReaders(move, withReferences: complete > 0, in: transaction)
                let readers = ContinuousClock.now
                try await move.attach(in: transaction)
                try await hook(.switching(move.table.name))
                return (rows, began, readers)
            }
            let end = ContinuousClock.now
            try await hook(.switched(move.table.name))
            return Move(
                table: move.table.name, rows: rows, writesBlocked: (end - began) / .milliseconds(1),
                readsBlocked: (end - readers) / .milliseconds(1), attempts: attempt)
        }
    }

    private func demote(_ move: PartitionMove) async throws -> Move? {
        try await patiently(move) { attempt in
            let done = try await database.operating(on: move.tenant, asTheyAre: true) {
                transaction -> (Int, ContinuousClock.Instant, ContinuousClock.Instant)? in
                guard try await move.dedicatedRows(in: transaction) != nil else {
                    // A promotion that was never finished left a copy.
                    try await move.dropCopy(in: transaction)
                    return nil
                }
                try await move.lockWriters(in: transaction)
                let began = ContinuousClock.now
                try await move.setAside(in: transaction)
                try await lockReaders(move, withReferences: true, in: transaction)
                let readers = ContinuousClock.now
                try await move.detach(in: transaction)
                let rows = try await move.fillPool(in: transaction)
                try await hook(.returning(move.table.name))
                return (rows, began, readers)
            }
            guard let (rows, began, readers) = done else { return nil }
            let end = ContinuousClock.now
            try await hook(.returned(move.table.name))
            return Move(
                table: move.table.name, rows: rows, writesBlocked: (end - began) / .milliseconds(1),
                readsBlocked: (end - readers) / .milliseconds(1), attempts: attempt)
        }
    }

    /// Asks for the lock that readers wait for only for moments: a reader that holds the table for long must not make all
    /// others wait behind us.
    private func lockReaders(
        _ move: PartitionMove, withReferences: Bool, in transaction: Transaction
    ) async throws {
        for attempt in 1... {
            do {
                return try await transaction.savepoint {
                    try await move.lockReaders(withReferences: withReferences, in: transaction)
                }
            } catch let error as DatabaseError where error.code == .lockUnavailable && attempt < 12 {
                try await Task.sleep(for: .milliseconds(Int.random(in: 5...15)))
            }
        }
    }

    /// Tries again, from the beginning of the transaction, while others hold the table.
    private func patiently<Result: Sendable>(
        _ move: PartitionMove, _ body: @Sendable (_ attempt: Int) async throws -> Result
    ) async throws -> Result {
        for attempt in 1...Self.mostAttempts {
            do {
                return try await body(attempt)
            } catch let error as DatabaseError where error.code == .lockUnavailable || error.code == .conflict {
                // Whoever waited behind us goes first.
                try await Task.sleep(for: .milliseconds(Int.random(in: 100...600)))
            }
        }
        throw TenantWorkError.busy(move.table.name)
    }

    /// The moves of all partitioned tables, referred tables first.
    func moves(of tenant: TenantID) async throws -> [PartitionMove] {
        let all = try await database.withoutTenant { try await TenantTable.all(in: $0) }
        return all.filter(\.isPartitioned).map { table in
            let referring = all.filter { other in
                other.name != table.name && other.references.contains { $0.table == table.name }
            }
            return PartitionMove(table, tenant, referring: referring.map(\.name))
        }
    }

    /// Also where the tenant stood there already, and only tables of a newer release were moved.
    private func note(_ tenant: TenantID, _ placement: String, _ action: String, _ moves: [Move]) async throws {
        let rows = moves.reduce(0) { $0 + $1.rows }
        try await database.operating(on: tenant) { transaction in
            _ = try await transaction.query(
                Statement(
                    """
                    with changed as (
                        update platform.tenant set placement = $2 where tenant_id = $1 and (placement <> $2 or $5)
                        returning slug)
                    select platform.write_audit($1, 'operator', $3, 'tenant:' || slug,
                        jsonb_build_object('rows', $4::bigint), null, null) from changed
                    """, [tenant.parameter, .text(placement), .text(action), .int(rows), .bool(!moves.isEmpty)]))
        }
    }
}

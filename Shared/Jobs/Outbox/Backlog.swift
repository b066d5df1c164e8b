import Database
import Foundation
import Logging

/// Jobs that wait in PostgreSQL because their tenant's window in Redis is full.
///
/// Per queue and tenant one row says from which id on jobs may not be in Redis; the jobs themselves stay where they
/// are, in the outbox. So a flood of millions costs one row, and none of it is marked, updated or deleted.
struct Backlog: Sendable {
    let queue: RedisQueue
    let database: Database
    let seal: PayloadSeal
    let logger: Logger
    private let pace = UnfinishedLook.Pace()

    /// Notes jobs that found no room, of whichever service's outbox: from the first of each tenant on, its queue's
    /// workers look for them.
    static func note(_ refused: [JobEnvelope], queue: String, database: Database) async throws {
        if refused.isEmpty { return }
        // The lower bound of the id's millisecond: what is looked for begins behind it.
        let since = Dictionary(grouping: refused, by: \.tenant).mapValues { jobs in
            UUID.v7LowerBound(at: jobs.map(\.id.v7Time).min()!)
        }
        // In one order everywhere, so that two who note the same tenants do not wait for each other.
        let tenants = since.keys.sorted { $0.rawValue < $1.rawValue }
        _ = try await database.query(
            tenant: nil,
            Statement(
                "select platform.note_backlog($1, $2::bigint[], $3::uuid[])",
                [
                    .text(queue), .array(tenants.map(\.description)), .array(tenants.map { since[$0]!.lowercased }),
                ]))
    }

    /// The tenants that have one.
    func tenants() async throws -> [TenantID] {
        let rows = try await database.query(
            tenant: nil, Statement("select tenant_id from platform.backlog_tenants($1)", [.text(queue.name)]),
            readOnly: true)
        return (0..<rows.count).compactMap { rows.int($0, 0).map { TenantID(Int64($0)) } }
    }

    /// Fills each tenant's window again once three quarters of it are free. Gives how many jobs went to Redis.
    func refill(_ tenants: [TenantID]) async throws -> Int {
        var sent = 0
        for tenant in tenants {
            let room = try await queue.room(of: tenant)
            if room <= RedisQueue.window * 3 / 4 { continue }
            do {
                // Where many are done already, one look may find nothing and still get on.
                while let found = try await refill(tenant, room: room) {
                    sent += found
                    if found > 0 { break }
                }
            } catch let error as DatabaseError where !error.isOutage {
                // The tenants behind it are not to wait for it.
                logger.warning(
                    "a tenant's backlog waits",
                    metadata: ["queue": "\(queue.name)", "tenant": "\(tenant)", "error": "\(error)"])
            }
        }
        return sent
    }

    /// One look further. Gives how many jobs went to Redis, and nil once the backlog has ended or another fills it.
    ///
    /// One transaction, so that whoever notes the same tenant meanwhile waits, and then finds the row, or makes it anew:
    /// what he could not place committed either before the look below, which sees it, or after.
    private func refill(_ tenant: TenantID, room: Int) async throws -> Int? {
        try await database.withoutTenant { transaction in
            let locked = try await transaction.query(
                Statement(
                    "select platform.lock_backlog($1, $2)", [.text(queue.name), tenant.parameter]))
            guard let since = locked.uuid(0, 0) else { return nil }
            var look = UnfinishedLook(
                queue: queue.name, of: tenant, after: since,
                until: .v7LowerBound(at: Date(timeIntervalSinceNow: 86_400)), pace: pace)
            let jobs = try await look.next(room) { try await transaction.query($0) }
            let result = try await queue.enqueue(
                seal.sealed(jobs.map { ($0.envelope, $0.runAt) }), from: .backlog)
            let hasRoom = result.refused.isEmpty
            let isEmpty = look.isOver && hasRoom
            let reached = result.refused.min().map { $0 > 0 ? jobs[$0 - 1].envelope.id : since } ?? look.reached
            transaction.later(
                Statement(
                    "select platform.move_backlog($1, $2, $3)",
                    [.text(queue.name), tenant.parameter, isEmpty ? .null : .uuid(reached)]))
            if isEmpty { try await queue.endSpill(of: tenant) }
            return result.added > 0 || (hasRoom && !isEmpty) ? result.added : nil
        }
    }
}

import Database
import Foundation

/// What tenants may do in queues, as PostgreSQL keeps it: Redis, which goes by it, may forget.
package struct QueueShares: Sendable {
    private let database: Database

    package init(database: Database) { self.database = database }

    /// The shares in one queue of all tenants that have one, or that are suspended: nothing of these runs.
    package func all(in queue: String) async throws -> [TenantID: RedisQueue.Share] {
        let rows = try await database.query(
            tenant: nil, Statement("select * from platform.queue_shares($1)", [.text(queue)]), readOnly: true)
        var shares: [TenantID: RedisQueue.Share] = [:]
        for row in 0..<rows.count {
            shares[TenantID(Int64(rows.int(row, 0)!))] = RedisQueue.Share(
                weight: rows.text(row, 1).flatMap(Double.init) ?? 1, cap: rows.int(row, 2) ?? 0,
                rate: rows.text(row, 3).flatMap(Double.init) ?? 0, burst: rows.text(row, 4).flatMap(Double.init) ?? 0,
                isHeld: rows.bool(row, 5) ?? false)
        }
        return shares
    }

    /// What each tenant pays for, in a word.
    package func plans() async throws -> [TenantID: String] {
        let rows = try await database.query(
            tenant: nil, Statement("select tenant_id, plan from platform.tenant_plans()"), readOnly: true)
        let plans = (0..<rows.count).map { (TenantID(Int64(rows.int($0, 0)!)), rows.text($0, 1)!) }
        return Dictionary(plans) { first, _ in first }
    }

    /// The tenants that were erased, or are being erased, within 90 days: what Redis still has of them can be forgotten.
    package func erased() async throws -> [TenantID] {
        let rows = try await database.query(
            tenant: nil, Statement("select platform.erased_tenants()"), readOnly: true)
        return (0..<rows.count).map { TenantID(Int64(rows.int($0, 0)!)) }
    }

    /// True while an operator wants nothing of the queue to be fetched.
    package func isPaused(_ queue: String) async throws -> Bool {
        let rows = try await database.query(
            tenant: nil, Statement("select platform.is_queue_paused($1)", [.text(queue)]), readOnly: true)
        return rows.bool(0, 0) ?? false
    }

    /// Keeps whether a queue is paused: a service may say so of its own queues, the owner of all. Tell Redis afterwards.
    package func setPaused(_ paused: Bool, _ queue: String) async throws(DatabaseError) {
        _ = try await database.query(
            tenant: nil, Statement("select platform.set_queue_paused($1, $2)", [.text(queue), .bool(paused)]))
    }

    /// Keeps a tenant's share in `queue`, or, as the owner, in every queue for `*`. Tell Redis afterwards.
    package func set(_ share: RedisQueue.Share, of tenant: TenantID, in queue: String) async throws(DatabaseError) {
        _ = try await database.query(
            tenant: nil,
            Statement(
                "select platform.set_queue_share($1, $2, $3, $4, $5, $6)",
                [
                    tenant.parameter, .text(queue), .double(share.weight), .int(share.cap), .double(share.rate),
                    .double(share.burst),
                ]))
    }
}

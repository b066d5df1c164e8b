import Database
import Foundation

extension Outbox {
    /// Settles a tracked job of this schema as cancelled: its inbox row, against which whoever runs it meanwhile can't
    /// commit, its state, and its group's count. False when there is no such job; `.uniqueViolation` when it is over.
    package func settleAsCancelled(_ id: UUID, tenant: TenantID) async throws(DatabaseError) -> Bool {
        let claim = Statement(
            """
            insert into \(schema).inbox (job_id, tenant_id, outcome)
            select id, tenant_id, 2 from \(schema).job_status where tenant_id = $1 and id = $2
            """, [tenant.parameter, .uuid(id)])
        return try await settle(id, tenant, claim, leaveGroup(id, tenant: tenant))
    }

    /// The same for a job that is known to be there, tracked or not, from whichever service's outbox.
    func settleAsCancelled(_ id: UUID, tenant: TenantID, group: UUID?) async throws(DatabaseError) {
        let claim = Statement(
            "insert into \(schema).inbox (job_id, tenant_id, outcome) values ($2, $1, 2)",
            [tenant.parameter, .uuid(id)])
        _ = try await settle(id, tenant, claim, group.map { JobGroup.failed($0, tenant: tenant) })
    }

    /// Tells Redis that a job of this outbox, whose inbox row says so already, is cancelled: whoever runs it stops soon.
    /// What Redis misses, the inbox refuses.
    package func tellCancelled(_ id: UUID, tenant: TenantID) async {
        let row = try? await database.query(
            tenant: tenant,
            Statement(
                "select queue from \(schema).outbox where tenant_id = $1 and id = $2", [tenant.parameter, .uuid(id)]),
            readOnly: true)
        guard let row, row.count == 1 else { return }
        _ = try? await RedisQueue(name: row.text(0, 0)!, redis: redis).cancel(id, tenant: tenant)
    }

    private func settle(
        _ id: UUID, _ tenant: TenantID, _ claim: Statement, _ leaving: Statement?
    ) async throws(DatabaseError) -> Bool {
        let ending = end("state = 'cancelled', finished_at = now()", [tenant.parameter, .uuid(id)])
        let turn = turnEnded(id, tenant: tenant)
        let results = try await database.batch(
            tenant: tenant, [claim, ending, turn, Retries.forget(id, tenant: tenant)] + (leaving.map { [$0] } ?? []))
        pushNext(in: results[2])
        if let user = results[1].firstUser { live.tell(user, tenant) }
        return results[1].count == 1
    }
}

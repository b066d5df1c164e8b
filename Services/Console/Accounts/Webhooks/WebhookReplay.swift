import Database
import Foundation
import Jobs
import Records

/// Sends again what failed since a time, some hundred deliveries a transaction.
struct ReplayWebhookJob: Job {
    static let name = "accounts.replay-webhook"
    static let options = JobOptions.long
    let webhook: UUID
    let since: Date
    /// When it was asked for: what fails afterwards is not sent yet another time.
    let before: Date
}

/// Deliveries that are sent again: they keep their id, so that the receiver knows them.
struct WebhookReplay {
    let store: RecordStore
    private static let batchSize = 250

    /// Sends one delivery again, whatever has become of it. Throws 404 when it is not there, 409 while its webhook is
    /// disabled.
    func start(_ delivery: UUID, in transaction: TenantTransaction) async throws {
        let rows = try await transaction.query(
            """
            select w.deleted_at is null, w.status = 'active', w.id from accounts.webhook_delivery d
            join accounts.webhook w on w.tenant_id = d.tenant_id and w.id = d.webhook_id
            where d.tenant_id = $1 and d.id = $2 for update of d
            """, [transaction.tenant.parameter, .uuid(delivery)])
        guard !rows.isEmpty, rows.bool(0, 0) == true else { throw Problem.notFound("delivery") }
        guard rows.bool(0, 1) == true else { throw Self.isDisabled }
        WebhookStore.endRest(rows.uuid(0, 2)!, in: transaction)
        try await restart("id = $2", [.uuid(delivery)], in: transaction)
    }

    static let isDisabled = Problem(409, "webhook_disabled", "The webhook is disabled: set its status to active first.")

    /// Restarts what `condition` names, from the beginning of its schedule. Gives how many.
    @discardableResult
    private func restart(
        _ condition: String, _ parameters: [Parameter], in transaction: TenantTransaction
    ) async throws -> Int {
        let rows = try await transaction.query(
            """
            update accounts.webhook_delivery set state = 'waiting', run = run + 1, attempts = 0,
                next_attempt_at = now(), finished_at = null
            where tenant_id = $1 and \(condition)
            returning id, run
            """, [transaction.tenant.parameter] + parameters)
        let jobs = try (0..<rows.count).map {
            try PendingJob(DeliverWebhookJob(delivery: rows.uuid($0, 0)!, run: rows.int($0, 1)!))
        }
        store.outbox.enqueue(jobs, in: transaction)
        return jobs.count
    }

    /// Runs the job. What one batch has restarted waits and is no longer found by the next.
    func run(_ job: ReplayWebhookJob, _ context: JobContext) async throws {
        var done = 0
        while true {
            let total = done
            let count = try await context.step { transaction in
                let count = try await restart(
                    """
                    id in (select id from accounts.webhook_delivery
                        where tenant_id = $1 and webhook_id = $2 and state = 'failed' and created_at >= $3
                        and finished_at < $4 order by id limit $5 for update)
                    """,
                    [.uuid(job.webhook), .time(job.since), .time(job.before), .int(Self.batchSize)], in: transaction)
                context.progress(done: total + count, total: nil, note: "deliveries", in: transaction)
                return count
            }
            done += count
            if count < Self.batchSize { break }
        }
        let total = done
        try await context.once(result: { (result: String) in result }) { _ in "{\"deliveries\": \(total)}" }
    }
}

/// Lets go of deliveries after thirty days, every night.
struct ForgetWebhookDeliveriesJob: Job {
    static let name = "accounts.forget-webhook-deliveries"
    static let options = JobOptions.long

    func run(_ context: JobContext) async throws {
        while true {
            let gone = try await context.step { transaction in
                try await transaction.query(
                    """
                    delete from accounts.webhook_delivery where tenant_id = $1 and id in (
                        select id from accounts.webhook_delivery
                        where tenant_id = $1 and id < platform.uuid_lower_bound(now() - interval '30 days')
                        and state <> 'waiting' order by id limit 1000)
                    """, [transaction.tenant.parameter]
                ).affected
            }
            if gone < 1000 { return }
        }
    }
}

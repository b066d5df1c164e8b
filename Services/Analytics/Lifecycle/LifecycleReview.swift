import Database
import Foundation
import Jobs
import Records
import Tenancy

/// Looks again, every night, at customers whose stage is another one by the passing of time.
struct ReviewLifecyclesJob: Job {
    static let name = "analytics.review-lifecycles"
    static let options = JobOptions.long
}

/// Recomputes the summaries of customers whose stage is due, some hundred at a time. A killed run finds done what it has
/// done.
struct LifecycleReview {
    let outbox: Outbox
    private static let pageSize = 200

    func run(_ context: JobContext) async throws {
        let now = Date()
        var after: String? = UUID.beforeAll
        while let from = after {
            after = try await context.step { transaction in
                let rows = try await transaction.query(
                    """
                    select contact_id from analytics.customer
                    where tenant_id = $1 and contact_id > $2::uuid and review_at <= $3
                    order by contact_id limit \(Self.pageSize)
                    """, [transaction.tenant.parameter, .text(from), .time(now)])
                let timeZone = try await TenantDefaults(transaction).timeZone
                try await CustomerSummaries(outbox: outbox, timeZone: timeZone).refresh(
                    Set((0..<rows.count).map { rows.uuid($0, 0)! }), context.traceparent, transaction)
                return rows.count == Self.pageSize ? rows.text(rows.count - 1, 0) : nil
            }
        }
        try await context.once { _ in }
    }
}

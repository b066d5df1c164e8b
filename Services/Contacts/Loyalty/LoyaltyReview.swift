import Database
import Foundation
import Jobs
import Records

/// Takes out expired points and brings tiers up to date, every night where the tenant lives.
struct ReviewLoyaltyJob: Job {
    static let name = "contacts.review-loyalty"
    static let options = JobOptions.long
}

/// The nightly look at all of a tenant's accounts, some hundred at a time. A killed run finds done what it has done.
struct LoyaltyReview {
    let store: RecordStore
    private static let pageSize = 100

    func run(_ context: JobContext) async throws {
        let now = Date()
        try await inPages(
            """
            select distinct account_id from contacts.loyalty_entry
            where tenant_id = $1 and account_id > $2::uuid and remaining > 0 and expires_at <= $3
            order by account_id limit \(Self.pageSize)
            """, now, context
        ) { account, write, transaction in
            _ = try await LoyaltyStore(store: store).expire(account, at: now, write, in: transaction)
        }
        // Points earned a year and a day ago count no longer: whoever has any, or a tier, is looked at.
        try await inPages(
            """
            select id from contacts.loyalty_account
            where tenant_id = $1 and id > $2::uuid and deleted_at is null
            and (earned_12_months <> 0 or tier is not null) and $3::timestamptz is not null
            order by id limit \(Self.pageSize)
            """, now, context
        ) { account, write, transaction in
            let loyalty = LoyaltyStore(store: store)
            let program = try await loyalty.program(of: account, in: transaction)
            let timeZone = TimeZone(identifier: write.defaults.timeZone) ?? .gmt
            for statement in LoyaltyStore.figures(
                account.id, balance: account.int("balance") ?? 0, program, write.tenant, timeZone: timeZone, now: now)
            {
                transaction.later(statement)
            }
        }
        try await context.once { _ in }
    }

    /// Runs `body` on each account that `sql` lists, with its row locked, a page to a transaction.
    private func inPages(
        _ sql: String, _ now: Date, _ context: JobContext,
        _ body: @Sendable (Record, WriteContext, TenantTransaction) async throws -> Void
    ) async throws {
        var after: String? = UUID.beforeAll
        while let from = after {
            after = try await context.step { transaction in
                let rows = try await transaction.query(
                    sql, [transaction.tenant.parameter, .text(from), .time(now)])
                let write = try await WriteContext(job: "review-loyalty", context, transaction)
                for row in 0..<rows.count {
                    guard
                        let account = try await store.lock(
                            LoyaltyAccount.type, rows.uuid(row, 0)!, includingDeleted: true, in: transaction)
                    else { continue }
                    try await body(account, write, transaction)
                }
                return rows.count == Self.pageSize ? rows.text(rows.count - 1, 0) : nil
            }
        }
    }
}

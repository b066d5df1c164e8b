import Contracts
import Database
import Foundation
import Jobs

/// Computes customers' summaries and stages from their facts and sends them to Contacts.
struct CustomerSummaries {
    let outbox: Outbox
    /// Of the tenant: two orders of one day are one purchase.
    let timeZone: String

    /// Recomputes the summaries of `customers` in the transaction that changed their facts.
    func refresh(_ customers: Set<UUID>, _ traceparent: String?, _ transaction: TenantTransaction) async throws {
        if customers.isEmpty { return }
        let ids = Parameter.array(customers.map(\.lowercased).sorted())
        // The sequence is taken first: its row lock makes the next transaction of the same customer wait, and a new
        // statement then sees what this one committed.
        let results = try await transaction.batch([
            Statement(
                """
                insert into analytics.customer as c (tenant_id, contact_id, sequence)
                select $1, id, 1 from unnest($2::uuid[]) as t (id)
                on conflict (tenant_id, contact_id) do update set sequence = c.sequence + 1
                returning contact_id, sequence
                """, [transaction.tenant.parameter, ids]),
            Statement(Self.figures, [transaction.tenant.parameter, ids]),
            Statement(Self.payments, [transaction.tenant.parameter, ids]),
            Statement(Self.purchaseDays, [transaction.tenant.parameter, ids, .text(timeZone)]),
        ])
        var paid: [UUID: [String: Int]] = [:]
        for row in 0..<results[2].count {
            paid[results[2].uuid(row, 0)!, default: [:]][results[2].text(row, 1)!] = results[2].int(row, 2)!
        }
        var figures: [UUID: Int] = [:]
        for row in 0..<results[1].count { figures[results[1].uuid(row, 0)!] = row }
        let now = Date()
        let stages = Self.stages(results[3], now: now)
        let summaries = (0..<results[0].count).map { row -> CustomerSummary in
            let contact = results[0].uuid(row, 0)!
            let line = figures[contact]
            func int(_ column: Int) -> Int { line.flatMap { results[1].int($0, column) } ?? 0 }
            func time(_ column: Int) -> Date? { line.flatMap { results[1].time($0, column) } }
            return CustomerSummary(
                contact: contact, sequence: results[0].int(row, 1)!, firstPurchase: time(1), lastPurchase: time(2),
                purchases: int(3), paid: paid[contact] ?? [:], openDeals: int(4), wonDeals: int(5), tickets: int(6),
                openTickets: int(7), satisfactionGap: line.flatMap { results[1].double($0, 8) }, lastContact: time(9),
                computedAt: now, stage: (stages[contact] ?? .prospect).assessment)
        }
        transaction.later(Self.remember(summaries, stages, transaction.tenant))
        // A handful fits into Redis as it is.
        for start in stride(from: 0, to: summaries.count, by: 5) {
            let part = Array(summaries[start..<min(start + 5, summaries.count)])
            outbox.enqueue(
                [try PendingJob(ApplySummariesJob(summaries: part), traceparent: traceparent)], in: transaction)
        }
    }

    private static func stages(_ rows: Rows, now: Date) -> [UUID: LifecycleRules.Verdict] {
        var stages: [UUID: LifecycleRules.Verdict] = [:]
        for row in 0..<rows.count {
            let days = (rows.text(row, 3) ?? "").split(separator: ",").compactMap { Double($0) }
            stages[rows.uuid(row, 0)!] = LifecycleRules.verdict(
                count: rows.int(row, 1)!, first: rows.time(row, 2)!,
                latest: days.reversed().map { Date(timeIntervalSince1970: $0) }, now: now)
        }
        return stages
    }

    /// Keeps the stage, and when it will be another one by the passing of time alone.
    private static func remember(
        _ summaries: [CustomerSummary], _ stages: [UUID: LifecycleRules.Verdict], _ tenant: TenantID
    ) -> Statement {
        Statement(
            """
            update analytics.customer c set stage = n.stage, review_at = n.review_at
            from unnest($2::uuid[], $3::text[], $4::timestamptz[]) as n (contact_id, stage, review_at)
            where c.tenant_id = $1 and c.contact_id = n.contact_id
            """,
            [
                tenant.parameter, .array(summaries.map(\.contact.lowercased)),
                .array(summaries.map { $0.stage?.stage.rawValue }),
                .array(summaries.map { stages[$0.contact]?.until.map(Timestamp.sqlText) }),
            ])
    }

    /// Days with a purchase: orders, or payments of whoever has none. Of each the last moment, the latest sixty first.
    private static let purchaseDays = """
        select contact_id, count(*), min(at),
            array_to_string((array_agg(extract(epoch from at) order by at desc))[1:60], ',')
        from (
            select f.contact_id, max(f.at) as at from analytics.fact f
            where f.tenant_id = $1 and f.contact_id = any($2::uuid[]) and (
                (f.kind = 'order' and f.state = 'placed')
                or (f.kind = 'payment' and f.state = 'received' and not exists (
                    select 1 from analytics.fact o where o.tenant_id = $1 and o.contact_id = f.contact_id
                    and o.kind = 'order' and o.state = 'placed')))
            group by f.contact_id, (f.at at time zone $3)::date
        ) as days
        group by contact_id
        """

    private static let figures = """
        select contact_id,
            min(at) filter (where kind = 'payment' and state = 'received'),
            max(at) filter (where kind = 'payment' and state = 'received'),
            count(*) filter (where kind = 'order' and state = 'placed'),
            count(*) filter (where kind = 'deal' and state = 'open'),
            count(*) filter (where kind = 'deal' and state = 'won'),
            count(*) filter (where kind = 'ticket' and state <> 'deleted'),
            count(*) filter (where kind = 'ticket' and state = 'open'),
            avg(measure) filter (where kind = 'survey' and state <> 'deleted'),
            max(at) filter (where kind in ('interaction', 'ticket', 'survey') and state <> 'deleted')
        from analytics.fact
        where tenant_id = $1 and contact_id = any($2::uuid[])
        group by contact_id
        """

    private static let payments = """
        select contact_id, currency, sum(amount)::bigint from analytics.fact
        where tenant_id = $1 and contact_id = any($2::uuid[]) and kind = 'payment' and state = 'received'
        group by contact_id, currency
        """
}

import Contracts
import Database
import Foundation
import Jobs

/// Computes customers' summaries from their facts and sends them to Contacts.
struct CustomerSummaries {
    let outbox: Outbox

    /// Recomputes the summaries of `customers` in the transaction that changed their facts.
    func refresh(_ customers: Set<UUID>, _ traceparent: String, _ transaction: TenantTransaction) async throws {
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
        ])
        var paid: [UUID: [String: Int]] = [:]
        for row in 0..<results[2].count {
            paid[results[2].uuid(row, 0)!, default: [:]][results[2].text(row, 1)!] = results[2].int(row, 2)!
        }
        var figures: [UUID: Int] = [:]
        for row in 0..<results[1].count { figures[results[1].uuid(row, 0)!] = row }
        let now = Date()
        let summaries = (0..<results[0].count).map { row -> CustomerSummary in
            let contact = results[0].uuid(row, 0)!
            let line = figures[contact]
            func int(_ column: Int) -> Int { line.flatMap { results[1].int($0, column) } ?? 0 }
            func time(_ column: Int) -> Date? { line.flatMap { results[1].time($0, column) } }
            return CustomerSummary(
                contact: contact, sequence: results[0].int(row, 1)!, firstPurchase: time(1), lastPurchase: time(2),
                purchases: int(3), paid: paid[contact] ?? [:], openDeals: int(4), wonDeals: int(5), tickets: int(6),
                openTickets: int(7), satisfactionGap: line.flatMap { results[1].double($0, 8) }, lastContact: time(9),
                computedAt: now)
        }
        for start in stride(from: 0, to: summaries.count, by: 10) {
            let part = Array(summaries[start..<min(start + 10, summaries.count)])
            outbox.enqueue(
                [try PendingJob(ApplySummariesJob(summaries: part), traceparent: traceparent)], in: transaction)
        }
    }

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

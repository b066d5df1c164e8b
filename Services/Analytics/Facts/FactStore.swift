import Contracts
import Database
import Foundation
import Jobs
import Records
import Tenancy

/// Turns events into facts, daily figures and customers' summaries: once each, in any order.
struct FactStore {
    let outbox: Outbox

    private struct Known {
        let version: Int
        let contact: UUID?
        let contributions: [Contribution: (count: Int, amount: Int)]
    }

    /// Takes facts of one kind in. An older version than the one here changes nothing.
    func take(_ facts: [Fact], kind: String, _ context: JobContext) async throws {
        // One fact per record, the newest, in the order of ids: two jobs lock rows in the same order.
        let newest = Dictionary(facts.map { ($0.id, $0) }, uniquingKeysWith: { $0.version >= $1.version ? $0 : $1 })
        let ordered = newest.values.sorted { $0.id.lowercased < $1.id.lowercased }
        try await context.once { transaction in
            var calendar = Calendar(identifier: .gregorian)
            calendar.timeZone = TimeZone(identifier: try await TenantDefaults(transaction).timeZone) ?? .gmt
            let known = try await meet(ordered, kind, calendar, transaction)
            let later = ordered.filter { $0.version > known[$0.id]?.version ?? .max }
            if !later.isEmpty { transaction.later(update(later, kind, transaction.tenant)) }
            let fresh = ordered.filter { known[$0.id] == nil } + later
            if fresh.isEmpty { return }
            roll(fresh, kind, known, calendar, transaction)
            // A contact's own changes move no figure of its summary.
            if kind != "contact" {
                let customers = fresh.compactMap(\.contact) + fresh.compactMap { known[$0.id]?.contact }
                try await CustomerSummaries(outbox: outbox, timeZone: calendar.timeZone.identifier)
                    .refresh(Set(customers), context.traceparent, transaction)
            }
        }
    }

    /// Writes the facts of records that have none yet, and locks the others' rows: the first and the thousandth event
    /// of a record take the same path. Gives the facts that were there before.
    private func meet(
        _ facts: [Fact], _ kind: String, _ calendar: Calendar, _ transaction: TenantTransaction
    ) async throws -> [UUID: Known] {
        // The conflict finds its row by the primary key itself, whatever the planner knows of a young table. Whose
        // transaction wrote a row tells which are new: the system's column for it can't be asked of partitions.
        var statement = Self.insertion(facts, kind, transaction.tenant)
        statement.sql += """
             on conflict (tenant_id, kind, id) do update set kind = f.kind
            returning f.id, f.version, f.contact_id, f.at, f.state, f.amount, f.currency,
                f.first_written_by = pg_current_xact_id()
            """
        let rows = try await transaction.query(statement)
        var known: [UUID: Known] = [:]
        for row in 0..<rows.count where rows.bool(row, 7) != true {
            known[rows.uuid(row, 0)!] = Known(
                version: rows.int(row, 1)!, contact: rows.uuid(row, 2),
                contributions: Contribution.of(
                    kind: kind, state: rows.text(row, 4)!, at: rows.time(row, 3)!, amount: rows.int(row, 5),
                    currency: rows.text(row, 6), calendar: calendar))
        }
        return known
    }

    private func update(_ facts: [Fact], _ kind: String, _ tenant: TenantID) -> Statement {
        var statement = Self.insertion(facts, kind, tenant)
        statement.sql += """
             on conflict (tenant_id, kind, id) do update
            set version = excluded.version, contact_id = excluded.contact_id, at = excluded.at, state = excluded.state,
                amount = excluded.amount, currency = excluded.currency, measure = excluded.measure
            """
        return statement
    }

    private static func insertion(_ facts: [Fact], _ kind: String, _ tenant: TenantID) -> Statement {
        Statement(
            """
            insert into analytics.fact as f (tenant_id, kind, id, version, contact_id, at, state, amount, currency,
                measure)
            select $1, $2, * from unnest($3::uuid[], $4::bigint[], $5::uuid[], $6::timestamptz[], $7::text[],
                $8::bigint[], $9::text[], $10::float8[])
            """,
            [
                tenant.parameter, .text(kind), .array(facts.map(\.id.lowercased)),
                .array(facts.map { "\($0.version)" }),
                .array(facts.map { $0.contact?.lowercased }), .array(facts.map { Timestamp.sqlText($0.at) }),
                .array(facts.map(\.state)), .array(facts.map { $0.amount.map(String.init) }),
                .array(facts.map(\.currency)), .array(facts.map { $0.measure.map { "\($0)" } }),
            ])
    }

    /// Moves the daily figures by the difference between the old facts and the new.
    private func roll(
        _ facts: [Fact], _ kind: String, _ known: [UUID: Known], _ calendar: Calendar,
        _ transaction: TenantTransaction
    ) {
        var deltas: [Contribution: (count: Int, amount: Int)] = [:]
        func add(_ contributions: [Contribution: (count: Int, amount: Int)], sign: Int) {
            for (place, figures) in contributions {
                deltas[place, default: (0, 0)].count += sign * figures.count
                deltas[place, default: (0, 0)].amount += sign * figures.amount
            }
        }
        for fact in facts {
            add(known[fact.id]?.contributions ?? [:], sign: -1)
            add(
                Contribution.of(
                    kind: kind, state: fact.state, at: fact.at, amount: fact.amount, currency: fact.currency,
                    calendar: calendar), sign: 1)
        }
        let changes = deltas.filter { $0.value != (0, 0) }.sorted { $0.key < $1.key }
        if changes.isEmpty { return }
        transaction.later(
            Statement(
                """
                insert into analytics.rollup_daily as r (tenant_id, day, metric, currency, count, amount)
                select $1, * from unnest($2::date[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
                on conflict (tenant_id, day, metric, currency) do update
                set count = r.count + excluded.count, amount = r.amount + excluded.amount
                """,
                [
                    transaction.tenant.parameter, .array(changes.map(\.key.day)), .array(changes.map(\.key.metric)),
                    .array(changes.map(\.key.currency)), .array(changes.map { "\($0.value.count)" }),
                    .array(changes.map { "\($0.value.amount)" }),
                ]))
    }
}

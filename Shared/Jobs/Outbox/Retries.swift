import Database
import Foundation

/// Tries that are a while off wait in PostgreSQL, with what is known of the job by then.
///
/// Whatever fails would otherwise fill its tenant's window in Redis: a few thousand jobs that fail for hours would let
/// none of the tenant's others through. A row in `platform.job_retry` says that a job is not to be sent by anybody else,
/// neither by a repair nor from the backlog.
struct Retries: Sendable {
    let queue: RedisQueue
    let database: Database
    let seal: PayloadSeal

    /// Tries nearer than this many seconds stay in Redis.
    static let nearest: TimeInterval = 10
    /// How many seconds before it is due a try goes back to Redis, which keeps the time to the millisecond.
    private static let lead: TimeInterval = 5
    /// When a try that Redis knew already is looked at again: by then it knows that the job failed.
    private static let lookAgain: TimeInterval = 30
    private static let limit = 1000

    /// Writes down that a job is tried again in `seconds`, as `envelope` stands now.
    static func putOff(_ envelope: JobEnvelope, by seconds: TimeInterval, queue: String, database: Database)
        async throws
    {
        _ = try await database.query(
            tenant: envelope.tenant,
            Statement(
                """
                insert into platform.job_retry as r (tenant_id, job_id, queue, name, origin, attempts, crashes, due)
                values ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8))
                on conflict (tenant_id, job_id) do update
                set attempts = greatest(r.attempts, excluded.attempts),
                    crashes = greatest(r.crashes, excluded.crashes), due = excluded.due
                """,
                [
                    envelope.tenant.parameter, .uuid(envelope.id), .text(queue), .text(envelope.name),
                    .text(envelope.origin), .int(Int(envelope.attempts)), .int(Int(envelope.crashes)), .double(seconds),
                ]))
    }

    /// Sends what is due soon to Redis. Gives how many jobs.
    ///
    /// A tenant whose window is full keeps its own back, and nobody else's.
    func bringBack() async throws -> Int {
        var full: Set<TenantID> = []
        var sent = 0
        while true {
            let (found, refused, added) = try await bringBack(except: full)
            sent += added
            full.formUnion(refused)
            if found < Self.limit { return sent }
        }
    }

    /// One transaction: a worker whose job fails again meanwhile waits, and then writes its row anew.
    private func bringBack(except full: Set<TenantID>) async throws -> (found: Int, refused: Set<TenantID>, added: Int)
    {
        try await database.withoutTenant { transaction in
            let rows = try await transaction.query(
                Statement(
                    "select * from platform.due_retries($1, now() + make_interval(secs => $2), $3, $4::bigint[])",
                    [.text(queue.name), .double(Self.lead), .int(Self.limit), .array(full.map(\.description))]))
            if rows.isEmpty { return (0, [], 0) }
            let jobs = OutboxRow.retries(in: rows, queue: queue.name)
            let result = try await queue.enqueue(seal.sealed(jobs), fromBacklog: true)
            let refused = Set(result.refused)
            let placed = jobs.indices.filter { !refused.contains($0) }.map { jobs[$0].0 }
            // What Redis knew already may be a job of which a worker has yet to tell that it failed: told then, it would be
            // nowhere. Which of them, nobody says.
            let areNew = result.added == placed.count
            transaction.later(
                Statement(
                    "select platform.end_retries($1, $2::bigint[], $3::uuid[], now() + make_interval(secs => $4))",
                    [
                        .text(queue.name), .array(placed.map(\.tenant.description)),
                        .array(placed.map(\.id.lowercased)), areNew ? .null : .double(Self.lookAgain),
                    ]))
            return (rows.count, Set(refused.map { jobs[$0].0.tenant }), result.added)
        }
    }
}

extension OutboxRow {
    /// Jobs with what their earlier tries left behind, and when the next is due.
    fileprivate static func retries(in rows: Rows, queue: String) -> [(JobEnvelope, runAt: Date?)] {
        let columns = rows.columnNames
        func number(_ row: Int, _ name: String) -> Double {
            columns.firstIndex(of: name).flatMap { rows.text(row, $0) }.flatMap(Double.init) ?? 0
        }
        return all(in: rows, queue: queue).enumerated().map { row, found in
            var envelope = found.envelope
            envelope.attempts = UInt8(clamping: Int(number(row, "attempts")))
            envelope.crashes = UInt8(clamping: Int(number(row, "crashes")))
            let wait = number(row, "wait")
            return (envelope, runAt: wait > 0 ? Date(timeIntervalSinceNow: wait) : nil)
        }
    }
}

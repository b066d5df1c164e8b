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
    /// Seconds until tries that found no room in their tenant's window are looked at again. Where so many were refused that
    /// the tenant's window is full for long, later: each look costs a row and a call.
    private static func refusedAgain(of refused: Int) -> TimeInterval {
        lead + min(60, max(10, Double(refused) / 10))
    }
    /// Seconds until a try that Redis knew already is looked at again: by then it has heard that the job failed. Told
    /// only after a try was forgotten here, the job would be nowhere.
    private static let knownAgain: TimeInterval = lead + 30
    private static let limit = 1000

    /// Writes down that a job is tried again in `seconds`, as `envelope` stands now.
    static func putOff(_ envelope: JobEnvelope, by seconds: TimeInterval, queue: String, database: Database)
        async throws
    {
        _ = try await database.query(
            tenant: envelope.tenant,
            Statement(
                """
                insert into platform.job_retry as r
                    (tenant_id, job_id, queue, name, origin, attempts, crashes, runs_alone, due)
                values ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9))
                on conflict (tenant_id, job_id) do update
                set attempts = greatest(r.attempts, excluded.attempts),
                    crashes = greatest(r.crashes, excluded.crashes),
                    runs_alone = r.runs_alone or excluded.runs_alone, due = excluded.due
                """,
                [
                    envelope.tenant.parameter, .uuid(envelope.id), .text(queue), .text(envelope.name),
                    .text(envelope.origin), .int(Int(envelope.attempts)), .int(Int(envelope.crashes)),
                    .bool(envelope.runsAlone), .double(seconds),
                ]))
    }

    /// A job that is over waits for no try. One that is on its way to Redis just then goes there, and ends by what is
    /// known of its end: nobody waits for the row.
    static func forget(_ job: UUID, tenant: TenantID) -> Statement {
        Statement(
            """
            delete from platform.job_retry where (tenant_id, job_id) in (
                select tenant_id, job_id from platform.job_retry where tenant_id = $1 and job_id = $2
                for update skip locked)
            """, [tenant.parameter, .uuid(job)])
    }

    /// Sends what is due soon to Redis. Gives how many jobs.
    func bringBack() async throws -> Int {
        var sent = 0
        while let added = try await bringSomeBack() { sent += added }
        return sent
    }

    /// One transaction: a worker whose job fails again meanwhile waits, and then writes its row anew. Nil where nothing
    /// is due; what it looked at is either forgotten or due later.
    private func bringSomeBack() async throws -> Int? {
        try await database.withoutTenant { transaction in
            let rows = try await transaction.query(
                Statement(
                    "select * from platform.due_retries($1, now() + make_interval(secs => $2), $3)",
                    [.text(queue.name), .double(Self.lead), .int(Self.limit)]))
            if rows.isEmpty { return nil }
            let jobs = OutboxRow.retries(in: rows, queue: queue.name)
            let result = try await queue.enqueue(seal.sealed(jobs), from: .tries)
            var again = [Double?](repeating: nil, count: jobs.count)
            let refusedAgain = Self.refusedAgain(of: result.refused.count)
            for position in result.refused { again[position] = refusedAgain }
            for position in result.known { again[position] = Self.knownAgain }
            transaction.later(
                Statement(
                    "select platform.end_retries($1, $2::bigint[], $3::uuid[], $4::double precision[])",
                    [
                        .text(queue.name), .array(jobs.map(\.0.tenant.description)),
                        .array(jobs.map(\.0.id.lowercased)), .array(again.map { $0.map { String($0) } }),
                    ]))
            return result.added
        }
    }
}

extension OutboxRow {
    /// Jobs with what their earlier tries left behind, and when the next is due.
    fileprivate static func retries(in rows: Rows, queue: String) -> [(JobEnvelope, runAt: Date?)] {
        let columns = rows.columnNames
        func text(_ row: Int, _ name: String) -> String? {
            columns.firstIndex(of: name).flatMap { rows.text(row, $0) }
        }
        func number(_ row: Int, _ name: String) -> Double { text(row, name).flatMap(Double.init) ?? 0 }
        return all(in: rows, queue: queue).enumerated().map { row, found in
            var envelope = found.envelope
            envelope.attempts = UInt8(clamping: Int(number(row, "attempts")))
            envelope.crashes = UInt8(clamping: Int(number(row, "crashes")))
            envelope.runsAlone = text(row, "runs_alone") == "t"
            let wait = number(row, "wait")
            return (envelope, runAt: wait > 0 ? Date(timeIntervalSinceNow: wait) : nil)
        }
    }
}

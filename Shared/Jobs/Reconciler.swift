import Database
import Foundation
import Logging
import Redis

/// Brings a queue back after Redis forgot: every committed job that the consumer's inbox does not know is sent again.
///
/// An epoch, kept in PostgreSQL and in Redis, tells whether Redis is the one we knew: a fetch with another epoch gets
/// nothing. The reconciler raises it and sends again in slices by id; sending a job that Redis still has is harmless.
package struct Reconciler: Sendable {
    private let queue: RedisQueue
    private let schema: String
    private let database: Database
    private let logger: Logger
    /// How far back unfinished jobs are looked for.
    static let memory: TimeInterval = 8 * 86_400

    package init(queue: RedisQueue, schema: String, database: Database, logger: Logger) {
        self.queue = queue
        self.schema = schema
        self.database = database
        self.logger = logger
    }

    /// The epoch as PostgreSQL has it, creating the queue's row on first use.
    package func currentEpoch() async throws -> Int {
        let rows = try await database.batch(
            tenant: nil,
            [
                Statement(
                    """
                    insert into \(schema).queue_epoch (queue, epoch, is_recovered) values ($1, 1, false)
                    on conflict (queue) do nothing
                    """, [.text(queue.name)]),
                Statement("select epoch from \(schema).queue_epoch where queue = $1", [.text(queue.name)]),
            ])
        return rows[1].int(0, 0) ?? 1
    }

    /// Repairs the queue if Redis lacks the current epoch, or if an earlier repair did not reach its end. Returns the
    /// epoch to fetch with. One process repairs; the others wait for it and find it done.
    package func repair() async throws -> Int {
        _ = try await currentEpoch()
        let epoch = try await database.withoutTenant { transaction in
            let rows = try await transaction.batch([
                Statement(
                    "select pg_advisory_xact_lock(hashtextextended('guanxi.epoch.' || $1, 0))", [.text(queue.name)]),
                Statement(
                    "select epoch, is_recovered from \(schema).queue_epoch where queue = $1", [.text(queue.name)]),
            ])
            let known = rows[1].int(0, 0)!
            let inRedis = try await queue.depth().epoch
            if inRedis == known && rows[1].bool(0, 1) == true { return known }
            let next = inRedis == known ? known : max(known, inRedis) + 1
            transaction.later(
                Statement(
                    "update \(schema).queue_epoch set epoch = $2, is_recovered = false where queue = $1",
                    [.text(queue.name), .int(next)]))
            return next
        }
        guard try await isUnrecovered(epoch) else { return epoch }
        // Work flows again as soon as the epoch stands; the jobs follow slice by slice.
        try await queue.setEpoch(epoch)
        let started = ContinuousClock.now
        let count = try await resend(olderThan: Date(timeIntervalSinceNow: 5))
        _ = try await database.query(
            tenant: nil,
            Statement(
                "update \(schema).queue_epoch set is_recovered = true where queue = $1 and epoch = $2",
                [.text(queue.name), .int(epoch)]))
        logger.notice(
            "queue repaired",
            metadata: [
                "queue": "\(queue.name)", "epoch": "\(epoch)", "jobs": "\(count)",
                "took": "\(ContinuousClock.now - started)",
            ])
        return epoch
    }

    private func isUnrecovered(_ epoch: Int) async throws -> Bool {
        let rows = try await database.query(
            tenant: nil,
            Statement("select epoch, is_recovered from \(schema).queue_epoch where queue = $1", [.text(queue.name)]))
        return rows.int(0, 0) == epoch && rows.bool(0, 1) == false
    }

    /// Sends every unfinished job that is older than `bound`, newest day first. Gives how many Redis did not have.
    @discardableResult
    package func resend(olderThan bound: Date, back: TimeInterval? = nil) async throws -> Int {
        var added = 0
        var upper = bound
        let oldest = bound.addingTimeInterval(-(back ?? Self.memory))
        while upper > oldest {
            // Slices end at midnight, so that each reads one partition.
            let midnight = (upper.timeIntervalSince1970 / 86_400).rounded(.up) * 86_400 - 86_400
            let lower = max(oldest, Date(timeIntervalSince1970: midnight))
            added += try await resend(from: lower, to: upper)
            upper = lower
        }
        return added
    }

    private func resend(from lower: Date, to upper: Date) async throws -> Int {
        var added = 0
        var after = UUID.v7LowerBound(at: lower)
        let end = UUID.v7LowerBound(at: upper)
        let limit = 2000
        while true {
            let rows = try await database.query(
                tenant: nil,
                Statement(
                    "select * from platform.unfinished_jobs($1, $2, $3, $4)",
                    [.text(queue.name), .uuid(after), .uuid(end), .int(limit)]), readOnly: true)
            let jobs = OutboxRow.all(in: rows, queue: queue.name)
            added += try await queue.enqueue(jobs.map { ($0.envelope, $0.runAt) })
            guard jobs.count == limit, let last = jobs.last else { return added }
            after = last.envelope.id
        }
    }
}

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
    private let seal: PayloadSeal
    private let logger: Logger
    private let pace = UnfinishedLook.Pace()

    package init(queue: RedisQueue, schema: String, database: Database, seal: PayloadSeal, logger: Logger) {
        self.queue = queue
        self.schema = schema
        self.database = database
        self.seal = seal
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

    /// Raises the epoch if Redis lacks the current one, in PostgreSQL first, and then writes it to Redis. Work flows as
    /// soon as it stands there; what Redis lacks follows by `recover`. Returns the epoch to fetch with.
    package func raiseEpoch() async throws -> Int {
        _ = try await currentEpoch()
        let (epoch, isRaised) = try await database.withoutTenant { transaction in
            let rows = try await transaction.query(
                Statement(
                    "select epoch from \(schema).queue_epoch where queue = $1 for update", [.text(queue.name)]))
            let known = rows.int(0, 0)!
            let inRedis = try await queue.depth().epoch
            if inRedis == known { return (known, false) }
            let next = max(known, inRedis) + 1
            transaction.later(
                Statement(
                    "update \(schema).queue_epoch set epoch = $2, is_recovered = false where queue = $1",
                    [.text(queue.name), .int(next)]))
            return (next, true)
        }
        // Said once more, it could land on a Redis that has forgotten again, and hide it.
        if isRaised { try await queue.setEpoch(epoch) }
        return epoch
    }

    /// Notes that Redis may have lost jobs though it knows the epoch: `recover` sends them again.
    func distrust() async throws {
        _ = try await database.query(
            tenant: nil,
            Statement("update \(schema).queue_epoch set is_recovered = false where queue = $1", [.text(queue.name)]))
    }

    /// Sends again what Redis lacks, where that is outstanding and nobody else is at it; a repair whose process died is
    /// done again by the next that looks. Gives how many jobs Redis did not have, nil where there was nothing to do.
    func recover() async throws -> Int? {
        let state = Statement(
            "select epoch, is_recovered from \(schema).queue_epoch where queue = $1", [.text(queue.name)])
        let known = try await database.query(tenant: nil, state, readOnly: true)
        guard known.bool(0, 1) == false else { return nil }
        return try await database.withoutTenant { transaction in
            let rows = try await transaction.batch([
                Statement(
                    "select pg_try_advisory_xact_lock(hashtextextended('guanxi.recovery.' || $1, 0))",
                    [.text(queue.name)]),
                state,
            ])
            guard rows[0].bool(0, 0) == true, rows[1].bool(0, 1) == false else { return nil }
            // The lock's transaction is ended by the server when it rests for long.
            let count = try await resend(olderThan: Date(timeIntervalSinceNow: 5)) {
                _ = try await transaction.query(Statement("select 1"))
            }
            transaction.later(
                Statement(
                    "update \(schema).queue_epoch set is_recovered = true where queue = $1 and epoch = $2",
                    [.text(queue.name), .int(rows[1].int(0, 0) ?? 0)]))
            return count
        }
    }

    /// Raises the epoch if need be and sends again what is missing, before it returns. For tests and commands.
    package func repair() async throws -> Int {
        let epoch = try await raiseEpoch()
        _ = try await recover()
        return epoch
    }

    /// Sends every unfinished job that is older than `bound`, newest day first, `back` seconds or as far as there are any.
    /// `each` is called for each slice of them. Gives how many Redis did not have.
    @discardableResult
    package func resend(
        olderThan bound: Date, back: TimeInterval? = nil, each: () async throws -> Void = {}
    ) async throws -> Int {
        var added = 0
        var upper = bound
        // A tenant whose window is full has its backlog noted: its other jobs need not be read one by one.
        var spilled: Set<TenantID> = []
        let first = try await oldestDay()
        let oldest = max(first, back.map { bound.addingTimeInterval(-$0) } ?? first)
        while upper > oldest {
            // Slices end at midnight, so that each reads one partition.
            let midnight = (upper.timeIntervalSince1970 / 86_400).rounded(.up) * 86_400 - 86_400
            let lower = max(oldest, Date(timeIntervalSince1970: midnight))
            added += try await resend(from: lower, to: upper, since: first, spilled: &spilled, each: each)
            upper = lower
        }
        return added
    }

    /// Before any job that may be unfinished: a day is dropped once all its jobs are over, however old it is.
    private func oldestDay() async throws -> Date {
        let rows = try await database.query(
            tenant: nil,
            Statement(
                """
                select extract(epoch from min(to_date(right(relname, 8), 'YYYYMMDD')) - interval '1 day')::bigint
                from pg_class where relkind = 'r' and relname ~ '^outbox_[0-9]{8}$'
                """), readOnly: true)
        return rows.int(0, 0).map { Date(timeIntervalSince1970: Double($0)) } ?? Date()
    }

    private func resend(
        from lower: Date, to upper: Date, since first: Date, spilled: inout Set<TenantID>, each: () async throws -> Void
    ) async throws -> Int {
        var added = 0
        var look = UnfinishedLook(
            queue: queue.name, after: .v7LowerBound(at: lower), until: .v7LowerBound(at: upper), pace: pace)
        while !look.isOver {
            let jobs = try await look.next(2000, except: spilled) {
                try await database.query(tenant: nil, $0, readOnly: true)
            }
            let result = try await queue.enqueue(seal.sealed(jobs.map { ($0.envelope, $0.runAt) }))
            added += result.added
            let refused = result.refused.map { jobs[$0].envelope }
            // Days before this one are looked through too, so the backlog begins with the tenant's oldest.
            for tenant in Set(refused.map(\.tenant)) where !spilled.contains(tenant) {
                spilled.insert(tenant)
                try await noteAll(of: tenant, since: first)
            }
            try await each()
        }
        return added
    }

    /// Notes a tenant's backlog from the oldest job on that there may be.
    private func noteAll(of tenant: TenantID, since first: Date) async throws {
        let oldest = UUID.v7LowerBound(at: first)
        _ = try await database.query(
            tenant: nil,
            Statement(
                "select platform.note_backlog($1, $2::bigint[], $3::uuid[])",
                [.text(queue.name), .array([tenant.description]), .array([oldest.lowercased])]))
    }
}

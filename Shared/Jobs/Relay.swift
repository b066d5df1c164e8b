import Database
import Foundation
import Logging
import Redis

/// Sends what was committed but never pushed: after a crash between commit and push, or while Redis was away.
///
/// Any number of processes may tick; an advisory lock lets one of them work. It follows the outbox by transaction id
/// below the oldest running transaction, so that a late commit is never skipped, and stays a second behind, so that it
/// does not race the fast path for every job.
struct Relay {
    private let outbox: Outbox
    private let database: Database
    private let redis: RedisClient
    private let logger: Logger
    private let horizon = Bound()

    /// The oldest running transaction as the tick before saw it.
    private actor Bound {
        var xid: String?
        func exchange(_ next: String) -> String? {
            defer { xid = next }
            return xid
        }
    }

    init(outbox: Outbox, database: Database, redis: RedisClient, logger: Logger) {
        self.outbox = outbox
        self.database = database
        self.redis = redis
        self.logger = logger
    }

    /// One look. Errors are logged, not thrown: the next tick tries again from the same place.
    func tick() async {
        do {
            let snapshot = try await database.query(
                tenant: nil, Statement("select pg_snapshot_xmin(pg_current_snapshot())::text"), readOnly: true)
            guard let upto = await horizon.exchange(snapshot.text(0, 0)!) else { return }
            while try await relayDue() {}
            while try await relay(upto: upto) {}
        } catch {
            logger.warning("relay failed", metadata: ["schema": "\(outbox.schema)", "error": "\(error)"])
        }
    }

    /// Moves scheduled jobs that are near into the outbox, and sends them once that is committed: before, they could
    /// run under an id that never came to be. After a crash in between, `relay` finds them.
    private func relayDue() async throws -> Bool {
        let schema = outbox.schema
        let limit = 1000
        let due = try await database.withoutTenant { transaction in
            let rows = try await transaction.query(
                Statement(
                    "select * from \(schema).relay_due(now() + make_interval(secs => $1), $2)",
                    [.double(Outbox.horizon / 2), .int(limit)]))
            return OutboxRow.all(in: rows, origin: schema)
        }
        if due.isEmpty { return false }
        for (queue, group) in Dictionary(grouping: due, by: \.queue) {
            try await RedisQueue(name: queue, redis: redis).enqueue(group.map { ($0.envelope, $0.runAt) })
        }
        await outbox.noteSent(due.map(\.envelope.id))
        return due.count == limit
    }

    /// Sends one slice; true when there may be more.
    private func relay(upto: String) async throws -> Bool {
        let schema = outbox.schema
        return try await database.withoutTenant { transaction in
            let lock = try await transaction.query(
                Statement(
                    "select pg_try_advisory_xact_lock(hashtextextended('guanxi.relay.' || $1, 0))", [.text(schema)]))
            guard lock.bool(0, 0) == true else { return false }
            let position = try await transaction.query(
                Statement("select xid::text, reached_at from \(schema).relay_position"))
            let after = position.text(0, 0)!
            // Ids are older than their commits by at most the longest transaction, an hour at the very most.
            let since = UUID.v7LowerBound(at: position.time(0, 1)!.addingTimeInterval(-3600))
            let limit = 1000
            let rows = try await transaction.query(
                Statement(
                    "select * from \(schema).relay_unsent($1, $2::xid8, $3::xid8, $4)",
                    [.uuid(since), .text(after), .text(upto), .int(limit)]))
            let unsent = OutboxRow.all(in: rows, origin: schema)
            for (queue, group) in Dictionary(grouping: unsent, by: \.queue) {
                try await RedisQueue(name: queue, redis: redis).enqueue(group.map { ($0.envelope, $0.runAt) })
            }
            if !unsent.isEmpty {
                logger.info("relayed jobs", metadata: ["schema": "\(schema)", "count": "\(unsent.count)"])
                transaction.later(
                    Statement(
                        "insert into \(schema).outbox_sent (id, job_ids) values ($1, $2::uuid[])",
                        [.uuid(.v7()), .array(unsent.map(\.envelope.id.lowercased))]))
            }
            let isComplete = rows.count < limit
            if isComplete {
                transaction.later(
                    Statement(
                        """
                        update \(schema).relay_position set xid = $1::xid8, reached_at = now()
                        where xid < $1::xid8
                        """, [.text(upto)]))
            }
            return !isComplete
        }
    }
}

/// A row of an outbox, as the functions give it.
struct OutboxRow {
    let queue: String
    let envelope: JobEnvelope
    let runAt: Date?

    /// Reads rows by column name, whichever function gave them.
    static func all(in rows: Rows, origin: String? = nil, queue: String? = nil) -> [OutboxRow] {
        let columns = Dictionary(
            uniqueKeysWithValues: rows.columnNames.enumerated().map { ($0.element, $0.offset) })
        func text(_ row: Int, _ name: String) -> String? { columns[name].flatMap { rows.text(row, $0) } }
        return (0..<rows.count).map { row in
            var options = JobOptions()
            options.priority = text(row, "priority").flatMap(UInt8.init).flatMap(JobPriority.init) ?? .normal
            options.maxAttempts = text(row, "max_attempts").flatMap(Int.init) ?? 25
            options.timeout = text(row, "timeout_seconds").flatMap(Int.init) ?? 300
            options.cost = text(row, "cost").flatMap(Float.init) ?? 5
            options.isTracked = text(row, "is_tracked") == "t"
            let queue = queue ?? text(row, "queue")!
            let runAt = columns["run_at"].flatMap { rows.time(row, $0) }
            let job = PendingJob(
                id: rows.uuid(row, columns["id"]!)!, name: text(row, "name")!, queue: queue,
                payload: Array(text(row, "payload")!.utf8), options: options, runAt: runAt,
                traceparent: text(row, "traceparent"))
            let tenant = TenantID(Int64(rows.int(row, columns["tenant_id"]!)!))
            return OutboxRow(
                queue: queue,
                envelope: JobEnvelope(job, tenant: tenant, origin: origin ?? text(row, "origin")!), runAt: runAt)
        }
    }
}

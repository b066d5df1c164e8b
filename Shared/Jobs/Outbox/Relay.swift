import Database
import Foundation
import Logging
import Metrics
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
    private let lag: Gauge

    /// The oldest running transaction as the tick before saw it.
    private actor Bound {
        var xid: String?
        private var since = ContinuousClock.now

        func exchange(_ next: String) -> String? {
            defer { xid = next }
            if xid != next { since = .now }
            return xid
        }

        /// For how many seconds it has been the same.
        var age: Double { (ContinuousClock.now - since) / .seconds(1) }
    }

    init(outbox: Outbox, database: Database, redis: RedisClient, logger: Logger) {
        self.outbox = outbox
        self.database = database
        self.redis = redis
        self.logger = logger
        lag = Gauge(label: "guanxi_outbox_lag_seconds", dimensions: [("service", outbox.schema)])
    }

    /// One look. Errors are logged, not thrown: the next tick tries again from the same place.
    func tick() async {
        do {
            let before = await horizon.xid
            let snapshot = try await database.query(
                tenant: nil,
                Statement(
                    """
                    select pg_snapshot_xmin(s)::text, pg_snapshot_xmin(s) < pg_snapshot_xmax(s),
                        (select extract(epoch from now() - reached_at) from \(outbox.schema).relay_position
                            where xid < $1::xid8)
                    from pg_current_snapshot() s
                    """, [.optional(before)]), readOnly: true)
            let upto = await horizon.exchange(snapshot.text(0, 0)!)
            // What is committed behind a transaction that lasts can't be followed, nor what was not reached last time.
            let held = snapshot.bool(0, 1) == true ? await horizon.age : 0
            lag.record(max(held, snapshot.text(0, 2).flatMap(Double.init) ?? 0))
            guard let upto else { return }
            // Neither waits for the other's trouble.
            do { while try await relayDue() {} } catch {
                logger.warning("scheduled jobs wait", metadata: ["schema": "\(outbox.schema)", "error": "\(error)"])
            }
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
        try await send(due)
        await outbox.noteSent(due.map(\.envelope.id))
        return due.count == limit
    }

    private func send(_ rows: [OutboxRow]) async throws {
        for (queue, group) in Dictionary(grouping: rows, by: \.queue) {
            try await outbox.send(group.map { ($0.envelope, $0.runAt) }, to: queue)
        }
    }

    /// Sends one slice; true when there may be more.
    private func relay(upto: String) async throws -> Bool {
        let schema = outbox.schema
        return try await database.withoutTenant { transaction in
            let lock = try await transaction.query(
                Statement(
                    "select pg_try_advisory_xact_lock(hashtextextended('guanxi.relay.' || $1, 0))", [.text(schema)]))
            guard lock.bool(0, 0) == true else { return false }
            let position = try await transaction.query(Statement("select xid::text from \(schema).relay_position"))
            let limit = 1000
            let rows = try await transaction.query(
                Statement(
                    "select * from \(schema).relay_unsent($1::xid8, $2::xid8, $3)",
                    [.text(position.text(0, 0)!), .text(upto), .int(limit)]))
            let unsent = OutboxRow.all(in: rows, origin: schema)
            try await send(unsent)
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
    let job: PendingJob
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
            options.expiry = text(row, "expiry").flatMap(Double.init) ?? 0
            let queue = queue ?? text(row, "queue")!
            let runAt = columns["run_at"].flatMap { rows.time(row, $0) }
            var job = PendingJob(
                id: rows.uuid(row, columns["id"]!)!, name: text(row, "name")!, queue: queue,
                payload: Array(text(row, "payload")!.utf8), options: options, runAt: runAt,
                traceparent: text(row, "traceparent"))
            job.group = columns["group_id"].flatMap { rows.uuid(row, $0) }
            job.serialKey = text(row, "serial_key")
            let tenant = TenantID(Int64(rows.int(row, columns["tenant_id"]!)!))
            return OutboxRow(
                queue: queue, job: job,
                envelope: JobEnvelope(job, tenant: tenant, origin: origin ?? text(row, "origin")!), runAt: runAt)
        }
    }
}

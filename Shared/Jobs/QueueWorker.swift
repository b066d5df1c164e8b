import Database
import Foundation
import Logging
import Metrics
import Redis
import ServiceLifecycle
import Synchronization

/// Runs the jobs of one queue, up to `concurrency` at a time, until graceful shutdown.
///
/// Its name is unique to this process and queue. When it stops renewing its lease, its jobs go back to the front of
/// their tenants' queues; when it finds its own lease gone, it cancels what it runs, because others run it now.
package final class QueueWorker: Service {
    /// What may be set of a worker.
    package struct Settings: Sendable {
        package var concurrency = 16
        /// How many jobs of one tenant may run at once in all of the queue's workers, unless its own share says
        /// otherwise; 0 for as many as there are.
        package var tenantCap = 0
        /// How long a worker may be silent before its jobs are given to others.
        package var lease: Duration = .seconds(6)
        /// How long running jobs may go on after a graceful shutdown began.
        package var grace: Duration = .seconds(20)

        package init() {}
    }

    /// One run: after a lost lease the same job may come again while its first run still ends.
    private struct RunKey: Hashable {
        let id: UUID
        let number: Int
    }

    private struct State {
        var running: [RunKey: Task<Void, Never>] = [:]
        var runs = 0
        var ended: [RedisQueue.Acknowledgement] = []
        var isStopping = false
    }

    package let queue: RedisQueue
    private let registry: JobRegistry
    private let outbox: Outbox
    private let database: Database
    private let redis: RedisClient
    private let settings: Settings
    private let logger: Logger
    private let state = Mutex(State())
    private let changed = Signal()
    private let pulse: WorkerPulse
    private let metrics: QueueMetrics
    private let lastFetch = Mutex(ContinuousClock.now)

    package init(
        queue: String, registry: JobRegistry, outbox: Outbox, database: Database, redis: RedisClient,
        settings: Settings = Settings(), logger: Logger
    ) {
        self.queue = RedisQueue(name: queue, redis: redis)
        self.registry = registry
        self.outbox = outbox
        self.database = database
        self.redis = redis
        self.settings = settings
        var logger = logger
        logger[metadataKey: "queue"] = "\(queue)"
        self.logger = logger
        pulse = WorkerPulse(redis: redis, prefix: self.queue.prefix, lease: settings.lease)
        metrics = QueueMetrics(queue: queue)
    }

    /// Seconds since the last fetch that Redis answered: what liveness is judged by.
    package var secondsSinceFetch: Double {
        (ContinuousClock.now - lastFetch.withLock { $0 }) / .seconds(1)
    }

    /// How many jobs run now.
    package var runningCount: Int { state.withLock { $0.running.count } }

    /// Works until graceful shutdown: then fetches nothing more, lets jobs end within the grace, and hands the rest back.
    package func run() async throws {
        try await subscribe()
        let bell = Bell(redis: redis, queue: queue, ring: changed)
        await withTaskGroup(of: Void.self) { helpers in
            helpers.addTask { await bell.run() }
            helpers.addTask { await self.sweepLoop() }
            await withGracefulShutdownHandler {
                await withTaskCancellationHandler {
                    await self.fetchLoop(bell)
                } onCancel: {
                    self.stop()
                }
            } onGracefulShutdown: {
                self.stop()
            }
            helpers.cancelAll()
        }
        pulse.close()
        bell.close()
    }

    private func stop() {
        state.withLock { $0.isStopping = true }
        changed.raise()
    }

    private func subscribe() async throws {
        while true {
            do {
                _ = try await database.query(tenant: nil, registry.subscribing(queue.name))
                return
            } catch {
                guard error.code == .unavailable || error.code == .connectionLost else { throw error }
                logger.warning("waiting for PostgreSQL", metadata: ["error": "\(error)"])
            }
            try await Task.sleep(for: .seconds(1))
        }
    }

    // MARK: Fetching

    private func fetchLoop(_ bell: Bell) async {
        let reconciler = Reconciler(queue: queue, schema: outbox.schema, database: database, logger: logger)
        // Never the epoch of an empty Redis, which is 0.
        var epoch = (try? await reconciler.currentEpoch()) ?? -1
        var lease = await beginLease()
        var graceEnd: ContinuousClock.Instant?
        var wasCancelled = false
        var backoff = 0

        while true {
            if pulse.lost(lease) {
                cancelAll("the worker's lease was lost")
                lease = await beginLease()
            }
            let (ended, free, isStopping, isIdle) = state.withLock { state in
                defer { state.ended.removeAll(keepingCapacity: true) }
                return (
                    state.ended, max(0, settings.concurrency - state.running.count), state.isStopping,
                    state.running.isEmpty
                )
            }
            if isStopping && isIdle && ended.isEmpty { break }
            if isStopping && graceEnd == nil { graceEnd = .now + settings.grace }
            if let end = graceEnd, ContinuousClock.now > end {
                if !wasCancelled { cancelAll("the grace period is over") }
                wasCancelled = true
                // A handler that does not listen, or a Redis that does not answer, must not keep the process.
                if ContinuousClock.now > end + .seconds(2) { break }
            }

            let fetched: RedisQueue.Fetched
            do {
                fetched = try await queue.exchange(
                    worker: lease.worker, epoch: epoch, wanted: isStopping ? 0 : free, tenantCap: settings.tenantCap,
                    acknowledging: ended)
                backoff = 0
                lastFetch.withLock { $0 = .now }
            } catch {
                logger.warning("fetch failed", metadata: ["error": "\(error)"])
                backoff = min(backoff + 1, 5)
                await pause(.milliseconds(50 << backoff))
                if error.code == .notConnected {
                    state.withLock { $0.ended.insert(contentsOf: ended, at: 0) }
                } else {
                    // The script may have run: Redis may think that this worker holds jobs it never got, or has not
                    // heard of ends it was told. Give the whole lease back; what is done already, the inbox settles.
                    cancelAll("an exchange with Redis broke off")
                    try? await queue.leave(worker: lease.worker)
                    if !isStopping { lease = await beginLease() }
                }
                continue
            }
            if fetched.status == .unleased {
                cancelAll("the worker's lease was lost")
                if isStopping { await pause(.milliseconds(50)) } else { lease = await beginLease() }
                continue
            }
            for envelope in fetched.jobs { start(envelope, token: fetched.token) }
            if fetched.status == .stale && !isStopping {
                do { epoch = try await reconciler.repair() } catch {
                    logger.warning("the queue could not be repaired yet", metadata: ["error": "\(error)"])
                    await pause(.milliseconds(500))
                }
                continue
            }
            // More to fetch and room for it, or ends to tell: go on without waiting.
            if fetched.jobs.count == free && free > 0 && fetched.hasMore { continue }
            if state.withLock({ !$0.ended.isEmpty || $0.isStopping != isStopping }) { continue }
            if isStopping {
                await pause(.milliseconds(20))
                continue
            }
            let hasRoom = state.withLock { $0.running.count < settings.concurrency }
            if hasRoom { bell.listen(within: fetched.nextDue) }
            await changed.wait()
        }
        do { try await queue.leave(worker: lease.worker) } catch {
            logger.warning("could not leave the queue", metadata: ["error": "\(error)"])
        }
    }

    /// A lease is written down before the first fetch under its name: what nobody leases, nobody can return.
    private func beginLease() async -> WorkerPulse.Lease {
        let lease = pulse.begin()
        while !state.withLock({ $0.isStopping }) {
            do {
                try await queue.register(worker: lease.worker, lease: settings.lease)
                break
            } catch {
                logger.warning("waiting for Redis", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .milliseconds(500))
            }
        }
        return lease
    }

    /// Waits also when the task is cancelled: a loop that ends its work must not spin.
    private func pause(_ duration: Duration) async {
        await Task { try? await Task.sleep(for: duration) }.value
    }

    private func cancelAll(_ reason: Logger.Message) {
        let tasks = state.withLock { Array($0.running.values) }
        if !tasks.isEmpty { logger.warning(reason, metadata: ["jobs": "\(tasks.count)"]) }
        for task in tasks { task.cancel() }
    }

    private func sweepLoop() async {
        var slow = 0
        let reconciler = Reconciler(queue: queue, schema: outbox.schema, database: database, logger: logger)
        while !Task.isCancelled {
            do {
                let (returned, cancelled) = try await queue.sweep()
                if returned > 0 {
                    metrics.returned.increment(by: returned)
                    logger.notice("a worker is gone, its jobs are back", metadata: ["jobs": "\(returned)"])
                }
                if !cancelled.isEmpty {
                    let doomed = state.withLock { state in
                        state.running.filter { cancelled.contains($0.key.id) }.map(\.value)
                    }
                    for task in doomed { task.cancel() }
                }
                slow += 1
                // The slow comparison: whatever no rule foresaw is found within a minute, and what is older than an
                // hour within an hour.
                if slow % 120 == 0 {
                    let isHourly = slow % 7200 == 0
                    try await reconciler.resend(
                        olderThan: Date(timeIntervalSinceNow: -60), back: isHourly ? Reconciler.memory : 3600)
                }
            } catch {
                logger.debug("sweep failed", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .milliseconds(Int.random(in: 400...600)))
        }
    }

    // MARK: Running

    /// Starts one job. Its task is owned by this worker: kept in `state.running` until it has told its end.
    private func start(_ envelope: JobEnvelope, token: String) {
        state.withLock { state in
            // The task's end waits for this lock, so it can't be told before its start is written down.
            state.runs += 1
            let key = RunKey(id: envelope.id, number: state.runs)
            state.running[key] = Task { await self.execute(envelope, key, token: token) }
        }
    }

    private func execute(_ envelope: JobEnvelope, _ key: RunKey, token: String) async {
        let clock = ContinuousClock.now
        metrics.waited(since: envelope.id.v7Time)
        var logger = logger
        logger[metadataKey: "job"] = "\(envelope.id.lowercased)"
        logger[metadataKey: "name"] = "\(envelope.name)"
        logger[metadataKey: "tenant"] = "\(envelope.tenant)"
        let runner = JobRunner(registry: registry, outbox: outbox, database: database, queue: queue.name)
        let outcome = await runner.run(envelope, logger: logger)
        let took = ContinuousClock.now - clock
        metrics.ended(outcome, took: took)
        state.withLock { state in
            state.running[key] = nil
            state.ended.append(
                RedisQueue.Acknowledgement(
                    id: envelope.id, token: token, outcome: outcome, measured: took / .milliseconds(1)))
        }
        changed.raise()
    }
}

/// The counters and timers of one queue.
struct QueueMetrics: Sendable {
    let returned: Counter
    private let done: Counter
    private let retried: Counter
    private let dead: Counter
    private let wait: Metrics.Timer
    private let run: Metrics.Timer

    init(queue: String) {
        let dimensions = [("queue", queue)]
        returned = Counter(label: "guanxi_jobs_returned", dimensions: dimensions)
        done = Counter(label: "guanxi_jobs_done", dimensions: dimensions)
        retried = Counter(label: "guanxi_jobs_retried", dimensions: dimensions)
        dead = Counter(label: "guanxi_jobs_dead", dimensions: dimensions)
        wait = Metrics.Timer(label: "guanxi_job_wait", dimensions: dimensions)
        run = Metrics.Timer(label: "guanxi_job_run", dimensions: dimensions)
    }

    func waited(since enqueued: Date) {
        wait.recordNanoseconds(Int64(max(0, Date().timeIntervalSince(enqueued)) * 1e9))
    }

    func ended(_ outcome: RedisQueue.Outcome, took: Duration) {
        run.recordNanoseconds(Int64(took / .nanoseconds(1)))
        switch outcome {
        case .done: done.increment()
        case .again, .handedBack: retried.increment()
        case .dead: dead.increment()
        }
    }
}

import Foundation
import Logging
import Redis
import Synchronization

/// A worker at one shard of its queue: fetches, runs, and tells how runs ended.
final class ShardLane: Sendable {
    private struct State {
        var lane = LaneState<JobRun>()
        /// The name of the lease that holds.
        var worker = ""
        /// The data set of Redis that gave it; nil before the first.
        var dataSet: String?
        /// Redis has another one since, which may be older.
        var isOutdated = false
        /// Leases that were given up and that Redis has not heard of.
        var unleft: [String] = []
        var isStopping = false
        /// A look is due within a second, whatever the bell says.
        var isResting = false
    }

    let shard: Int
    private let queue: RedisQueue
    private let settings: QueueWorker.Settings
    private let runner: JobRunner
    private let keeper: QueueKeeper
    private let pulse: WorkerPulse
    private let slots: WorkerSlots
    private let bell: Bell
    private let changed: Signal
    private let metrics: QueueMetrics
    private let logger: Logger
    private let state = Mutex(State())
    private let lastFetch = Mutex(ContinuousClock.now)

    init(
        shard: Int, queue: RedisQueue, settings: QueueWorker.Settings, runner: JobRunner, keeper: QueueKeeper,
        pulse: WorkerPulse, slots: WorkerSlots, bell: Bell, changed: Signal, metrics: QueueMetrics, logger: Logger
    ) {
        self.shard = shard
        self.queue = queue
        self.settings = settings
        self.runner = runner
        self.keeper = keeper
        self.pulse = pulse
        self.slots = slots
        self.bell = bell
        self.changed = changed
        self.metrics = metrics
        self.logger = logger
    }

    var secondsSinceFetch: Double { (ContinuousClock.now - lastFetch.withLock { $0 }) / .seconds(1) }
    var runningCount: Int { state.withLock { $0.lane.running.count } }
    /// The name of its lease.
    var worker: String { state.withLock { $0.worker } }
    private var isStopping: Bool { state.withLock { $0.isStopping } }

    /// Begins the graceful end: nothing more is fetched.
    func stop() {
        state.withLock { $0.isStopping = true }
        changed.raise()
    }

    /// Hears which data set this shard's Redis has. An older one says of this lease what was true a while ago: it may hold
    /// jobs that ended or went back since, which nobody would ever run or return.
    func isServed(by dataSet: String) {
        let isOutdated = state.withLock { state in
            if let known = state.dataSet, known != dataSet { state.isOutdated = true }
            return state.isOutdated
        }
        if isOutdated { changed.raise() }
    }

    /// Stops the runs of these jobs: an operator or a user has cancelled them.
    func abandon(_ ids: [UUID]) {
        for run in runs where run.ids.contains(where: ids.contains) { run.abandon() }
    }

    /// Stops the runs whose time limit has passed.
    func stopOverdue() {
        let now = ContinuousClock.now
        for run in runs { if let deadline = run.deadline, deadline < now { run.timeOut() } }
    }

    private var runs: [JobRun] { state.withLock { Array($0.lane.running.values) } }

    private func abandonAll(_ reason: Logger.Message) {
        let runs = runs
        if !runs.isEmpty { logger.warning(reason, metadata: ["jobs": "\(runs.count)"]) }
        for run in runs { run.abandon() }
    }

    // MARK: Fetching

    /// Works until `stop`, and then until what runs has ended or the grace is over.
    func run() async {
        var epoch = await keeper.epoch()
        var lease = await beginLease()
        var graceEnd: ContinuousClock.Instant?
        var wasAbandoned = false
        var backoff = 0

        while true {
            if pulse.lost(lease) {
                abandonAll("the worker's lease was lost")
                lease = await beginLease()
            }
            let isOutdated = state.withLock { state in
                defer { state.isOutdated = false }
                if state.isOutdated { state.unleft.append(lease.worker) }
                return state.isOutdated
            }
            if isOutdated {
                abandonAll("Redis has another data set")
                lease = await beginLease()
            }
            let (ends, isIdle, isStopping) = state.withLock { state in
                let ends = state.lane.takeEnds()
                return (ends, state.lane.isIdle, state.isStopping)
            }
            if isStopping && isIdle && ends.isEmpty { break }
            if isStopping && graceEnd == nil { graceEnd = .now + settings.grace }
            if let end = graceEnd, ContinuousClock.now > end {
                if !wasAbandoned { abandonAll("the grace period is over") }
                wasAbandoned = true
                // A handler that does not listen, or a Redis that does not answer, must not keep the process.
                if ContinuousClock.now > end + .seconds(2) { break }
            }

            let wanted = isStopping ? 0 : slots.take(for: shard)
            let fetched: RedisQueue.Fetched
            do {
                fetched = try await queue.exchange(
                    shard: shard, worker: lease.worker, epoch: epoch, wanted: wanted, tenantCap: settings.tenantCap,
                    acknowledging: ends)
                backoff = 0
                lastFetch.withLock { $0 = .now }
            } catch {
                slots.give(wanted)
                logger.warning("fetch failed", metadata: ["error": "\(error)"])
                backoff = min(backoff + 1, 5)
                await pause(.milliseconds(50 << backoff))
                let next = state.withLock {
                    $0.lane.exchangeFailed(ends, mayHaveRun: error.code != .notConnected)
                }
                if next == .abandonLease {
                    abandonAll("an exchange with Redis broke off")
                    state.withLock { $0.unleft.append(lease.worker) }
                    try? await leaveAbandoned()
                    if !isStopping { lease = await beginLease() }
                }
                continue
            }
            slots.give(wanted - start(fetched))
            slots.note(lane: shard, runnable: fetched.runnableTenants)
            if fetched.status == .unleased {
                abandonAll("the worker's lease was lost")
                if isStopping { await pause(.milliseconds(50)) } else { lease = await beginLease() }
                continue
            }
            if fetched.status == .stale && !isStopping {
                do { epoch = try await keeper.repair() } catch {
                    logger.warning("the queue could not be repaired yet", metadata: ["error": "\(error)"])
                    await pause(.milliseconds(500))
                }
                continue
            }
            let hasRoom = slots.hasFree
            // More to fetch and room for it, or ends to tell: go on without waiting.
            if fetched.runnableTenants > 0 && hasRoom {
                await Task.yield()
                continue
            }
            if state.withLock({ $0.lane.hasEnds || $0.isStopping != isStopping }) { continue }
            if isStopping {
                await pause(.milliseconds(20))
                continue
            }
            // Without room for more the bell is others', and still a lease may be lost, or room come with no run's end here.
            if fetched.status == .paused || !hasRoom {
                rest()
            } else {
                bell.listen(shard, within: fetched.nextDue)
            }
            await changed.wait()
            // Behind the runs that are about to end: their ends travel together, and so do those that follow them.
            await Task.yield()
        }
        do {
            try await leaveAbandoned()
            try await queue.leave(shard: shard, worker: lease.worker)
        } catch {
            logger.warning("could not leave the queue", metadata: ["error": "\(error)"])
        }
    }

    /// A lease is written down before the first fetch under its name: what nobody leases, nobody can return. Each attempt
    /// has a name of its own, for one that came late would bring back a lease that was lost.
    private func beginLease() async -> WorkerPulse.Lease {
        while true {
            let lease = pulse.begin(shard)
            let unstarted = state.withLock { state in
                state.worker = lease.worker
                return state.lane.beginLease()
            }
            slots.give(unstarted)
            if isStopping { return lease }
            do {
                try await leaveAbandoned()
                // Before the lease, so that a failover between the two is noticed.
                let dataSet = try await keeper.dataSet(of: shard)
                state.withLock { ($0.dataSet, $0.isOutdated) = (dataSet, false) }
                try await queue.register(shard: shard, worker: lease.worker, lease: settings.lease)
                pulse.registered(lease)
                return lease
            } catch {
                logger.warning("waiting for Redis", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    /// Gives back what was held under leases that were given up, before a sweep takes their end for the worker's death and
    /// counts it against each job.
    private func leaveAbandoned() async throws(RedisError) {
        while let worker = state.withLock({ $0.unleft.first }) {
            try await queue.leave(shard: shard, worker: worker)
            state.withLock { state in state.unleft.removeAll { $0 == worker } }
        }
    }

    /// Looks again in a second, whatever the bell says: it rings for workers that are given something.
    private func rest() {
        let begins = state.withLock { state in
            defer { state.isResting = true }
            return !state.isResting
        }
        if !begins { return }
        Task {
            try? await Task.sleep(for: .seconds(1))
            state.withLock { $0.isResting = false }
            changed.raise()
        }
    }

    /// Waits also when the task is cancelled: a loop that ends its work must not spin.
    private func pause(_ duration: Duration) async {
        await Task { try? await Task.sleep(for: duration) }.value
    }

    // MARK: Running

    /// Starts what was fetched; each run is owned by this lane, kept until it has told its end. Gives how many jobs.
    private func start(_ fetched: RedisQueue.Fetched) -> Int {
        var sets: [SetKey: [JobEnvelope]] = [:]
        for envelope in fetched.jobs {
            if !state.withLock({ $0.lane.admits(envelope) }) { continue }
            if runner.canJoinSet(envelope) {
                sets[SetKey(name: envelope.name, tenant: envelope.tenant.rawValue), default: []].append(envelope)
            } else {
                start([envelope])
            }
        }
        for envelopes in sets.values { start(envelopes) }
        return fetched.jobs.count
    }

    private struct SetKey: Hashable {
        let name: String
        let tenant: Int64
    }

    private func start(_ envelopes: [JobEnvelope]) {
        for envelope in envelopes { metrics.started(envelope) }
        let run = JobRun(ids: envelopes.map(\.id), timeLimit: Int(envelopes[0].timeout))
        let key = state.withLock { state in state.lane.start(envelopes[0], run) }
        run.begin { await self.execute(envelopes, run, key) }
    }

    private func execute(
        _ envelopes: [JobEnvelope], _ run: JobRun, _ key: LaneState<JobRun>.RunKey
    ) async {
        if envelopes[0].runsAlone {
            // Unsaid, a death of this worker would be nobody's fault: the next one is.
            try? await queue.beginAlone(envelopes[0].id, shard: shard, worker: worker)
        }
        let clock = ContinuousClock.now
        let outcomes: [RedisQueue.Outcome]
        if envelopes.count == 1 {
            outcomes = [await runner.run(envelopes[0], run)]
        } else {
            outcomes = await runner.runSet(envelopes, run)
        }
        let took = (ContinuousClock.now - clock) / envelopes.count
        for (envelope, outcome) in zip(envelopes, outcomes) { metrics.ended(envelope, outcome, took: took) }
        let measured = took / .milliseconds(1)
        state.withLock { state in
            state.lane.end(
                key, zip(envelopes, outcomes).map { RedisQueue.Acknowledgement($0, $1, measured: measured) })
        }
        slots.give(envelopes.count)
        if let next = state.withLock({ $0.isStopping ? nil : $0.lane.nextAlone() }) { start([next]) }
        changed.raise()
    }
}

import Foundation

/// What a worker knows of one shard: its lease, what it runs, and the ends that Redis has not heard yet.
///
/// It decides and does nothing: the loop around it talks to Redis, and the simulator drives the same decisions through
/// schedules of crashes. `Run` is whatever stands for a run under way.
struct LaneState<Run> {
    /// One run: after a lost lease the same job may come again while its first run still ends.
    struct RunKey: Hashable {
        let id: UUID
        let number: Int
        fileprivate let lease: Int
    }

    /// What the loop does after a failed exchange.
    enum AfterFailure: Equatable {
        /// The ends were never sent: they are kept for the next exchange.
        case tryAgain
        /// The script may have run: Redis may think that this worker holds jobs it never got. Everything is given back
        /// under this lease, and work goes on under another; what is done already, the inbox settles.
        case abandonLease
    }

    private(set) var running: [RunKey: Run] = [:]
    private var ended: [RedisQueue.Acknowledgement] = []
    private var runs = 0
    private var lease = 0
    /// The one run that must have no other of its kind beside it, and the jobs that wait for its end.
    private var alone: RunKey?
    private var waitingAlone: [JobEnvelope] = []

    /// Jobs that wait to run alone do not count: a worker that ends gives them back.
    var isIdle: Bool { running.isEmpty && ended.isEmpty }
    var hasEnds: Bool { !ended.isEmpty }

    /// A new lease begins: what was held under the one before is others' now, and how it ends is no longer told. Gives how
    /// many jobs had not begun.
    mutating func beginLease() -> Int {
        lease += 1
        ended.removeAll()
        defer { waitingAlone.removeAll() }
        return waitingAlone.count
    }

    /// Whether a job may begin; one that runs alone is kept until those before it have ended.
    mutating func admits(_ envelope: JobEnvelope) -> Bool {
        if !envelope.runsAlone || (alone == nil && waitingAlone.isEmpty) { return true }
        waitingAlone.append(envelope)
        return false
    }

    /// The next job that runs alone, when none does.
    mutating func nextAlone() -> JobEnvelope? {
        alone == nil && !waitingAlone.isEmpty ? waitingAlone.removeFirst() : nil
    }

    /// The ends to tell with the next exchange.
    mutating func takeEnds() -> [RedisQueue.Acknowledgement] {
        defer { ended.removeAll(keepingCapacity: true) }
        return ended
    }

    /// What to do about an exchange that failed and the ends that were to travel with it.
    mutating func exchangeFailed(
        _ ends: [RedisQueue.Acknowledgement], mayHaveRun: Bool
    ) -> AfterFailure {
        if mayHaveRun { return .abandonLease }
        ended.insert(contentsOf: ends, at: 0)
        return .tryAgain
    }

    /// Writes down a run that begins, of one job or of a set that begins with it.
    mutating func start(_ job: JobEnvelope, _ run: Run) -> RunKey {
        runs += 1
        let key = RunKey(id: job.id, number: runs, lease: lease)
        running[key] = run
        if job.runsAlone { alone = key }
        return key
    }

    /// Writes down how a run ended, for the next exchange; not where it began under a lease that is gone.
    mutating func end(_ key: RunKey, _ acknowledgements: [RedisQueue.Acknowledgement]) {
        running[key] = nil
        if alone == key { alone = nil }
        if key.lease == lease { ended += acknowledgements }
    }
}

import Database
import Foundation
import Redis
import TestSupport

@testable import Jobs

/// One schedule: processes that do what the product's do, one step at a time in an order that the seed decides, over the
/// real scripts in a real Redis, and a PostgreSQL in memory.
///
/// Between two steps of one process any other may do any number of its own, be killed, or stand still. Nothing else
/// decides anything: the same seed gives the same schedule.
actor Simulation {
    typealias ProcessID = Int

    /// What a process does.
    enum Role: Sendable {
        case producer
        case pusher
        case relay
        case lane
        case pulse
        case sweeper
        case keeper
        case run(LaneState<Run>.RunKey, JobEnvelope)
        case operating(Action)
    }

    /// What operators and users ask for.
    enum Action: Sendable {
        case pause(Bool)
        case share(TenantID, RedisQueue.Share)
        case cancel(UUID)
        case hasten(UUID)
    }

    /// A run under way.
    struct Run {
        let id: UUID
        let deadline: Int?
    }

    struct Process {
        let host: Int
        let role: Role
        var isOver = false
        var continuation: CheckedContinuation<Void, any Error>?
    }

    /// One process of the operating system, which dies or stands still as a whole.
    struct Host {
        var isKilled = false
        var isStopping = false
        /// What a serving process has committed and not pushed, and pushed and not noted.
        var pending: [(JobEnvelope, runAt: Date?)] = []
        var pushed: [UUID] = []
        var horizon: Int?
        var worker: Worker?
        var pusher: ProcessID?
        /// The data set of Redis as it last saw it.
        var dataSet: Int?
    }

    /// Thrown into every step of a process that was killed.
    struct Killed: Error {}

    let seed: UInt64
    let plan: Plan
    let redis: SimulatedRedis
    let queue: RedisQueue
    let mutation: Mutation?
    var random: SeededGenerator
    var postgres: FakePostgres
    var processes: [Process] = []
    var alive: [ProcessID] = []
    /// When each process goes on, at the earliest, and where it lives: what is read at every turn.
    private var wakeTimes: [Int] = []
    private var homes: [Int] = []
    /// Hosts that end after the step that is under way.
    var doomed: [Int] = []
    /// Until when each host stands still.
    var stalls: [Int] = []
    /// Why runs were stopped.
    var stops: [RunOfHost: JobFate.Stop] = [:]
    var isStopping = false
    var hosts: [Host] = []
    var scheduler: CheckedContinuation<Void, Never>?
    var auditor: Auditor

    /// Milliseconds since the schedule began, as every process feels it.
    var elapsed = 0
    /// How far all clocks are off what passes.
    var clockOffset = 0
    var redisUpAt = 0
    var postgresUpAt = 0
    /// Which data set Redis has: a failover to another replica changes it.
    var dataSet = 1
    var snapshot: [RedisValue] = []
    var isTroubled = true
    var turns = 0
    var facts: [UUID: Fact] = [:]
    var order: [UUID] = []
    var jobsLeft: Int
    var idsMade: UInt64 = 0
    let isTraced: Bool
    var trace: [String] = []

    /// For a nap that only others end.
    static let never = 1_000_000_000
    static let start = 1_800_000_000_000

    init(
        seed: UInt64, client: RedisClient, scripts: SimulatedScripts, mutation: Mutation? = nil, isTraced: Bool = false
    ) {
        self.seed = seed
        var random = SeededGenerator(seed: seed)
        plan = Plan(&random)
        self.random = random
        redis = SimulatedRedis(client, scripts: scripts)
        queue = RedisQueue(name: "sim-\(seed)", redis: client, shards: 1, scripts: redis)
        self.mutation = mutation
        postgres = FakePostgres(mutation)
        jobsLeft = plan.jobs
        auditor = Auditor(plan: plan, prefix: queue.prefix(0))
        self.isTraced = isTraced
    }

    /// Plays the schedule. Gives what it found wrong; nothing where all held.
    func play() async throws -> [String] {
        populate()
        let limit = 6000
        var nextTrouble = random.number(0...plan.calm)
        while auditor.problems.isEmpty {
            if isTroubled && elapsed >= plan.duration { try await endTroubles() }
            if !isTroubled && (isStopping || turns % 4 == 0), try await isSettled() { break }
            if turns > limit {
                try await describeStandstill()
                break
            }
            turns += 1
            if isTroubled && elapsed >= nextTrouble {
                nextTrouble = elapsed + random.number(0...plan.calm)
                try await makeTrouble()
            }
            guard let next = nextProcess() else {
                auditor.report("nothing can go on: no process has anything to wait for")
                break
            }
            try await step(next)
            if isTraced || auditor.isDue(turns) { try await audit() }
        }
        if auditor.problems.isEmpty { try await checkEnd() }
        await killAll()
        try await clean()
        return auditor.problems
    }

    // MARK: Processes

    var now: Date { Date(timeIntervalSince1970: Double(redisNow + plan.skew) / 1000) }
    var redisNow: Int { Self.start + elapsed + clockOffset }

    func spawn(_ role: Role, on host: Int, after delay: Int = 0) {
        alive.append(processes.count)
        processes.append(Process(host: host, role: role))
        wakeTimes.append(elapsed + delay)
        homes.append(host)
    }

    /// Lets another go on, and returns when this process's turn comes, `delay` ms later at the earliest.
    func turn(_ me: ProcessID, after delay: Int = 0) async throws {
        let host = processes[me].host
        if hosts[host].isKilled { throw Killed() }
        wakeTimes[me] = elapsed + delay
        try await withCheckedThrowingContinuation { continuation in
            processes[me].continuation = continuation
            scheduler?.resume()
            scheduler = nil
        }
    }

    /// One of those that can go on now, or the first that can later; time moves there.
    private func nextProcess() -> ProcessID? {
        var ready: [ProcessID] = []
        var soonest = Int.max
        for id in alive {
            let at = max(wakeTimes[id], stalls[homes[id]])
            if at < soonest && soonest > elapsed {
                soonest = at
                ready.removeAll(keepingCapacity: true)
            }
            if at <= max(elapsed, soonest) { ready.append(id) }
        }
        if ready.isEmpty { return nil }
        elapsed = max(elapsed, soonest)
        return random.pick(ready)
    }

    private func step(_ id: ProcessID) async throws {
        if postgres.isDown && elapsed >= postgresUpAt { postgres.isDown = false }
        var fault: SimulatedRedis.Fault?
        if isTroubled && plan.has(.lostCalls) && random.number(1...15) == 1 {
            fault = random.pick([.notSent, .replyLost, .late])
        }
        if redis.hasLateCalls && random.number(1...6) == 1 {
            note("a late call arrives")
            try await audit()
            redis.prepare(now: redisNow, fault: nil, isDown: false)
            try await redis.deliverLate()
            auditor.sharesAreUnsure()
        }
        if isTraced { note("\(processes[id].host)/\(id) \(processes[id].role) \(fault.map { "\($0)" } ?? "")") }
        redis.prepare(now: redisNow, fault: fault, isDown: elapsed < redisUpAt)
        auditor.clock(redisNow)
        await resume(id, nil)
        while let host = doomed.popLast() {
            let isDeath = !hosts[host].isStopping
            await kill(host)
            if isDeath { addWorker(after: 500) }
        }
    }

    /// Lets one process go on until its next turn, or its end.
    private func resume(_ id: ProcessID, _ error: Killed?) async {
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            scheduler = done
            if let continuation = processes[id].continuation {
                processes[id].continuation = nil
                if let error { continuation.resume(throwing: error) } else { continuation.resume() }
            } else {
                Task { await self.live(id) }
            }
        }
    }

    private func live(_ me: ProcessID) async {
        do {
            switch processes[me].role {
            case .producer: try await produce(me)
            case .pusher: try await push(me)
            case .relay: try await relay(me)
            case .lane: try await work(me)
            case .pulse: try await beat(me)
            case .sweeper: try await sweep(me)
            case .keeper: try await keep(me)
            case .run(let key, let envelope): try await execute(me, key, envelope)
            case .operating(let action): try await operate(me, action)
            }
        } catch is Killed {
        } catch {
            auditor.report("a process ended by an error that nothing expects: \(error)")
        }
        processes[me].isOver = true
        alive.removeAll { $0 == me }
        scheduler?.resume()
        scheduler = nil
    }

    /// Ends a process of the operating system as SIGKILL does: between two of its steps, with whatever it was at.
    func kill(_ host: Int) async {
        hosts[host].isKilled = true
        postgres.rollBackAll(of: host)
        for id in alive where processes[id].host == host && !processes[id].isOver {
            if processes[id].continuation != nil {
                await resume(id, Killed())
            } else {
                processes[id].isOver = true
                alive.removeAll { $0 == id }
            }
        }
    }

    private func killAll() async {
        for host in hosts.indices where !hosts[host].isKilled { await kill(host) }
    }

    /// Ends a process's nap.
    func wake(_ id: ProcessID, after delay: Int = 0) {
        wakeTimes[id] = min(wakeTimes[id], elapsed + delay)
    }

    func note(_ text: @autoclosure () -> String) {
        if isTraced { trace.append("\(turns) \(elapsed) ms: \(text())") }
    }
}

import Database
import Foundation
import Redis

@testable import Jobs

/// What a worker's process knows: its lane, which decides, and its lease.
struct Worker {
    var lane = LaneState<Simulation.Run>()
    var lease: String
    var leases = 0
    var isRegistered = false
    var isLost = false
    /// The data set of Redis that gave the lease; nil before the first.
    var dataSet: Int?
    /// Redis has another one since.
    var isOutdated = false
    /// Leases that were given up and that Redis has not heard of.
    var unleft: [String] = []
    var free: Int
    var laneProcess: Simulation.ProcessID
}

/// What a worker does, step by step as `ShardLane`, `WorkerPulse` and `QueueWorker` do it, with the real `LaneState`.
extension Simulation {
    static let lease = 6000
    /// Seconds from which on a try is put off: nearer than the product's, for schedules are short.
    static let nearestRetry: TimeInterval = 1.5

    /// Fetches, starts runs and tells how they ended, until it is stopped.
    func work(_ me: ProcessID) async throws {
        let host = processes[me].host
        var epoch = postgres.isDown ? -1 : postgres.ensureEpoch()
        try await beginLease(me)
        var graceEnd: Int?
        var wasAbandoned = false
        var backoff = 0
        while true {
            try await turn(me)
            if hosts[host].worker!.isLost {
                abandonAll(host)
                try await beginLease(me)
            }
            if hosts[host].worker!.isOutdated {
                hosts[host].worker!.isOutdated = false
                abandonAll(host)
                hosts[host].worker!.unleft.append(hosts[host].worker!.lease)
                try await beginLease(me)
            }
            let isStopping = hosts[host].isStopping
            let ends = hosts[host].worker!.lane.takeEnds()
            if isStopping && hosts[host].worker!.lane.isIdle && ends.isEmpty { break }
            if isStopping && graceEnd == nil { graceEnd = elapsed + 3000 }
            if let end = graceEnd, elapsed > end {
                if !wasAbandoned { abandonAll(host) }
                wasAbandoned = true
                if elapsed > end + 2000 { break }
            }
            let wanted = isStopping ? 0 : hosts[host].worker!.free
            hosts[host].worker!.free -= wanted
            let lease = hosts[host].worker!.lease
            let fetched: RedisQueue.Fetched
            do {
                fetched = try await queue.exchange(
                    worker: lease, epoch: epoch, wanted: wanted, tenantCap: plan.tenantCap, acknowledging: ends)
                backoff = 0
            } catch {
                // It may have run, and given what nobody heard of.
                auditor.rest()
                hosts[host].worker!.free += wanted
                backoff = min(backoff + 1, 5)
                try await turn(me, after: 50 << backoff)
                let next = hosts[host].worker!.lane.exchangeFailed(ends, mayHaveRun: error.code != .notConnected)
                if next == .abandonLease {
                    abandonAll(host)
                    hosts[host].worker!.unleft.append(lease)
                    try? await leaveAbandoned(me)
                    if !isStopping { try await beginLease(me) }
                }
                continue
            }
            note("\(lease): \(fetched.status), told \(ends.map(\.job.id.short)), got \(fetched.jobs.map(\.id.short))")
            auditor.started(fetched.jobs, at: redisNow)
            if auditor.watchesEveryFetch { try await audit() }
            // Here the process may die with the jobs, or hear of them late.
            try await turn(me)
            for envelope in fetched.jobs { start(envelope, host: host) }
            hosts[host].worker!.free += wanted - fetched.jobs.count
            if fetched.status == .unleased {
                abandonAll(host)
                if isStopping { try await turn(me, after: 50) } else { try await beginLease(me) }
                continue
            }
            if fetched.status == .stale && !isStopping {
                do { epoch = try await repair(me) } catch let error where !(error is Killed) {
                    try await turn(me, after: 500)
                }
                continue
            }
            if !isStopping && fetched.runnableTenants > 0 && hosts[host].worker!.free > 0 { continue }
            if hosts[host].worker!.lane.hasEnds || hosts[host].isStopping != isStopping { continue }
            if isStopping {
                try await turn(me, after: 300)
                continue
            }
            let longest = isTroubled ? 1500 : 3000
            let nap = fetched.nextDue.map { min(longest, Int($0 / .milliseconds(1))) } ?? longest
            try await turn(me, after: random.number(0...1) == 0 ? nap : random.number(0...nap) + 10)
        }
        try? await queue.leave(worker: hosts[host].worker!.lease)
        // The process is over, and whatever still runs in it.
        doomed.append(host)
    }

    private func beginLease(_ me: ProcessID) async throws {
        let host = processes[me].host
        while true {
            hosts[host].worker!.leases += 1
            let lease = "w\(host)-\(hosts[host].worker!.leases)"
            hosts[host].worker!.lease = lease
            hosts[host].worker!.free += hosts[host].worker!.lane.beginLease()
            hosts[host].worker!.isRegistered = false
            hosts[host].worker!.isLost = false
            auditor.workers.append(lease)
            try await turn(me)
            if hosts[host].isStopping { return }
            do {
                if elapsed < redisUpAt { throw RedisError(code: .notConnected, message: "down") }
                try await leaveAbandoned(me)
                hosts[host].worker!.dataSet = dataSet
                hosts[host].worker!.isOutdated = false
                hosts[host].dataSet = hosts[host].dataSet ?? dataSet
                try await turn(me)
                try await queue.register(worker: lease, lease: .milliseconds(Self.lease))
                hosts[host].worker!.isRegistered = true
                return
            } catch is RedisError {
                try await turn(me, after: 500)
            }
        }
    }

    private func leaveAbandoned(_ me: ProcessID) async throws {
        let host = processes[me].host
        while let lease = hosts[host].worker!.unleft.first {
            try await queue.leave(worker: lease)
            auditor.rest()
            hosts[host].worker!.unleft.removeFirst()
            try await turn(me)
        }
    }

    /// Renews the lease three times in its length.
    func beat(_ me: ProcessID) async throws {
        let host = processes[me].host
        while true {
            try await turn(me, after: Self.lease / 3)
            let lease = hosts[host].worker!.lease
            guard hosts[host].worker!.isRegistered else { continue }
            let reply = try? await redis.run(
                QueueScripts.renew, keys: [queue.prefix(0)], [.text(lease), .int(Self.lease)])
            guard hosts[host].worker!.lease == lease else { continue }
            if reply?.int == 0 { hosts[host].worker!.isLost = true }
        }
    }

    /// Returns dead workers' jobs; stops runs that were cancelled or whose time is over.
    func sweep(_ me: ProcessID) async throws {
        let host = processes[me].host
        while true {
            try await turn(me, after: random.number(1000...3000))
            for (key, run) in hosts[host].worker!.lane.running where (run.deadline ?? .max) < elapsed {
                stop(key, host, .timeLimit(seconds: 5))
            }
            let lease = hosts[host].worker!.lease
            guard let swept = try? await queue.sweep(for: lease) else { continue }
            auditor.rest()
            for (key, run) in hosts[host].worker!.lane.running where swept.cancelled.contains(run.id) {
                stop(key, host, .abandoned)
            }
        }
    }

    // MARK: Runs

    private func start(_ envelope: JobEnvelope, host: Int) {
        if !hosts[host].worker!.lane.admits(envelope) { return }
        begin(envelope, host: host)
    }

    private func begin(_ envelope: JobEnvelope, host: Int) {
        let deadline = envelope.timeout > 0 ? elapsed + Int(envelope.timeout) * 1000 : nil
        let key = hosts[host].worker!.lane.start(envelope, Run(id: envelope.id, deadline: deadline))
        spawn(.run(key, envelope), on: host)
    }

    private func stop(_ key: LaneState<Run>.RunKey, _ host: Int, _ reason: JobFate.Stop) {
        let run = RunOfHost(host: host, key: key)
        if stops[run] == nil { stops[run] = reason }
        for id in alive where processes[id].host == host {
            if case .run(key, _) = processes[id].role {
                wake(id, after: 10)
            }
        }
    }

    private func abandonAll(_ host: Int) {
        for key in hosts[host].worker!.lane.running.keys { stop(key, host, .abandoned) }
    }

    /// One run from its start to the end that the lane will tell; as `JobRunner.run`.
    func execute(_ me: ProcessID, _ key: LaneState<Run>.RunKey, _ envelope: JobEnvelope) async throws {
        let host = processes[me].host
        if envelope.runsAlone {
            try? await queue.beginAlone(envelope.id, worker: hosts[host].worker!.lease)
            try await turn(me)
        }
        let began = elapsed
        let outcome: RedisQueue.Outcome
        if let fate = JobFate.beforehand(envelope, now: now) {
            outcome = try await settle(me, fate, envelope)
        } else {
            do {
                try await handle(me, key, envelope)
                outcome = .done
            } catch is JobIsSettled {
                outcome = .done
            } catch let error where !(error is Killed) {
                let fate = JobFate.after(
                    error, stop: stops[RunOfHost(host: host, key: key)], of: envelope,
                    jitter: Double(random.number(50...100)) / 100)
                outcome = try await settle(me, fate, envelope)
            }
        }
        // Committed, and not told: the process may die here too.
        try await turn(me)
        let measured = plan.isHonest ? Double(envelope.cost) : Double(elapsed - began)
        note("run of \(envelope.id.short) ends: \(outcome.word)")
        hosts[host].worker!.lane.end(
            key, [RedisQueue.Acknowledgement(envelope, outcome, measured: measured)])
        hosts[host].worker!.free += 1
        if !hosts[host].isStopping, let next = hosts[host].worker!.lane.nextAlone() { begin(next, host: host) }
        wake(hosts[host].worker!.laneProcess)
    }

    private struct HandlerFailed: Error {}

    private func handle(_ me: ProcessID, _ key: LaneState<Run>.RunKey, _ envelope: JobEnvelope) async throws {
        let host = processes[me].host
        let id = envelope.id
        if let line = facts[id]!.line {
            if try !postgres.hasTurn(id, line) {
                if postgres.inbox[id] == nil { auditor.report("job \(id.short) came to a worker before its turn") }
                throw JobIsSettled()
            }
            try await turn(me)
        }
        facts[id]!.runs += 1
        if !facts[id]!.isCommitted { auditor.report("job \(id.short) runs and never committed") }
        if facts[id]!.isPoisonous {
            try await turn(me, after: 1)
            note("\(id.short) takes its process down")
            doomed.append(host)
            try await turn(me, after: 1)
        }
        let end = elapsed + facts[id]!.duration
        while elapsed < end {
            try await turn(me, after: end - elapsed)
            if stops[RunOfHost(host: host, key: key)] != nil && random.number(1...3) > 1 { throw CancellationError() }
        }
        facts[id]!.tries += 1
        if facts[id]!.tries <= facts[id]!.failures { throw HandlerFailed() }
        // The transaction in which the job is done, as `JobContext.once`.
        let xid = try postgres.begin(host: host, at: elapsed)
        defer { postgres.rollBack(xid) }
        try await claim(me, id, .done, in: xid)
        try await turn(me, after: random.number(0...30))
        try postgres.write([.effect(id)], in: xid, at: elapsed)
        if let group = envelope.group {
            try await take(me, .group(group), in: xid)
            try postgres.write([.endInGroup(group)], in: xid, at: elapsed)
        }
        try await endTurn(me, id, in: xid)
        try await turn(me)
        let brought = try postgres.commit(xid)
        noteCompletions()
        note("\(id.short) is done")
        try await pushNext(me, brought)
        if plan.has(.unknownCommits) && isTroubled && random.number(1...8) == 1 {
            throw DatabaseError(code: .connectionLost, message: "lost at the commit")
        }
    }

    private func settle(_ me: ProcessID, _ fate: JobFate, _ envelope: JobEnvelope) async throws -> RedisQueue.Outcome {
        switch fate {
        case .done: return .done
        case .handedBack: return .handedBack
        case .again(let seconds, let next):
            if seconds >= Self.nearestRetry, try await putOff(me, next, by: seconds) { return .putOff(next) }
            return .again(due: now.addingTimeInterval(seconds), next)
        case .dead(let last, let code, _):
            do {
                let xid = try postgres.begin(host: processes[me].host, at: elapsed)
                defer { postgres.rollBack(xid) }
                try await claim(me, envelope.id, code == "expired" ? .expired : .dead, in: xid)
                if let group = envelope.group {
                    try await take(me, .group(group), in: xid)
                    try postgres.write([.failInGroup(group)], in: xid, at: elapsed)
                }
                try await endTurn(me, envelope.id, in: xid)
                let brought = try postgres.commit(xid)
                note("\(envelope.id.short) is dead: \(code)")
                try await pushNext(me, brought)
            } catch is JobIsSettled {
            } catch is DatabaseError {
                return .again(due: now.addingTimeInterval(5), last)
            }
            return .dead(last)
        }
    }

    /// As `Retries.putOff`. False where the database is away.
    private func putOff(_ me: ProcessID, _ envelope: JobEnvelope, by seconds: TimeInterval) async throws -> Bool {
        do {
            let xid = try postgres.begin(host: processes[me].host, at: elapsed)
            defer { postgres.rollBack(xid) }
            try await take(me, .retry(envelope.id), in: xid)
            try postgres.write([.retry(envelope, due: now.addingTimeInterval(seconds))], in: xid, at: elapsed)
            try await turn(me)
            try postgres.commit(xid)
            note("\(envelope.id.short) is put off by \(seconds) s")
            return true
        } catch is DatabaseError {
            return false
        }
    }

    /// Writes a job's inbox row; waits for another's that is open, and throws where one stands.
    func claim(_ me: ProcessID, _ id: UUID, _ settlement: JobContext.Settlement, in xid: Int) async throws {
        try await take(me, .claim(id), in: xid)
        if postgres.refuses(id) {
            postgres.rollBack(xid)
            throw JobIsSettled()
        }
        try postgres.write([.claim(id, settlement)], in: xid, at: elapsed)
    }

    /// Gives its turn to the next of its key, with the transaction that settles the job.
    func endTurn(_ me: ProcessID, _ id: UUID, in xid: Int) async throws {
        guard let line = facts[id]!.line else { return }
        try await take(me, .line(line), in: xid)
        try postgres.write([.endTurn(id, line)], in: xid, at: elapsed)
    }

    /// Pushes what a settlement brought into the outbox; what Redis does not take is left to the relay.
    func pushNext(_ me: ProcessID, _ rows: [FakePostgres.Row]) async throws {
        if rows.isEmpty { return }
        try await turn(me)
        do {
            try await send(me, rows.map { ($0.envelope, $0.runAt) })
            try await turn(me)
            if !postgres.isDown { postgres.noteSent(rows.map(\.envelope.id)) }
        } catch is RedisError {
        } catch is DatabaseError {
        }
    }

    func take(_ me: ProcessID, _ lock: FakePostgres.Lock, in xid: Int) async throws {
        while try !postgres.take(lock, in: xid, at: elapsed) { try await turn(me, after: 30) }
    }

    /// A group's completion is a committed job from the commit on that wrote it.
    private func noteCompletions() {
        for row in postgres.outbox where facts[row.envelope.id]?.completes != nil {
            facts[row.envelope.id]!.isCommitted = true
        }
    }
}

/// A run among all processes' runs.
struct RunOfHost: Hashable {
    let host: Int
    let key: LaneState<Simulation.Run>.RunKey
}

extension RedisQueue.Outcome {
    var word: String {
        switch self {
        case .done: "done"
        case .putOff: "put off"
        case .again(let due, _): "again at \(Int(due.timeIntervalSince1970 * 1000) - Simulation.start)"
        case .dead: "dead"
        case .handedBack: "handed back"
        }
    }
}

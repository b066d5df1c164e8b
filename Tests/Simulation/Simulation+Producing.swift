import Database
import Foundation
import Redis

@testable import Jobs

/// What serving processes do: they commit jobs, push them, note what was pushed, and relay what was left behind.
extension Simulation {
    /// Commits jobs, a few at a time; some of the transactions take long, and some are rolled back.
    func produce(_ me: ProcessID) async throws {
        let host = processes[me].host
        while jobsLeft > 0 {
            try await turn(me, after: random.number(0...2 * plan.duration * 3 / plan.jobs))
            let count = min(jobsLeft, random.number(1...5))
            jobsLeft -= count
            do {
                let xid = try postgres.begin(host: host, at: elapsed)
                let made = makeJobs(count)
                try await turn(me, after: plan.has(.lateCommits) ? random.number(0...4000) : random.number(0...5))
                // As `take_turn`: each line is held until the commit, in one order for all.
                for line in made.lines { try await take(me, .line(line), in: xid) }
                try postgres.write(made.writes, in: xid, at: elapsed)
                if !made.lines.isEmpty { try await turn(me, after: random.number(0...5)) }
                if random.number(1...12) == 1 {
                    postgres.rollBack(xid)
                    continue
                }
                try postgres.commit(xid)
                for job in made.jobs { facts[job.0.id]!.isCommitted = true }
                note("committed \(made.jobs.map { $0.0.id.short })")
                if plan.has(.unknownCommits) && random.number(1...6) == 1 { continue }
                try await turn(me)
                // Whose turn it is not, Redis hears nothing of.
                let pushable = made.jobs.filter { facts[$0.0.id]!.line == nil || postgres.isInOutbox($0.0.id) }
                hosts[host].pending += pushable
                if let pusher = hosts[host].pusher { wake(pusher, after: random.number(0...100)) }
            } catch is DatabaseError {
                try await turn(me, after: 300)
            }
        }
    }

    /// What a transaction writes.
    private struct Made {
        var jobs: [(JobEnvelope, runAt: Date?)] = []
        var writes: [FakePostgres.Write] = []
        var lines: [FakePostgres.LineKey] = []
    }

    private func makeJobs(_ count: Int) -> Made {
        let tenant = random.pick(plan.tenants)
        var made = Made()
        let isGroup = count > 1 && random.number(1...4) == 1
        let group = isGroup ? makeID() : nil
        for _ in 0..<count {
            let job = makeJob(of: tenant, group: group)
            let line = facts[job.0.id]!.line
            made.jobs.append(job)
            made.writes.append(.insert(job.0, runAt: job.runAt, line: line))
            if let line, !made.lines.contains(line) { made.lines.append(line) }
        }
        if let group {
            let completion = makeJob(of: tenant, group: nil, isCompletion: true).0
            facts[completion.id]!.completes = group
            made.writes.insert(.group(group, size: count, completion: completion), at: 0)
        }
        made.lines.sort { $0.key < $1.key }
        return made
    }

    private func makeJob(of tenant: TenantID, group: UUID?, isCompletion: Bool = false) -> (JobEnvelope, runAt: Date?) {
        var options = JobOptions()
        options.priority = random.pick([.high, .normal, .normal, .low])
        options.cost = Float(random.pick([1, 5, 20, 100]))
        options.maxAttempts = random.number(1...4)
        let isLong = random.number(1...25) == 1 && !plan.isHonest
        let duration = isLong ? 9000 : random.pick(plan.isHonest ? [0, 50, 200, 500] : [0, 1, 20, 200, 1000, 2500])
        options.timeout = random.number(1...10) == 1 ? 5 : 0
        if !isCompletion && random.number(1...12) == 1 { options.expiry = Double(random.number(1...20)) }
        let runAt =
            !isCompletion && random.number(1...6) == 1 ? now.addingTimeInterval(Double(random.number(-1...15))) : nil
        var job = PendingJob(
            id: makeID(), name: "sim.job", queue: queue.name, payload: [], options: options, runAt: runAt)
        job.group = group
        var line: FakePostgres.LineKey?
        if !isCompletion && plan.serialKeys > 0 && random.number(1...2) == 1 {
            line = FakePostgres.LineKey(tenant: tenant, key: random.number(1...plan.serialKeys))
            job.serialKey = "\(line!.key)"
        }
        let envelope = JobEnvelope(job, tenant: tenant, origin: "sim")
        facts[job.id] = Fact(
            envelope: envelope, runAt: runAt, duration: duration,
            failures: random.number(1...6) == 1 ? random.pick([1, 2, 99]) : 0,
            isPoisonous: plan.has(.poison) && random.number(1...12) == 1, line: line)
        order.append(job.id)
        auditor.made(envelope)
        return (envelope, runAt)
    }

    /// A version 7 id of this moment; within one millisecond they come in no order.
    private func makeID() -> UUID {
        idsMade += 1
        let lower = UUID.v7LowerBound(at: now).rawBytes.prefix(8)
        let tail = [
            0x80 | UInt8(random.number(0...63)), UInt8(truncatingIfNeeded: idsMade >> 8),
            UInt8(truncatingIfNeeded: idsMade),
        ]
        return UUID(rawBytes: Array(lower) + tail + [0, 0, 0, 0, 0])!
    }

    /// Pushes what was committed, and notes what was pushed, each at its own time.
    func push(_ me: ProcessID) async throws {
        let host = processes[me].host
        while true {
            try await turn(me, after: hosts[host].pending.isEmpty ? Self.never : 0)
            let jobs = hosts[host].pending
            hosts[host].pending = []
            if !jobs.isEmpty {
                do {
                    try await send(me, jobs)
                    hosts[host].pushed += jobs.map(\.0.id)
                } catch is RedisError {
                    note("not pushed")
                } catch is DatabaseError {
                    note("not noted in the backlog")
                }
            }
            try await turn(me, after: random.number(0...200))
            let pushed = hosts[host].pushed
            hosts[host].pushed = []
            if !pushed.isEmpty && !postgres.isDown { postgres.noteSent(pushed) }
        }
    }

    /// As `Outbox.send`: what finds no room is left to the backlog.
    func send(_ me: ProcessID, _ jobs: [(JobEnvelope, runAt: Date?)]) async throws {
        let result = try await queue.enqueue(jobs, window: plan.window)
        note("sent \(jobs.map { $0.0.id.short }), \(result.added) new, refused \(result.refused)")
        if result.refused.isEmpty { return }
        if case .refusedAreForgotten = mutation?.change { return }
        try await turn(me)
        let since = Dictionary(grouping: result.refused.map { jobs[$0].0 }, by: \.tenant)
        for tenant in since.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
            let first = since[tenant]!.map(\.id.v7Time).min()!
            try await noteBacklog(me, tenant, since: .v7LowerBound(at: first))
        }
    }

    /// Waits for whoever has the row.
    func noteBacklog(_ me: ProcessID, _ tenant: TenantID, since: UUID) async throws {
        while postgres.isLocked(.backlog(tenant), at: elapsed) { try await turn(me, after: 40) }
        try postgres.check()
        postgres.noteBacklog(tenant, since: since)
        note("backlog of \(tenant) since \(since.short)")
    }

    /// As `Relay`: follows the outbox by transaction id below the oldest that was running a tick before.
    func relay(_ me: ProcessID) async throws {
        let host = processes[me].host
        while true {
            try await turn(me, after: random.number(1000...4000))
            do {
                try postgres.check()
                var snapshot = postgres.xmin
                if case .relaySkipsLateCommits = mutation?.change { snapshot = postgres.next }
                let before = hosts[host].horizon
                hosts[host].horizon = snapshot
                guard let upto = before else { continue }
                while try await relaySlice(me, upto: upto) {}
            } catch is DatabaseError {
                note("the relay could not look")
            } catch is RedisError {
                note("the relay could not send")
            }
        }
    }

    private func relaySlice(_ me: ProcessID, upto: Int) async throws -> Bool {
        let xid = try postgres.begin(host: processes[me].host, at: elapsed)
        defer { postgres.rollBack(xid) }
        guard try postgres.take(.relay, in: xid, at: elapsed) else { return false }
        let limit = 6
        let rows = postgres.unsent(after: postgres.relayPosition, upto: upto, limit: limit)
        try await turn(me)
        if !rows.isEmpty { try await send(me, rows.map { ($0.envelope, $0.runAt) }) }
        try await turn(me)
        if !rows.isEmpty { try postgres.write([.sent(rows.map(\.envelope.id))], in: xid, at: elapsed) }
        if rows.count < limit { try postgres.write([.relayed(upto: upto)], in: xid, at: elapsed) }
        try postgres.commit(xid)
        return rows.count == limit
    }
}

extension UUID {
    /// What a trace calls it.
    var short: String { String(format: "%llx", words.0 >> 16 & 0xff_ffff) + "." + String(words.1 >> 40 & 0xffff) }
}

import Database
import Foundation
import Redis

@testable import Jobs

/// How a schedule ends: troubles stop, time passes, and then everything must add up.
extension Simulation {
    /// From here on nothing goes wrong any more; what went wrong before must heal.
    func endTroubles() async throws {
        note("troubles end")
        isTroubled = false
        jobsLeft = 0
        redisUpAt = 0
        postgres.isDown = false
        for host in stalls.indices { stalls[host] = 0 }
        while redis.hasLateCalls {
            redis.prepare(now: redisNow, fault: nil, isDown: false)
            try await redis.deliverLate()
        }
        auditor.sharesAreUnsure()
        postgres.isPaused = false
        for tenant in postgres.shares.keys {
            postgres.shares[tenant]!.isHeld = false
            if postgres.shares[tenant]!.rate > 0 { postgres.shares[tenant]!.rate = 10 }
        }
        if livingServers.isEmpty { addServer(producing: false) }
        // Two are enough, and make the rest of the schedule shorter.
        for host in livingWorkers.filter({ !hosts[$0].isStopping }).dropFirst(2) { stopGracefully(host) }
        if livingWorkers.allSatisfy({ hosts[$0].isStopping }) { addWorker() }
    }

    /// True once every committed job is settled and every process that ran is gone of its own will.
    func isSettled() async throws -> Bool {
        if !isStopping {
            let isBusy = alive.contains { id in
                switch processes[id].role {
                case .producer, .operating: true
                default: false
                }
            }
            guard !isBusy, postgres.backlog.isEmpty, postgres.lines.isEmpty,
                postgres.isRecovered || postgres.epoch == nil,
                postgres.outbox.allSatisfy({
                    postgres.inbox[$0.envelope.id] != nil && postgres.sent.contains($0.envelope.id)
                }), hosts.allSatisfy({ $0.isKilled || ($0.pending.isEmpty && $0.pushed.isEmpty) }),
                try await redis.command(["EXISTS", .text(queue.prefix(0) + "u")]).int == 0
            else { return false }
            isStopping = true
            note("all is settled, the workers stop")
            for host in livingServers { await kill(host) }
            for host in livingWorkers { stopGracefully(host) }
        }
        return livingWorkers.isEmpty
    }

    func describeStandstill() async throws {
        try await audit()
        for row in postgres.outbox where postgres.inbox[row.envelope.id] == nil {
            let place = try await queue.whereabouts(of: row.envelope.id, tenant: row.envelope.tenant)
            auditor.report("job \(row.envelope.id.short) never ran to an end; Redis says \(place)")
        }
        for (line, state) in postgres.lines where postgres.inbox[state.turn] != nil {
            auditor.report("key \(line.key) of \(line.tenant) waits for \(state.turn.short), which is over")
        }
        for one in try await queue.tenants() {
            note("\(one)")
            for phase in RedisQueue.Phase.allCases {
                for listed in try await queue.jobs(phase, tenant: one.tenant) {
                    note("\(phase): \(listed.job.id.short) \(listed.worker ?? "")")
                }
            }
        }
        if auditor.problems.isEmpty {
            for job in try await queue.jobs(.running) {
                auditor.report("job \(job.job.id.short) is over and \(job.worker ?? "") still holds it")
            }
            let unsent = postgres.outbox.count { !postgres.sent.contains($0.envelope.id) }
            let known = try await redis.command(["SCARD", .text(queue.prefix(0) + "u")]).int ?? 0
            auditor.report(
                "no rest: \(postgres.backlog.count) backlogs, \(known) jobs known to Redis, \(unsent) committed jobs not"
                    + " sent, recovered: \(postgres.isRecovered)"
            )
        }
    }

    /// The ledger: each committed job came to one end, its effects are there once or not at all, and Redis is clean.
    func checkEnd() async throws {
        for id in order {
            let fact = facts[id]!
            let effects = postgres.effects[id] ?? 0
            if !fact.isCommitted {
                if effects > 0 || fact.runs > 0 { auditor.report("job \(id.short) has effects and never committed") }
                continue
            }
            guard let end = postgres.inbox[id] else {
                auditor.report("job \(id.short) committed and came to no end")
                continue
            }
            if effects != (end == .done ? 1 : 0) {
                auditor.report("job \(id.short) ended as \(end) with its effects there \(effects) times")
            }
        }
        checkGroups()
        checkLines()
        try await checkKeys()
    }

    private func checkGroups() {
        let completions = order.filter { facts[$0]!.completes != nil }
        for id in completions {
            let group = facts[id]!.completes!
            let members = order.filter { facts[$0]!.envelope.group == group }
            guard members.contains(where: { facts[$0]!.isCommitted }) else { continue }
            let isDue = members.allSatisfy { postgres.inbox[$0] == .done }
            let count = postgres.outbox.count { $0.envelope.id == id }
            if count != (isDue ? 1 : 0) {
                auditor.report("the completion \(id.short) was enqueued \(count) times, all members done: \(isDue)")
            }
        }
    }

    /// Jobs of one key ended in the order of their commits; one that was cancelled may have left at any time.
    private func checkLines() {
        for (line, ids) in postgres.lineOrder {
            let ended = postgres.lineEnds[line] ?? []
            let due = ids.filter { postgres.inbox[$0] != .cancelled }
            if ended != due {
                auditor.report(
                    "key \(line.key) of \(line.tenant) ended as \(ended.map(\.short)), due were \(due.map(\.short))")
            }
        }
    }

    /// What may stay: the shard's own state, tenants' that have nothing here, which tenants have a share of their own, the dead, and a bell.
    private func checkKeys() async throws {
        try await audit()
        redis.prepare(now: redisNow + 3_600_000, fault: nil, isDown: false)
        // Leases of those that died run out.
        for _ in 0...auditor.workers.count / 4 {
            let returned = try await queue.sweep().returned
            if returned > 0 { auditor.report("dead workers still held \(returned) jobs") }
        }
        _ = try await queue.register(worker: "last", lease: .seconds(1))
        let last = try await queue.exchange(worker: "last", epoch: -1, wanted: 0, acknowledging: [])
        try await queue.leave(worker: "last")
        if !last.jobs.isEmpty { auditor.report("jobs were left: \(last.jobs.map(\.id.short))") }
        let allowed: Set<String> = ["T", "sh", "bell", "x", "xj"]
        let prefix = queue.prefix(0)
        for key in try await keys().sorted() {
            let name = String(key.dropFirst(prefix.count))
            if !allowed.contains(name) { auditor.report("the key \(name) was left behind") }
        }
    }

    /// Leaves nothing in Redis, whatever went wrong.
    func clean() async throws {
        _ = try await redis.command(["DEL", "-"] + keys().map { .text($0) })
    }
}

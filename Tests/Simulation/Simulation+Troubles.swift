import Database
import Foundation
import Redis

@testable import Jobs

/// What goes wrong, and what operators ask for meanwhile.
extension Simulation {
    /// Host 0 is the operator's; serving processes and workers follow.
    func populate() {
        addHost()
        for _ in 0..<plan.producers { addServer(producing: true) }
        for _ in 0..<plan.workers { addWorker() }
    }

    private func addHost() {
        hosts.append(Host())
        stalls.append(0)
    }

    func addServer(producing: Bool, after delay: Int = 0) {
        let host = hosts.count
        addHost()
        if producing { spawn(.producer, on: host, after: delay) }
        spawn(.pusher, on: host, after: delay)
        hosts[host].pusher = processes.count - 1
        spawn(.relay, on: host, after: delay)
    }

    func addWorker(after delay: Int = 0) {
        let host = hosts.count
        addHost()
        spawn(.lane, on: host, after: delay)
        hosts[host].worker = Worker(lease: "", free: plan.concurrency, laneProcess: processes.count - 1)
        spawn(.pulse, on: host, after: delay + 100)
        spawn(.sweeper, on: host, after: delay)
        spawn(.keeper, on: host, after: delay)
    }

    private func living(_ condition: (Host) -> Bool) -> [Int] {
        hosts.indices.filter { $0 > 0 && !hosts[$0].isKilled && condition(hosts[$0]) }
    }

    var livingWorkers: [Int] { living { $0.worker != nil } }
    var livingServers: [Int] { living { $0.worker == nil } }

    func makeTrouble() async throws {
        let possible = plan.troubles.filter {
            $0 != .poison && $0 != .lateCommits && $0 != .unknownCommits && $0 != .lostCalls
        }
        guard !possible.isEmpty else { return }
        let trouble = random.pick(possible)
        let everyone = living { _ in true }
        note("trouble: \(trouble)")
        try await audit()
        switch trouble {
        case .kill:
            guard !everyone.isEmpty else { return }
            let host = random.pick(everyone)
            let isWorker = hosts[host].worker != nil
            await kill(host)
            if isWorker { addWorker(after: random.number(0...4000)) } else { addServer(producing: true, after: 1000) }
        case .stall:
            guard !everyone.isEmpty else { return }
            stalls[random.pick(everyone)] = elapsed + random.number(100...14_000)
        case .stop:
            guard let host = livingWorkers.randomElement(using: &random) else { return }
            stopGracefully(host)
            addWorker(after: random.number(0...2000))
        case .flush: try await flush()
        case .restore:
            if snapshot.isEmpty || random.number(1...3) == 1 { try await takeSnapshot() } else { try await restore() }
        case .redisOutage: redisUpAt = elapsed + random.number(100...4000)
        case .postgresOutage:
            postgres.isDown = true
            postgres.rollBackAll()
            postgresUpAt = elapsed + random.number(50...4000)
        case .clockForward: clockOffset += random.number(100...9000)
        case .clockBack: clockOffset -= random.number(1...1500)
        case .pause: spawn(.operating(.pause(!postgres.isPaused)), on: 0)
        case .shares: spawn(.operating(.share(random.pick(plan.tenants), randomShare())), on: 0)
        case .cancel: if !order.isEmpty { spawn(.operating(.cancel(random.pick(order))), on: 0) }
        case .hasten:
            if let retry = postgres.dueRetries(before: .distantFuture).last {
                spawn(.operating(.hasten(retry.envelope.id)), on: 0)
            }
        case .poison, .lateCommits, .unknownCommits, .lostCalls: break
        }
    }

    func stopGracefully(_ host: Int) {
        hosts[host].isStopping = true
        wake(hosts[host].worker!.laneProcess)
    }

    private func randomShare() -> RedisQueue.Share {
        let rate = random.pick([0, 0, 0.5, 2, 10])
        return RedisQueue.Share(
            weight: random.pick([0.5, 1, 1, 3]), cap: random.pick([0, 1, 2, 3]), rate: rate,
            burst: Double(random.number(1...4)), isHeld: random.number(1...6) == 1)
    }

    func operate(_ me: ProcessID, _ action: Action) async throws {
        do {
            try postgres.check()
            switch action {
            case .pause(let isPaused):
                postgres.isPaused = isPaused
                try await turn(me)
                try await queue.setPaused(isPaused)
            case .share(let tenant, let share):
                postgres.shares[tenant] = share
                try await turn(me)
                try await setShares([tenant: share])
                note("\(tenant): \(share)")
            case .cancel(let id):
                guard facts[id]!.isCommitted else { return }
                let xid = try postgres.begin(host: 0, at: elapsed)
                defer { postgres.rollBack(xid) }
                try await claim(me, id, .cancelled, in: xid)
                try await endTurn(me, id, in: xid)
                if postgres.retries[id] != nil, try postgres.take(.retry(id), in: xid, at: elapsed) {
                    try postgres.write([.retryEnds(id, lookAgain: nil)], in: xid, at: elapsed)
                }
                try await turn(me)
                let brought = try postgres.commit(xid)
                try await pushNext(me, brought)
                try await turn(me)
                let isKnown = try await queue.cancel(id, tenant: facts[id]!.envelope.tenant)
                note("\(id.short) cancelled, known: \(isKnown)")
            case .hasten(let id):
                let xid = try postgres.begin(host: 0, at: elapsed)
                defer { postgres.rollBack(xid) }
                try await take(me, .retry(id), in: xid)
                if postgres.retries[id] != nil {
                    try postgres.write([.retryEnds(id, lookAgain: now)], in: xid, at: elapsed)
                }
                try postgres.commit(xid)
                try await turn(me)
                _ = try await queue.hasten(id, tenant: facts[id]!.envelope.tenant)
            }
        } catch is RedisError {
        } catch is DatabaseError {
        } catch is JobIsSettled {
        }
    }

    // MARK: Redis forgets

    /// All that Redis holds of this schedule's queue.
    func keys() async throws -> [String] {
        let found = try await redis.command(["KEYS", .text(queue.prefix(0) + "*")]).array ?? []
        return found.compactMap(\.text)
    }

    private func flush() async throws {
        _ = try await redis.command(["DEL", "-"] + keys().map { .text($0) })
        auditor.redisForgot(isOlder: false)
    }

    private func takeSnapshot() async throws {
        snapshot = try await redis.look(Self.dump, key: queue.prefix(0), keys().map { .text($0) }).array ?? []
    }

    /// Redis goes on as it was when the snapshot was taken: another replica, which had not heard all.
    private func restore() async throws {
        try await flush()
        let arguments = snapshot.map { RedisArgument.bytes($0.bytes ?? []) }
        _ = try await redis.look(Self.load, key: queue.prefix(0), arguments)
        dataSet += 1
        auditor.redisForgot(isOlder: true)
    }

    private static let dump = RedisScript(
        """
        local all = {}
        for _, key in ipairs(ARGV) do
            local dump = redis.call('DUMP', key)
            if dump then
                all[#all + 1] = key
                all[#all + 1] = dump
            end
        end
        return all
        """)

    private static let load = RedisScript(
        """
        for i = 1, #ARGV, 2 do redis.call('RESTORE', ARGV[i], 0, ARGV[i + 1], 'REPLACE') end
        return #ARGV
        """)
}

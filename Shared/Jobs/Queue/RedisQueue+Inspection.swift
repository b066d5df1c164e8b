import Database
import Foundation
import Redis

extension RedisQueue {
    /// Figures of a queue for people and metrics, over all its shards.
    package struct Depth: Sendable {
        package var waiting = 0
        package var running = 0
        package var delayed = 0
        package var dead = 0
        package var workers = 0
        package var tenants = 0
        /// The least epoch of any shard: one that forgot has 0.
        package var epoch = 0
        package var isPaused = false
        /// Seconds since the oldest waiting job was enqueued.
        package var oldestAge = 0.0
        /// Tenants that have used up their starts and wait for the next.
        package var parkedTenants = 0
    }

    /// One tenant's standing in a queue.
    package struct TenantStanding: Sendable {
        package let tenant: TenantID
        package let waiting: Int
        package let running: Int
        package let delayed: Int
        package let share: Share
        /// More of its jobs wait in PostgreSQL.
        package let hasBacklog: Bool
        /// Until it may start another, where its rate holds it back.
        package let parkedFor: Duration?
        /// How many tenants of its shard are served before it; nil when nothing of it can run.
        package let place: Int?
    }

    /// One worker of a queue.
    package struct Worker: Sendable {
        package let name: String
        package let shard: Int
        package let leaseLasts: Duration
        package let running: Int
        /// It fetches nothing, as an operator told it.
        package let isQuiet: Bool
    }

    /// Which jobs are asked for.
    package enum Phase: String, Sendable, CaseIterable {
        case running, waiting, delayed, dead
    }

    /// A job where it lies.
    package struct Listed: Sendable {
        package let job: JobEnvelope
        /// Who runs it, for one that runs.
        package let worker: String?
        /// When a delayed job is due, or a dead one died.
        package let at: Date?
    }

    /// Where a job is in Redis.
    package enum Whereabouts: Sendable, Equatable {
        case running(worker: String, leaseLasts: Duration)
        case delayed(Duration)
        /// - Parameters:
        ///   - ahead: jobs of its own tenant before it.
        ///   - place: tenants served before its own, nil when its tenant can't run now.
        ///   - parkedFor: until the tenant's rate lets it start another.
        case waiting(
            ahead: Int, place: Int?, parkedFor: Duration?, running: Int, cap: Int, isHeld: Bool, isPaused: Bool)
        /// Here, further back in its tenant's line than was looked: behind at least so many.
        case farBack(ahead: Int)
        case dead
        case cancelled
        case unknown
    }

    /// The queue's figures now.
    package func depth() async throws(RedisError) -> Depth {
        var sum = Depth()
        for shard in 0..<shards {
            let reply = try await scripts.run(QueueScripts.describe, keys: [prefix(shard)], []).array ?? []
            let values = reply.map { $0.int ?? 0 }
            guard values.count >= 11 else { continue }
            sum.waiting += values[0]
            sum.running += values[1]
            sum.delayed += values[2]
            sum.dead += values[3]
            // A worker registers at every shard.
            sum.workers = max(sum.workers, values[4])
            sum.tenants += values[5]
            sum.epoch = shard == 0 ? values[6] : min(sum.epoch, values[6])
            sum.isPaused = sum.isPaused || values[7] == 1
            sum.oldestAge = max(sum.oldestAge, Double(values[8]) / 1000)
            sum.parkedTenants += values[10]
        }
        return sum
    }

    /// The tenants with anything in the queue, those with the most first.
    package func tenants(limit: Int = 50) async throws(RedisError) -> [TenantStanding] {
        var all: [TenantStanding] = []
        for shard in 0..<shards {
            let reply = try await scripts.run(QueueScripts.tenants, keys: [prefix(shard)], [.int(limit)]).array ?? []
            for entry in reply {
                guard let parts = entry.array, parts.count == 12, let id = parts[0].text.flatMap({ Int64($0) }) else {
                    continue
                }
                func number(_ index: Int) -> Double { parts[index].text.flatMap(Double.init) ?? 0 }
                let (parked, place) = (parts[10].int ?? -1, parts[11].int ?? -1)
                all.append(
                    TenantStanding(
                        tenant: TenantID(id), waiting: parts[1].int ?? 0, running: parts[2].int ?? 0,
                        delayed: parts[3].int ?? 0,
                        share: Share(
                            weight: number(5), cap: parts[4].int ?? 0, rate: number(6), burst: number(7),
                            isHeld: parts[8].int == 1),
                        hasBacklog: parts[9].int == 1, parkedFor: parked < 0 ? nil : .milliseconds(parked),
                        place: place < 0 ? nil : place))
            }
        }
        func size(_ one: TenantStanding) -> Int { one.waiting + one.running + one.delayed }
        return Array(all.sorted { size($0) > size($1) }.prefix(limit))
    }

    /// The queue's workers, one line per shard that each serves.
    package func workers() async throws(RedisError) -> [Worker] {
        var all: [Worker] = []
        for shard in 0..<shards {
            let reply = try await scripts.run(QueueScripts.workers, keys: [prefix(shard)], []).array ?? []
            for entry in reply {
                guard let parts = entry.array, parts.count == 4, let name = parts[0].text else { continue }
                all.append(
                    Worker(
                        name: name, shard: shard, leaseLasts: .milliseconds(parts[1].int ?? 0),
                        running: parts[2].int ?? 0, isQuiet: parts[3].int == 1))
            }
        }
        return all
    }

    /// Jobs in one phase, at most `limit`; those that are next first.
    package func jobs(_ phase: Phase, tenant: TenantID? = nil, limit: Int = 50) async throws(RedisError) -> [Listed] {
        var all: [Listed] = []
        for shard in tenant.map({ [shard(of: $0)] }) ?? Array(0..<shards) where all.count < limit {
            let reply =
                try await scripts.run(
                    QueueScripts.jobs, keys: [prefix(shard)],
                    [.text(phase.rawValue), .int(limit - all.count), .text(tenant?.description ?? "")]
                ).array ?? []
            for entry in reply {
                guard let parts = entry.array, parts.count == 2, let job = parts[0].bytes.flatMap({ JobEnvelope($0) })
                else { continue }
                let fact = parts[1].text ?? ""
                let at = phase == .delayed || phase == .dead ? Double(fact) : nil
                all.append(
                    Listed(
                        job: job, worker: phase == .running ? fact : nil,
                        at: at.map { Date(timeIntervalSince1970: $0 / 1000) }))
            }
        }
        return all
    }

    /// Where one job is, as far as Redis knows.
    package func whereabouts(of id: UUID, tenant: TenantID) async throws(RedisError) -> Whereabouts {
        let reply =
            try await scripts.run(
                QueueScripts.whereabouts, keys: [prefix(shard(of: tenant))],
                [.bytes(id.rawBytes), .text(tenant.description)]
            ).array ?? []
        func number(_ index: Int) -> Int { reply.count > index ? reply[index].int ?? 0 : 0 }
        switch reply.first?.text {
        case "running":
            return .running(worker: reply[1].text ?? "", leaseLasts: .milliseconds(number(2)))
        case "delayed": return .delayed(.milliseconds(max(0, number(1))))
        case "waiting":
            return .waiting(
                ahead: number(1), place: number(2) < 0 ? nil : number(2),
                parkedFor: number(3) < 0 ? nil : .milliseconds(number(3)), running: number(4), cap: number(5),
                isHeld: number(6) == 1, isPaused: number(7) == 1)
        case "known": return .farBack(ahead: number(1))
        case "dead": return .dead
        case "cancelled": return .cancelled
        default: return .unknown
        }
    }
}

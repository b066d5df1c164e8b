import Database
import Foundation
import Redis

/// Runs scripts on the node that holds their keys.
package protocol ScriptRunner: Sendable {
    func run(
        _ script: RedisScript, keys: [String], _ arguments: [RedisArgument]
    ) async throws(RedisError) -> RedisValue

    /// The same with each of `calls`, in this order.
    func run(
        _ script: RedisScript, keys: [String], calls: [[RedisArgument]]
    ) async throws(RedisError) -> [RedisValue]
}

extension RedisClient: ScriptRunner {}

/// One queue's working set in Redis: what can run now, what is delayed, who is running what.
///
/// A queue is cut into shards, each of which lives in one slot: one shard on one Redis, 64 on a cluster. A tenant's jobs
/// are all in one shard, so caps, rates and fairness hold exactly within it.
package struct RedisQueue: Sendable {
    /// How a job ended, as Redis is told.
    package enum Outcome: Sendable, Equatable {
        case done
        /// To be tried again at `due`, as `envelope` now stands.
        case again(due: Date, JobEnvelope)
        /// To be tried again at a time that PostgreSQL keeps (`Retries`): Redis forgets the job until then.
        case putOff(JobEnvelope)
        /// Set aside until an operator replays it.
        case dead(JobEnvelope)
        /// Not run: back to the front of its tenant's queue.
        case handedBack
    }

    /// The end of one job that this worker held.
    package struct Acknowledgement: Sendable, Equatable {
        package let job: JobEnvelope
        package let outcome: Outcome
        /// Milliseconds that the run took: what its tenant is charged.
        package let measured: Double

        package init(_ job: JobEnvelope, _ outcome: Outcome, measured: Double) {
            self.job = job
            self.outcome = outcome
            self.measured = measured
        }

        /// What its tenant still owes, or has paid too much.
        var correction: Double { measured - Double(job.cost) }
    }

    /// What one exchange gave.
    package struct Fetched: Sendable {
        /// Whether the queue gives jobs at all.
        package enum Status: String, Sendable {
            case ready = "OK"
            /// Redis does not know the current epoch: it lost its data, or stands at an older state.
            case stale = "EPOCH"
            /// The queue is paused, or this worker is quiet.
            case paused = "PAUSED"
            /// The worker's lease is gone, and with it all that it held.
            case unleased = "LEASE"
        }
        package let status: Status
        /// Time until the next delayed job is due or a parked tenant may go on, if there is one.
        package let nextDue: Duration?
        /// How many tenants have more that can run now.
        package let runnableTenants: Int
        package let jobs: [JobEnvelope]
    }

    /// What became of jobs that were to be enqueued.
    package struct Enqueued: Sendable {
        /// How many Redis did not know yet.
        package var added = 0
        /// Positions of those for which their tenant's window had no room: the backlog keeps them.
        package var refused: [Int] = []
        /// Of tries: positions of those that Redis had already.
        package var known: [Int] = []
    }

    /// Where jobs that are enqueued come from.
    package enum Source: String, Sendable {
        /// From whoever enqueues them, or a repair.
        case new
        /// From their tenant's backlog: they may fill the window first.
        case backlog
        /// Tries that were put off: as from the backlog, but what is refused has its place already, and is not missing
        /// in it.
        case tries
    }

    /// What a tenant may do in a queue.
    package struct Share: Sendable, Equatable, Codable {
        /// 1 is the usual share of running time.
        package var weight = 1.0
        /// How many of its jobs may run at once; 0 for the queue's usual cap.
        package var cap = 0
        /// How many of its jobs may start per second; 0 for any number.
        package var rate = 0.0
        /// How many may start at once after a rest; at least 1 where there is a rate.
        package var burst = 0.0
        /// Nothing of it may run.
        package var isHeld = false

        package init(weight: Double = 1, cap: Int = 0, rate: Double = 0, burst: Double = 0, isHeld: Bool = false) {
            self.weight = weight
            self.cap = cap
            self.rate = rate
            self.burst = rate > 0 ? max(1, burst) : 0
            self.isHeld = isHeld
        }
    }

    /// How many jobs of one tenant, queue and kind may wait in Redis; more wait in PostgreSQL. Enough for a worker's
    /// second, little enough that a thousand flooding tenants take a gigabyte.
    package static let window = 5000

    package let name: String
    package let shards: Int
    let redis: RedisClient
    /// What runs the scripts: `redis`, or a simulator that puts its own clock and faults in between.
    let scripts: any ScriptRunner

    /// The queue `name` as `redis` holds it; `shards` and `scripts` are for tests, and otherwise what the topology asks
    /// for and `redis` itself.
    package init(name: String, redis: RedisClient, shards: Int? = nil, scripts: (any ScriptRunner)? = nil) {
        self.name = name
        self.redis = redis
        self.scripts = scripts ?? redis
        if let shards {
            self.shards = shards
        } else if case .cluster = redis.topology {
            self.shards = 64
        } else {
            self.shards = 1
        }
    }

    /// The prefix of the keys of one shard.
    package func prefix(_ shard: Int) -> String { "gx:{\(name)/\(shard)}:" }

    /// Where a queue of several shards says which of them has something new. Rung after the enqueue: a bell that is
    /// missed costs a second.
    var bell: String { shards == 1 ? prefix(0) + "bell" : "gx:{\(name)}:bell" }

    /// The shard of a tenant's jobs: by Fibonacci hashing, so that neighbours part.
    package func shard(of tenant: TenantID) -> Int {
        if shards == 1 { return 0 }
        let mixed = UInt64(bitPattern: tenant.rawValue) &* 0x9E37_79B9_7F4A_7C15
        return Int((mixed >> 32) % UInt64(shards))
    }

    /// Adds jobs whose ids Redis does not know yet; sending twice is harmless.
    ///
    /// Sent in small pieces, so that no script holds Redis for long.
    ///
    /// - Parameters:
    ///   - window: how many jobs of one tenant may wait in Redis; 0 for any number. Ephemeral jobs are never refused:
    ///     nothing else holds them.
    @discardableResult
    package func enqueue(
        _ jobs: [(JobEnvelope, runAt: Date?)], window: Int = RedisQueue.window, from source: Source = .new
    ) async throws(RedisError) -> Enqueued {
        var result = Enqueued()
        let pieces: [Int: [Int]] =
            shards == 1 ? [0: Array(jobs.indices)] : Dictionary(grouping: jobs.indices) { shard(of: jobs[$0].0.tenant) }
        for (shard, positions) in pieces {
            var start = 0
            while start < positions.count {
                let end = min(start + Self.together, positions.count)
                let pieces = stride(from: start, to: end, by: Self.piece).map { first in
                    Self.groups(jobs, positions[first..<min(first + Self.piece, end)])
                }
                let calls = pieces.map { Self.arguments(of: $0, jobs, window: window, from: source) }
                let replies = try await scripts.run(QueueScripts.enqueue, keys: [prefix(shard)], calls: calls)
                for (piece, reply) in zip(pieces, replies) {
                    let sent = piece.flatMap(\.positions)
                    let parts = reply.array ?? []
                    func positions(_ part: Int) -> [Int] {
                        parts.count > part ? (parts[part].array ?? []).compactMap { $0.int.map { sent[$0] } } : []
                    }
                    result.added += parts.first?.int ?? 0
                    result.refused += positions(1)
                    result.known += positions(2)
                }
                start = end
            }
            if shards > 1 { try await ring(shard) }
        }
        return result
    }

    /// How many jobs one call adds: a call of five hundred made whoever came next wait a millisecond and a half.
    private static let piece = 100
    /// How many jobs are on their way at a time.
    private static let together = 500

    private static func arguments(
        of piece: [(kind: Kind, positions: [Int])], _ jobs: [(JobEnvelope, runAt: Date?)], window: Int,
        from source: Source
    ) -> [RedisArgument] {
        var arguments: [RedisArgument] = [.int(window), .text(source.rawValue)]
        arguments.reserveCapacity(2 + 5 * piece.count + Self.piece)
        for (kind, group) in piece {
            arguments += [
                .text(kind.tenant.description), .int(Int(kind.priority)), .int(kind.due),
                kind.isEphemeral ? 1 : 0, .int(group.count),
            ]
            for position in group { arguments.append(.bytes(jobs[position].0.encoded)) }
        }
        return arguments
    }

    /// Jobs that one command of a script can take, together: many callers' jobs come one of this tenant, one of that.
    /// Within a group the order stays as it was, and only that counts.
    private static func groups(
        _ jobs: [(JobEnvelope, runAt: Date?)], _ positions: ArraySlice<Int>
    ) -> [(kind: Kind, positions: [Int])] {
        var groups: [(kind: Kind, positions: [Int])] = []
        var places: [Kind: Int] = [:]
        for position in positions {
            let kind = Kind(jobs[position])
            if let last = groups.last, last.kind == kind {
                groups[groups.count - 1].positions.append(position)
            } else if let place = places[kind] {
                groups[place].positions.append(position)
            } else {
                places[kind] = groups.count
                groups.append((kind, [position]))
            }
        }
        return groups
    }

    /// What jobs of one group of an enqueue have in common.
    private struct Kind: Hashable {
        let tenant: TenantID
        let priority: UInt8
        let due: Int
        let isEphemeral: Bool

        init(_ job: (JobEnvelope, runAt: Date?)) {
            tenant = job.0.tenant
            priority = job.0.priority.rawValue
            due = job.runAt.map(RedisQueue.milliseconds) ?? 0
            isEphemeral = job.0.isEphemeral
        }
    }

    /// Wakes an idle worker for one shard, as scripts do by themselves where there is only one.
    func ring(_ shard: Int) async throws(RedisError) {
        // Nobody may be there to hear it: the bell must not grow.
        _ = try await redis.command(key: bell, ["RPUSH", .text(bell), .int(shard)])
        _ = try await redis.command(key: bell, ["LTRIM", .text(bell), shards == 1 ? -1 : -256, -1])
    }

    /// How many jobs one exchange takes, and how many ends it tells: a script's call has no room for many more.
    static let exchangeLimit = 2000

    /// Tells Redis how jobs of one shard ended and takes up to `wanted` new ones, `exchangeLimit` at most, in one round
    /// trip.
    package func exchange(
        shard: Int = 0, worker: String, epoch: Int, wanted: Int, tenantCap: Int = 0,
        acknowledging ended: [Acknowledgement]
    ) async throws(RedisError) -> Fetched {
        if ended.count > Self.exchangeLimit {
            let first = try await exchange(
                shard: shard, worker: worker, epoch: epoch, wanted: 0, tenantCap: tenantCap,
                acknowledging: Array(ended.prefix(Self.exchangeLimit)))
            if first.status == .unleased { return first }
            return try await exchange(
                shard: shard, worker: worker, epoch: epoch, wanted: wanted, tenantCap: tenantCap,
                acknowledging: Array(ended.dropFirst(Self.exchangeLimit)))
        }
        let arguments: [RedisArgument] =
            [.text(worker), .int(epoch), .int(min(wanted, Self.exchangeLimit)), .int(tenantCap)]
            + Self.arguments(acknowledging: ended)
        let reply = try await scripts.run(QueueScripts.exchange, keys: [prefix(shard)], arguments).array ?? []
        guard reply.count >= 3, let status = reply[0].text.flatMap(Fetched.Status.init(rawValue:)) else {
            throw RedisError(code: .refused, message: "the exchange script gave an unknown reply")
        }
        let due = reply[1].int ?? -1
        return Fetched(
            status: status, nextDue: due < 0 ? nil : .milliseconds(due), runnableTenants: reply[2].int ?? 0,
            jobs: reply.dropFirst(3).compactMap { $0.bytes.flatMap { JobEnvelope($0) } })
    }

    /// Jobs that Redis forgets, which are nearly all, cost Redis no more than their id: what their tenants are charged is
    /// summed up here.
    private static func arguments(acknowledging ended: [Acknowledgement]) -> [RedisArgument] {
        var listed: [RedisArgument] = []
        var unlisted: [RedisArgument] = []
        var tenants: [TenantID: (count: Int, owed: Double)] = [:]
        var others: [RedisArgument] = []
        for end in ended {
            let (code, due, envelope): (Int, Int, JobEnvelope)
            switch end.outcome {
            case .done, .putOff:
                if end.job.isEphemeral {
                    unlisted.append(.bytes(end.job.id.rawBytes))
                } else {
                    listed.append(.bytes(end.job.id.rawBytes))
                }
                tenants[end.job.tenant, default: (0, 0)].count += 1
                tenants[end.job.tenant]!.owed += end.correction
                continue
            case .again(let date, let next): (code, due, envelope) = (1, milliseconds(date), next)
            case .dead(let last): (code, due, envelope) = (2, 0, last)
            case .handedBack: (code, due, envelope) = (3, 0, end.job)
            }
            others += [
                .text(end.job.tenant.description), .int(code), .text(String(end.correction)), .int(due),
                .bytes(envelope.encoded),
            ]
        }
        var arguments: [RedisArgument] = [.int(listed.count + unlisted.count)]
        arguments += listed
        arguments += unlisted
        arguments.append(.int(tenants.count))
        for (tenant, sum) in tenants {
            arguments += [.text(tenant.description), .int(sum.count), .text(String(sum.owed))]
        }
        arguments.append(.int(listed.count))
        return arguments + others
    }

    /// Says which of the jobs that run alone `worker` begins now: should the worker die, it is the one to be charged.
    package func beginAlone(_ id: UUID, shard: Int = 0, worker: String) async throws(RedisError) {
        _ = try await scripts.run(
            QueueScripts.beginAlone, keys: [prefix(shard)], [.text(worker), .bytes(id.rawBytes)])
    }

    /// What a shard's Redis calls its data set: another name after a failover or a restart, where it may be older. Empty
    /// where the server does not say.
    package func dataSet(of shard: Int) async throws(RedisError) -> String {
        let info = try await redis.command(key: prefix(shard), ["INFO", "replication"]).text ?? ""
        let name = "master_replid:"
        let line = info.split(whereSeparator: \.isNewline).first { $0.hasPrefix(name) }
        return line.map { String($0.dropFirst(name.count)) } ?? ""
    }

    /// Registers a worker at one shard: its lease lasts `lease` from now. Where it throws, the name is not to be used:
    /// the call may come late.
    package func register(shard: Int = 0, worker: String, lease: Duration) async throws(RedisError) {
        _ = try await scripts.run(
            QueueScripts.register, keys: [prefix(shard)], [.text(worker), .int(Int(lease / .milliseconds(1)))])
    }

    /// Returns the jobs of workers of one shard whose lease ended. Gives how many, and which of the jobs that `worker` holds
    /// were cancelled.
    package func sweep(
        shard: Int = 0, for worker: String = ""
    ) async throws(RedisError) -> (returned: Int, cancelled: [UUID]) {
        let reply = try await scripts.run(QueueScripts.sweep, keys: [prefix(shard)], ["", .text(worker)]).array ?? []
        return (reply.first?.int ?? 0, reply.dropFirst().compactMap { $0.bytes.flatMap { UUID(rawBytes: $0) } })
    }

    /// Takes a worker off the books of one shard and hands back at once what it still holds.
    package func leave(shard: Int = 0, worker: String) async throws(RedisError) {
        _ = try await scripts.run(QueueScripts.sweep, keys: [prefix(shard)], [.text(worker), ""])
    }

    /// How much room a tenant's window has.
    func room(of tenant: TenantID, window: Int = RedisQueue.window) async throws(RedisError) -> Int {
        try await scripts.run(
            QueueScripts.room, keys: [prefix(shard(of: tenant))], [.text(tenant.description), .int(window)]
        ).int ?? 0
    }

    /// Says that a tenant's backlog is empty.
    func endSpill(of tenant: TenantID) async throws(RedisError) {
        _ = try await scripts.run(
            QueueScripts.endSpill, keys: [prefix(shard(of: tenant))], [.text(tenant.description)])
    }

    static func milliseconds(_ date: Date) -> Int { Int((date.timeIntervalSince1970 * 1000).rounded(.up)) }
}

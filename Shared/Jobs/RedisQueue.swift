import Database
import Foundation
import Redis

/// One queue's working set in Redis: what can run now, what is delayed, who is running what.
package struct RedisQueue: Sendable {
    /// How a job ended, as Redis is told.
    package enum Outcome: Sendable {
        case done
        /// To be tried again at `due`, as `envelope` now stands.
        case again(due: Date, JobEnvelope)
        /// Set aside until an operator replays it.
        case dead(JobEnvelope)
        /// Not run: back to the front of its tenant's queue.
        case handedBack
    }

    /// The end of one job that this worker held.
    package struct Acknowledgement: Sendable {
        package let id: UUID
        package let token: String
        package let outcome: Outcome
        /// Milliseconds that the run took: what its tenant is charged.
        package let measured: Double

        package init(id: UUID, token: String, outcome: Outcome, measured: Double) {
            self.id = id
            self.token = token
            self.outcome = outcome
            self.measured = measured
        }
    }

    /// What one exchange gave.
    package struct Fetched: Sendable {
        /// Whether the queue gives jobs at all.
        package enum Status: String, Sendable {
            case ready = "OK"
            /// Redis does not know the current epoch: it lost its data, or stands at an older state.
            case stale = "EPOCH"
            case paused = "PAUSED"
            /// The worker's lease is gone, and with it all that it held.
            case unleased = "LEASE"
        }
        package let status: Status
        package let token: String
        /// Time until the next delayed job is due, if there is one.
        package let nextDue: Duration?
        package let hasMore: Bool
        package let jobs: [JobEnvelope]
    }

    /// Figures of a queue for people and metrics.
    package struct Depth: Sendable {
        package var waiting = 0
        package var running = 0
        package var delayed = 0
        package var dead = 0
        package var workers = 0
        package var tenants = 0
        package var epoch = 0
        package var isPaused = false
        /// Seconds since the oldest waiting job was enqueued.
        package var oldestAge = 0.0
    }

    package let name: String
    private let redis: RedisClient

    package init(name: String, redis: RedisClient) {
        self.name = name
        self.redis = redis
    }

    /// The prefix of the keys of the queue's one shard; more shards are a matter of this number.
    package var prefix: String { "gx:{\(name)/0}:" }

    /// Adds jobs whose ids Redis does not know yet; sending twice is harmless. Returns how many were new.
    ///
    /// Sent in pieces of 200, so that no script holds Redis for long.
    @discardableResult
    package func enqueue(_ jobs: [(JobEnvelope, runAt: Date?)]) async throws(RedisError) -> Int {
        var added = 0
        var start = 0
        while start < jobs.count {
            let end = min(start + 200, jobs.count)
            var arguments: [RedisArgument] = []
            arguments.reserveCapacity((end - start) * 3)
            for (envelope, runAt) in jobs[start..<end] {
                arguments.append(.text(envelope.tenant.description))
                arguments.append(.int(runAt.map(Self.milliseconds) ?? 0))
                arguments.append(.bytes(envelope.encoded))
            }
            added += try await redis.run(QueueScripts.enqueue, keys: [prefix], arguments).int ?? 0
            start = end
        }
        return added
    }

    /// Tells Redis how jobs ended and takes up to `wanted` new ones, in one round trip.
    package func exchange(
        worker: String, epoch: Int, wanted: Int, tenantCap: Int = 0, acknowledging ended: [Acknowledgement]
    ) async throws(RedisError) -> Fetched {
        var arguments: [RedisArgument] = [.text(worker), .int(epoch), .int(wanted), .int(tenantCap)]
        for ack in ended {
            arguments.append(.bytes(ack.id.rawBytes))
            arguments.append(.text(ack.token))
            let (code, due, blob): (Int, Int, [UInt8]) =
                switch ack.outcome {
                case .done: (0, 0, [])
                case .again(let due, let envelope): (1, Self.milliseconds(due), envelope.encoded)
                case .dead(let envelope): (2, 0, envelope.encoded)
                case .handedBack: (3, 0, [])
                }
            arguments.append(.int(code))
            arguments.append(.text(String(ack.measured)))
            arguments.append(.int(due))
            arguments.append(.bytes(blob))
        }
        let reply = try await redis.run(QueueScripts.exchange, keys: [prefix], arguments).array ?? []
        guard reply.count >= 4, let status = reply[0].text.flatMap(Fetched.Status.init(rawValue:)) else {
            throw RedisError(code: .refused, message: "the exchange script gave an unknown reply")
        }
        let due = reply[2].int ?? -1
        return Fetched(
            status: status, token: reply[1].text ?? "", nextDue: due < 0 ? nil : .milliseconds(due),
            hasMore: reply[3].int == 1,
            jobs: reply.dropFirst(4).compactMap { $0.bytes.flatMap { JobEnvelope($0) } })
    }

    /// Registers a worker: its lease lasts `lease` from now.
    package func register(worker: String, lease: Duration) async throws(RedisError) {
        _ = try await redis.run(
            RedisScript(QueueScripts.renewSource), keys: [prefix],
            [.text(worker), .int(Int(lease / .milliseconds(1))), "new"])
    }

    /// Returns the jobs of workers whose lease ended. Gives how many, and ids of jobs that were cancelled.
    package func sweep() async throws(RedisError) -> (returned: Int, cancelled: [UUID]) {
        let reply = try await redis.run(QueueScripts.sweep, keys: [prefix], [""]).array ?? []
        return (reply.first?.int ?? 0, reply.dropFirst().compactMap { $0.bytes.flatMap { UUID(rawBytes: $0) } })
    }

    /// Takes a worker off the books and hands back at once what it still holds.
    package func leave(worker: String) async throws(RedisError) {
        _ = try await redis.run(QueueScripts.sweep, keys: [prefix], [.text(worker)])
    }

    /// Sets the epoch and gives the one Redis had.
    @discardableResult
    package func setEpoch(_ epoch: Int) async throws(RedisError) -> Int {
        try await redis.run(QueueScripts.setEpoch, keys: [prefix], [.int(epoch)]).int ?? 0
    }

    /// Stops or resumes fetching; what runs goes on.
    package func setPaused(_ paused: Bool) async throws(RedisError) {
        _ = try await redis.run(QueueScripts.setPaused, keys: [prefix], [paused ? 1 : 0])
    }

    /// Sets a tenant's weight (1 is the usual share) and its cap on jobs running at once (0: none) in this queue.
    package func setShare(tenant: TenantID, weight: Double, cap: Int) async throws(RedisError) {
        _ = try await redis.run(
            QueueScripts.setShare, keys: [prefix], [.text(tenant.description), .text(String(weight)), .int(cap)])
    }

    /// Cancels a waiting or running job as far as Redis knows it; false when it does not.
    package func cancel(_ id: UUID) async throws(RedisError) -> Bool {
        try await redis.run(QueueScripts.cancel, keys: [prefix], [.bytes(id.rawBytes)]).int == 1
    }

    /// The queue's figures now.
    package func depth() async throws(RedisError) -> Depth {
        let values = (try await redis.run(QueueScripts.describe, keys: [prefix], []).array ?? []).map { $0.int ?? 0 }
        guard values.count >= 9 else { return Depth() }
        return Depth(
            waiting: values[0], running: values[1], delayed: values[2], dead: values[3], workers: values[4],
            tenants: values[5], epoch: values[6], isPaused: values[7] == 1, oldestAge: Double(values[8]) / 1000)
    }

    private static func milliseconds(_ date: Date) -> Int { Int((date.timeIntervalSince1970 * 1000).rounded(.up)) }
}

import Foundation
import Redis
import Synchronization

/// Renews a worker's leases, one per shard, from a thread of its own, so that a busy pool is never taken for a death.
final class WorkerPulse: Sendable {
    /// One registration: after a loss the worker goes on under another name.
    struct Lease: Sendable, Equatable {
        let shard: Int
        let worker: String
    }

    private struct State {
        var lease: Lease
        var isRegistered = false
        var isLost = false
    }

    private let leases: Mutex<[State?]>
    private let pulse: RedisPulse
    private let base: String
    private let counter = Atomic<Int>(0)

    init(queue: RedisQueue, lease: Duration) {
        base =
            "\(ProcessInfo.processInfo.hostName)-\(ProcessInfo.processInfo.processIdentifier)-"
            + String(UInt32.random(in: 0...UInt32.max), radix: 36)
        leases = Mutex([State?](repeating: nil, count: queue.shards))
        let milliseconds = Int(lease / .milliseconds(1))
        pulse = queue.redis.pulse(every: milliseconds / 3)
        pulse.start { [self] in
            leases.withLock { $0.compactMap { $0 } }.filter(\.isRegistered).map { state in
                let prefix = queue.prefix(state.lease.shard)
                return RedisPulse.Beat(
                    key: prefix,
                    command: [
                        "EVAL", .text(QueueScripts.renew.source), 1, .text(prefix), .text(state.lease.worker),
                        .int(milliseconds),
                    ]
                ) { self.heard($0, of: state.lease) }
            }
        }
    }

    private func heard(_ reply: RedisValue, of lease: Lease) {
        leases.withLock { leases in
            if leases[lease.shard]?.lease == lease && reply.int == 0 { leases[lease.shard]?.isLost = true }
        }
    }

    /// Names a new lease. It is renewed from `registered` on.
    func begin(_ shard: Int) -> Lease {
        let number = counter.add(1, ordering: .relaxed).newValue
        let lease = Lease(shard: shard, worker: "\(base)-\(number)")
        leases.withLock { $0[shard] = State(lease: lease) }
        return lease
    }

    func registered(_ lease: Lease) {
        leases.withLock { leases in
            if leases[lease.shard]?.lease == lease { leases[lease.shard]?.isRegistered = true }
        }
    }

    /// True when Redis no longer knew the lease: its jobs are others' now.
    func lost(_ lease: Lease) -> Bool {
        leases.withLock { $0[lease.shard]?.lease == lease && $0[lease.shard]?.isLost == true }
    }

    func close() { pulse.close() }
}

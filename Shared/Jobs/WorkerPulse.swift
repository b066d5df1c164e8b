import Foundation
import Redis
import Synchronization

/// Renews a worker's lease from a thread of its own, so that a busy pool is never taken for a death.
final class WorkerPulse: Sendable {
    /// One registration: after a loss the worker goes on under another name.
    struct Lease: Sendable, Equatable {
        let worker: String
    }

    private struct State {
        var lease: Lease?
        var isRegistered = false
        var isLost = false
    }

    private let state = Mutex(State())
    private let pulse: RedisPulse
    private let base: String
    private let counter = Atomic<Int>(0)

    init(redis: RedisClient, prefix: String, lease: Duration) {
        base =
            "\(ProcessInfo.processInfo.hostName)-\(ProcessInfo.processInfo.processIdentifier)-"
            + String(UInt32.random(in: 0...UInt32.max), radix: 36)
        let milliseconds = Int(lease / .milliseconds(1))
        pulse = redis.pulse(every: milliseconds / 3)
        pulse.start { [self] in
            let (lease, isRegistered) = state.withLock { ($0.lease, $0.isRegistered) }
            guard let lease else { return nil }
            return RedisPulse.Beat(
                key: prefix,
                command: [
                    "EVAL", .text(QueueScripts.renewSource), 1, .text(prefix), .text(lease.worker),
                    .int(milliseconds), isRegistered ? "renew" : "new",
                ]
            ) { reply in
                self.state.withLock { state in
                    guard state.lease == lease else { return }
                    if reply.int == 1 { state.isRegistered = true }
                    if reply.int == 0 { state.isLost = true }
                }
            }
        }
    }

    /// Begins a new lease; the first beat registers it.
    func begin() -> Lease {
        let number = counter.add(1, ordering: .relaxed).newValue
        let lease = Lease(worker: "\(base)-\(number)")
        state.withLock { $0 = State(lease: lease) }
        pulse.beatNow()
        return lease
    }

    /// True when Redis no longer knew the lease: its jobs are others' now.
    func lost(_ lease: Lease) -> Bool { state.withLock { $0.lease == lease && $0.isLost } }

    func close() { pulse.close() }
}

/// Waits for a queue's bell while its worker is idle, and passes it on as a signal.
final class Bell: Sendable {
    private let connection: RedisBlockingConnection
    private let key: String
    private let ring: Signal
    private let wanted = Signal()
    private let timeout = Mutex<Double>(1)

    init(redis: RedisClient, queue: RedisQueue, ring: Signal) {
        connection = redis.blockingConnection()
        key = queue.prefix + "bell"
        self.ring = ring
    }

    /// Starts one wait, of a jittered second at most, or until the next delayed job is due.
    func listen(within due: Duration?) {
        let limit = Double.random(in: 0.7...1)
        timeout.withLock { $0 = min(limit, max(0.001, due.map { $0 / .seconds(1) } ?? limit)) }
        wanted.raise()
    }

    func run() async {
        while !Task.isCancelled {
            await wanted.wait()
            if Task.isCancelled { return }
            do { _ = try await connection.pop(keys: [key], within: timeout.withLock { $0 }) } catch {
                try? await Task.sleep(for: .milliseconds(200))
            }
            ring.raise()
        }
    }

    func close() { connection.close() }
}

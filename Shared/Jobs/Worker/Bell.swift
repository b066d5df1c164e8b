import Foundation
import Redis
import Synchronization

/// Waits for a queue's bell while its worker is idle, and wakes the lanes that have something to do.
final class Bell: Sendable {
    private let connection: RedisBlockingConnection
    private let key: String
    private let signals: [Signal]
    private let wanted = Signal()
    /// When each lane wants to look again, at the latest.
    private let looks: Mutex<[ContinuousClock.Instant?]>

    init(queue: RedisQueue, signals: [Signal]) {
        connection = queue.redis.blockingConnection()
        key = queue.bell
        self.signals = signals
        looks = Mutex([ContinuousClock.Instant?](repeating: nil, count: signals.count))
    }

    /// Wakes a lane when its bell rings, after a jittered second at most, or when the next delayed job is due.
    func listen(_ lane: Int, within due: Duration?) {
        let limit = Duration.seconds(Double.random(in: 0.7...1))
        let at = ContinuousClock.now + min(limit, max(.milliseconds(1), due ?? limit))
        looks.withLock { $0[lane] = at }
        wanted.raise()
    }

    func run() async {
        while !Task.isCancelled {
            guard let next = looks.withLock({ $0.compactMap { $0 }.min() }) else {
                await wanted.wait()
                continue
            }
            // A lane may come with an earlier time while another's wait is under way.
            let limit = signals.count == 1 ? 1 : 0.1
            let seconds = min(limit, max(0.001, (next - .now) / .seconds(1)))
            var rung: Int?
            do {
                if let (_, value) = try await connection.pop(keys: [key], within: seconds) {
                    rung = signals.count == 1 ? 0 : Int(String(decoding: value, as: UTF8.self))
                }
            } catch {
                try? await Task.sleep(for: .milliseconds(200))
            }
            let now = ContinuousClock.now
            let woken = looks.withLock { looks in
                let woken = looks.indices.filter { lane in lane == rung || looks[lane].map { $0 <= now } ?? false }
                for lane in woken { looks[lane] = nil }
                return woken
            }
            for lane in woken { signals[lane].raise() }
        }
    }

    func close() { connection.close() }
}

import Logging
import Metrics
import Redis
import Synchronization

/// Counts what a process enqueues: for its own metrics, and in the sums that all processes share, so that how fast a
/// queue's jobs come is known to whoever asks.
final class Arrivals: Sendable {
    private struct Tally {
        let counter: Counter
        var untold = 0
    }

    private let redis: RedisClient
    private let logger: Logger
    private let tallies = Mutex<[String: Tally]>([:])

    init(redis: RedisClient, logger: Logger) {
        self.redis = redis
        self.logger = logger
    }

    func add(_ jobs: Int, to queue: String) {
        tallies.withLock { tallies in
            var tally =
                tallies[queue] ?? Tally(counter: Counter(label: "guanxi_jobs_enqueued", dimensions: [("queue", queue)]))
            tally.counter.increment(by: jobs)
            tally.untold += jobs
            tallies[queue] = tally
        }
    }

    /// Adds to the sums what has come since the last time. What can't be told is forgotten: it is of a minute's interest.
    func tell() async {
        let untold = tallies.withLock { tallies in
            defer { for queue in tallies.keys { tallies[queue]!.untold = 0 } }
            return tallies.mapValues(\.untold)
        }
        for (queue, count) in untold {
            do { try await QueueLoad(RedisQueue(name: queue, redis: redis)).note(arrived: count) } catch {
                logger.debug("arrivals were not told", metadata: ["queue": "\(queue)", "error": "\(error)"])
            }
        }
    }
}

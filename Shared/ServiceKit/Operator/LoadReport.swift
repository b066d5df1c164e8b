import Jobs
import Logging
import Redis
import ServiceLifecycle

/// Adds what this process's workers ran to the sums that all processes share, every two seconds: how long a job of a
/// queue takes is then known to whoever asks.
struct LoadReport: ServiceLifecycle.Service {
    let queues: [String]
    let metrics: PrometheusMetrics
    let redis: RedisClient
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var told: [String: (count: Int, seconds: Double)] = [:]
            while !Task.isCancelled {
                for queue in queues {
                    let total = metrics.timed("guanxi_job_run", [("queue", queue)])
                    let before = told[queue] ?? (0, 0)
                    // What could not be told goes with the next.
                    do {
                        try await QueueLoad(RedisQueue(name: queue, redis: redis)).note(
                            runs: total.count - before.count, milliseconds: (total.seconds - before.seconds) * 1000)
                        told[queue] = total
                    } catch {
                        logger.debug("the load was not told", metadata: ["error": "\(error)"])
                    }
                }
                try? await Task.sleep(for: .seconds(2))
            }
        }
    }
}

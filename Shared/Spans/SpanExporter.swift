import Logging
import ServiceLifecycle
import ThreadExecutor

/// Sends ended spans to an OpenTelemetry collector: OTLP over HTTP with JSON, one request at a time, from one thread.
///
/// Tasks that end spans never wait for it. While the collector can't be reached, spans are kept as long as the queue
/// has place for them and sent when it is back; then the newest are dropped and counted. List it first in the service
/// group: those listed later are shut down earlier, and so their last spans still go out.
package final class SpanExporter: Service {
    let settings: Settings
    let queue: SpanQueue
    private let pace: Pace
    private let logger: Logger

    /// Sends nothing before it is run; spans are queued meanwhile.
    package init(_ settings: Settings, pace: Pace = Pace(), logger: Logger) {
        self.settings = settings
        self.pace = pace
        self.logger = logger
        queue = SpanQueue(capacity: pace.capacity, batch: pace.batch)
    }

    /// What has become of the spans so far.
    package var counts: Counts { queue.counters.counts(queued: queue.count) }

    /// Sends until graceful shutdown, then what is queued within `Pace.shutdown`; at cancellation within a second.
    /// What can't be sent by then is dropped and counted, and so are spans that end later. Not to be run twice.
    package func run() async throws {
        let (settings, pace, queue, logger) = (settings, pace, queue, logger)
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await withCheckedContinuation { ended in
                    OSThread.start {
                        ExportLoop(settings, pace, queue, logger).run()
                        ended.resume()
                    }
                }
            } onGracefulShutdown: {
                queue.close(by: .now + pace.shutdown)
            }
        } onCancel: {
            queue.close(by: .now + min(pace.shutdown, .seconds(1)))
        }
    }
}

extension SpanExporter {
    /// Numbers since the process began, for metrics. Every ended span of a recorded trace is exported, dropped or
    /// rejected in the end; until then it is queued, or in a batch on its way.
    package struct Counts: Sendable, Hashable {
        /// Spans that the collector has taken.
        package var exported: Int
        /// Spans that are lost: the queue was full, the collector refused their batch, or the process ended.
        package var dropped: Int
        /// Spans that the collector refused one by one out of batches that it took.
        package var rejected: Int
        /// Batches that the collector refused for good, such as for a wrong header of authentication.
        package var failedBatches: Int
        /// Tries that failed and were repeated later.
        package var retries: Int
        /// Spans that wait now.
        package var queued: Int
    }

    /// How much is kept, and how fast things go. The defaults suit a service; tests are less patient.
    package struct Pace: Sendable {
        /// Ended spans that are kept at most, besides the batch on its way.
        package var capacity: Int
        /// Spans of a request at most.
        package var batch: Int
        /// How long a span may wait for others to share its request.
        package var interval: Duration
        /// For one request, from the connection to the end of the answer.
        package var timeout: Duration
        /// The shortest pause after a failure; each further one is up to twice as long.
        package var firstPause: Duration
        /// The longest pause after a failure, unless the collector asks for more.
        package var longestPause: Duration
        /// For sending what is left at shutdown.
        package var shutdown: Duration

        /// Capacity and batch are at least 1; times are at least a millisecond.
        package init(
            capacity: Int = 8_192, batch: Int = 512, interval: Duration = .seconds(1),
            timeout: Duration = .seconds(10), firstPause: Duration = .seconds(1),
            longestPause: Duration = .seconds(30), shutdown: Duration = .seconds(5)
        ) {
            self.capacity = capacity
            self.batch = batch
            self.interval = interval
            self.timeout = timeout
            self.firstPause = firstPause
            self.longestPause = longestPause
            self.shutdown = shutdown
        }
    }
}

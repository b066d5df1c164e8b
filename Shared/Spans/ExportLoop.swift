import Logging
import ThreadExecutor

/// What the exporter's thread does: takes batches and delivers each before the next. Not `Sendable`: it is made and
/// used on that thread.
final class ExportLoop {
    private let pace: SpanExporter.Pace
    private let queue: SpanQueue
    private let connection: CollectorConnection
    private let request: OTLPRequest
    private var report: CollectorReport
    private var hasGivenUp = false

    init(_ settings: SpanExporter.Settings, _ pace: SpanExporter.Pace, _ queue: SpanQueue, _ logger: Logger) {
        self.pace = pace
        self.queue = queue
        connection = CollectorConnection(settings, timeout: pace.timeout)
        request = OTLPRequest(resource: settings.resource)
        report = CollectorReport(url: settings.url, logger: logger)
    }

    /// Runs until the queue is closed and either empty or out of time.
    func run() {
        OSThread.blockSignals()
        while !hasGivenUp, let batch = queue.takeBatch(within: pace.interval) { send(batch) }
        let left = queue.end()
        if hasGivenUp { report.gaveUp(dropped: left) }
    }

    /// In one request, or several where one would be too long for collectors.
    private func send(_ batch: [EndedSpan]) {
        var rest = batch[...]
        while !rest.isEmpty {
            let (body, count) = request.body(of: rest)
            if hasGivenUp { giveUp(count) } else { deliver(body, spans: count) }
            rest = rest.dropFirst(count)
        }
    }

    /// Tries until the collector has taken or refused the spans, or the time for shutdown is up.
    private func deliver(_ body: [UInt8], spans: Int) {
        var failures = 0
        while !isOutOfTime {
            switch connection.post(body, isOutOfTime: { self.isOutOfTime }) {
            case .taken(let rejected, let message):
                let rejected = min(rejected, spans)
                queue.counters.export(spans - rejected)
                queue.counters.reject(rejected)
                return report.taken(rejected: rejected, message: message)
            case .refused(let reason):
                queue.counters.drop(spans)
                queue.counters.failBatch()
                return report.refused(reason, spans: spans)
            case .unavailable(let reason, let asked):
                failures += 1
                report.unavailable(reason, queued: queue.count + spans)
                let pause = asked ?? Backoff(pace).pause(after: failures)
                guard queue.wait(for: pause, isAsked: asked != nil) else { return giveUp(spans) }
                queue.counters.retry()
            }
        }
        giveUp(spans)
    }

    private var isOutOfTime: Bool { queue.shutdownDeadline.map { $0 <= .now } ?? false }

    private func giveUp(_ spans: Int) {
        hasGivenUp = true
        queue.counters.drop(spans)
        report.givenUp += spans
    }
}

import Foundation
import Spans
import Tracing

/// Runs of jobs as spans, named as OpenTelemetry's conventions for messaging say. They hold ids and outcomes, never what
/// a job carries or what its error says: collectors see every tenant.
extension SpanTracer {
    /// Begins the span of a run. That of one job hangs below its enqueue; that of several belongs to none of theirs and
    /// is linked to each.
    func begin(_ envelopes: [JobEnvelope], of queue: String) -> TraceSpan {
        let first = envelopes[0]
        var context = InstrumentationContext.topLevel
        if envelopes.count == 1 { context.spanContext = SpanContext(traceparent: first.traceparent) }
        let span = startSpan(first.name, context: context, ofKind: .consumer)
        guard span.isRecording else { return span }
        span.updateAttributes { attributes in
            attributes["messaging.system"] = "guanxi"
            attributes["messaging.operation.name"] = "process"
            attributes["messaging.operation.type"] = "process"
            attributes["messaging.destination.name"] = queue
            attributes["guanxi.tenant"] = first.tenant.rawValue
            if envelopes.count == 1 {
                attributes["messaging.message.id"] = first.id.lowercased
                attributes["guanxi.job.attempts"] = Int64(first.attempts)
                // A later try waited on purpose.
                let waited = Date().timeIntervalSince(first.id.v7Time)
                if first.attempts == 0 { attributes["guanxi.job.wait_seconds"] = max(0, waited) }
            } else {
                attributes["messaging.batch.message_count"] = Int64(envelopes.count)
            }
        }
        if envelopes.count > 1 {
            for envelope in envelopes {
                guard let cause = SpanContext(traceparent: envelope.traceparent) else { continue }
                var context = InstrumentationContext.topLevel
                context.spanContext = cause
                span.addLink(SpanLink(context: context, attributes: [:]))
            }
        }
        return span
    }
}

extension TraceSpan {
    /// Ends a run's span with what became of it.
    func end(_ outcome: RedisQueue.Outcome) {
        let (word, isFailure) =
            switch outcome {
            case .done: ("done", false)
            case .again, .putOff: ("again", true)
            case .dead: ("dead", true)
            case .handedBack: ("handed_back", false)
            }
        if isRecording {
            updateAttributes { $0["guanxi.job.outcome"] = word }
            if isFailure { setStatus(SpanStatus(code: .error)) }
        }
        end()
    }
}

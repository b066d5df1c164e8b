import Tracing

/// Makes spans and carries their ids between services; give it to `InstrumentationSystem.bootstrap` once.
///
/// Spans whose trace is recorded go to the exporter when they end. The others record nothing, but their ids are passed
/// on all the same, so that logs and other services still agree on the trace.
package struct SpanTracer: Tracer {
    /// What it makes.
    package typealias Span = TraceSpan

    private let sampling: SpanSampling
    private let queue: SpanQueue?

    /// Hands ended spans to `exporter`, which must be run as a service or they end up nowhere.
    package init(exporter: SpanExporter) {
        self.init(ratio: exporter.settings.sampleRatio, queue: exporter.queue)
    }

    private init(ratio: Double, queue: SpanQueue?) {
        sampling = SpanSampling(ratio: ratio)
        self.queue = queue
    }

    /// For where there is no collector: passes ids and the decisions of others on, and records nothing.
    package static func propagatingOnly() -> SpanTracer { SpanTracer(ratio: 0, queue: nil) }

    /// Begins a span under the span of `context`, or a new trace where there is none. It must be ended, or nobody ever
    /// hears of it; `withSpan` does that by itself.
    package func startSpan<Instant: TracerInstant>(
        _ operationName: String, context: @autoclosure () -> InstrumentationContext, ofKind kind: SpanKind,
        at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
    ) -> TraceSpan {
        var context = context()
        let parent = context.spanContext
        let trace = parent?.traceID ?? .random()
        let own = SpanContext(
            traceID: trace, spanID: .random(), isSampled: parent?.isSampled ?? sampling.records(trace))
        context.spanContext = own
        guard own.isSampled, let queue else { return TraceSpan(context: context, recording: nil) }
        let recording = SpanRecording(
            own, parent: parent, kind: kind, name: operationName, start: instant().nanosecondsSinceEpoch, queue: queue)
        return TraceSpan(context: context, recording: recording)
    }

    /// Does nothing: the exporter sends what has ended within a second, and at shutdown.
    package func forceFlush() {}

    // MARK: Instrument

    /// Takes the caller's span from the header field `traceparent`; without a good one, the context stays as it is.
    package func extract<Carrier, Extract: Extractor>(
        _ carrier: Carrier, into context: inout InstrumentationContext, using extractor: Extract
    ) where Extract.Carrier == Carrier {
        guard let text = extractor.extract(key: "traceparent", from: carrier) else { return }
        if let remote = SpanContext(traceparent: text) { context.spanContext = remote }
    }

    /// Puts the context's span into the header field `traceparent`, so that whoever is called continues its trace.
    package func inject<Carrier, Inject: Injector>(
        _ context: InstrumentationContext, into carrier: inout Carrier, using injector: Inject
    ) where Inject.Carrier == Carrier {
        guard let span = context.spanContext else { return }
        injector.inject(span.traceparent, forKey: "traceparent", into: &carrier)
    }
}

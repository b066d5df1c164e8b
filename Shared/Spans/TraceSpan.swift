import Tracing

/// A piece of work of a trace. Copies are the same span; after its end nothing about it changes any more.
package struct TraceSpan: Tracing.Span {
    /// The context for work that belongs to this span: it carries the span's ids.
    package let context: InstrumentationContext
    /// Nil for spans of traces that are not recorded.
    private let recording: SpanRecording?

    init(context: InstrumentationContext, recording: SpanRecording?) {
        self.context = context
        self.recording = recording
    }

    /// True from the start to the end of a span whose trace is recorded. Spare costly attributes where it is false.
    package var isRecording: Bool { recording?.isOpen ?? false }

    /// The name; empty where nothing is recorded.
    package var operationName: String {
        get { recording?.name ?? "" }
        nonmutating set { recording?.name = newValue }
    }

    /// The attributes; empty where nothing is recorded. Those beyond `SpanLimits.attributes` are dropped and counted.
    package var attributes: SpanAttributes {
        get { recording?.attributes ?? [:] }
        nonmutating set { recording?.attributes = newValue }
    }

    /// Success, once set, stays; a failure without a message leaves the message of the one before.
    package func setStatus(_ status: SpanStatus) { recording?.set(status) }

    /// Notes that something happened. Events beyond `SpanLimits.events` are dropped and counted.
    package func addEvent(_ event: SpanEvent) { recording?.add(event) }

    /// Notes `error` as an event with its type and description, which must not hold what collectors may not see. The
    /// span isn't a failure for it: that is for `setStatus` to say.
    package func recordError<Instant: TracerInstant>(
        _ error: any Error, attributes: SpanAttributes, at instant: @autoclosure () -> Instant
    ) {
        guard let recording, recording.isOpen else { return }
        var all: SpanAttributes = [
            "exception.type": .string(Self.name(of: type(of: error))), "exception.message": .string("\(error)"),
        ]
        all.merge(attributes)
        recording.add(SpanEvent(name: "exception", at: instant(), attributes: all))
    }

    /// Notes that the span has to do with another, such as the one that caused it from another trace. Links beyond
    /// `SpanLimits.links`, and those to contexts without a span, are dropped and counted.
    package func addLink(_ link: SpanLink) { recording?.add(link) }

    /// Ends the span and hands it to the exporter, without waiting. Harmless the second time.
    package func end<Instant: TracerInstant>(at instant: @autoclosure () -> Instant) {
        recording?.end(at: instant().nanosecondsSinceEpoch)
    }

    /// A private type's full name holds an address, which would make another type of it in every build.
    private static func name(of type: Any.Type) -> String {
        let full = String(reflecting: type)
        return full.contains("(unknown context") ? String(describing: type) : full
    }
}

import Tracing

/// A span as it goes to the collector, within the limits.
struct EndedSpan: Sendable {
    /// Something that happened at a time, nanoseconds since 1970.
    struct Event: Sendable {
        var name: String
        var time: UInt64
        var attributes: BoundedAttributes
    }

    /// Another span that this one has to do with.
    struct Link: Sendable {
        var target: SpanContext
        var attributes: BoundedAttributes
    }

    var context: SpanContext
    var parent: SpanContext?
    var kind: SpanKind
    var name: String
    /// Nanoseconds since 1970, like the end.
    var start: UInt64
    var end: UInt64
    var attributes: BoundedAttributes
    var events: [Event]
    var droppedEvents: Int
    var links: [Link]
    var droppedLinks: Int
    /// Nil when nobody has said how it went.
    var status: SpanStatus?
}

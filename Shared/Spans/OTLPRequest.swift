import Tracing

/// Writes the body of requests for spans: OTLP in JSON, straight into bytes.
///
/// Field names and rules: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
struct OTLPRequest {
    /// Bytes after which no further span is added: collectors take 20 MB by default, proxies before them often less.
    private static let limit = 4_000_000
    private let prefix: JSONBytes

    /// - Parameter resource: what sends the spans, the same for all.
    init(resource: BoundedAttributes) {
        var json = JSONBytes()
        json.raw(#"{"resourceSpans":[{"resource":{"#)
        json.attributes(resource, isFirst: true)
        json.raw(#"},"scopeSpans":[{"scope":{"name":"guanxi"},"spans":["#)
        prefix = json
    }

    /// The body for as many of `spans` as one request should hold, at least one, and how many those are.
    func body(of spans: ArraySlice<EndedSpan>) -> (bytes: [UInt8], count: Int) {
        var json = prefix
        var count = 0
        for span in spans {
            if count > 0 { json.raw(",") }
            json.span(span)
            count += 1
            if json.bytes.count >= Self.limit { break }
        }
        json.raw("]}]}]}")
        return (json.bytes, count)
    }
}

extension JSONBytes {
    fileprivate mutating func span(_ span: EndedSpan) {
        ids(span.context)
        if let parent = span.parent {
            raw(#","parentSpanId":""#)
            Hex.append(parent.spanID.bits, to: &bytes)
            raw("\"")
        }
        // Beside W3C's flags, whether the parent runs in another process: that much is known.
        raw(#","flags":"#)
        number((span.context.isSampled ? 1 : 0) | 0x100 | (span.parent?.isRemote == true ? 0x200 : 0))
        field("name", text: span.name)
        raw(#","kind":"#)
        number(span.kind.number)
        field("startTimeUnixNano", quoted: span.start)
        field("endTimeUnixNano", quoted: span.end)
        attributes(span.attributes)
        list("events", span.events) { $0.event($1) }
        dropped("droppedEventsCount", span.droppedEvents)
        list("links", span.links) { $0.link($1) }
        dropped("droppedLinksCount", span.droppedLinks)
        if let status = span.status { self.status(status) }
        raw("}")
    }

    /// Begins an object with the ids of a span.
    private mutating func ids(_ context: SpanContext) {
        raw(#"{"traceId":""#)
        Hex.append(context.traceID.high, to: &bytes)
        Hex.append(context.traceID.low, to: &bytes)
        raw(#"","spanId":""#)
        Hex.append(context.spanID.bits, to: &bytes)
        raw("\"")
    }

    private mutating func event(_ event: EndedSpan.Event) {
        raw(#"{"timeUnixNano":""#)
        number(event.time)
        raw("\"")
        field("name", text: event.name)
        attributes(event.attributes)
        raw("}")
    }

    private mutating func link(_ link: EndedSpan.Link) {
        ids(link.target)
        raw(#","flags":"#)
        number((link.target.isSampled ? 1 : 0) | 0x100 | (link.target.isRemote ? 0x200 : 0))
        attributes(link.attributes)
        raw("}")
    }

    private mutating func status(_ status: SpanStatus) {
        raw(#","status":{"code":"#)
        number(status.code == .ok ? 1 : 2)
        if let message = status.message { field("message", text: message) }
        raw("}")
    }

    // MARK: Attributes

    /// The field `attributes` and the count of those dropped. The first field of an object has no comma before it.
    fileprivate mutating func attributes(_ attributes: BoundedAttributes, isFirst: Bool = false) {
        if !attributes.values.isEmpty || isFirst {
            raw(isFirst ? #""attributes":["# : #","attributes":["#)
            var isNext = false
            attributes.values.forEach { key, value in
                raw(isNext ? #",{"key":"# : #"{"key":"#)
                text(key)
                raw(#","value":"#)
                self.value(value)
                raw("}")
                isNext = true
            }
            raw("]")
        }
        dropped("droppedAttributesCount", attributes.dropped)
    }

    private mutating func value(_ value: SpanAttribute) {
        switch value {
        case .string(let value): string(value)
        case .bool(let value): bool(value)
        case .double(let value): double(value)
        case .int64(let value): int(value)
        case .int32(let value): int(Int64(value))
        case .stringArray(let values): array(values) { $0.string($1) }
        case .boolArray(let values): array(values) { $0.bool($1) }
        case .doubleArray(let values): array(values) { $0.double($1) }
        case .int64Array(let values): array(values) { $0.int($1) }
        case .int32Array(let values): array(values) { $0.int(Int64($1)) }
        // There is nothing else after the limits were applied, unless the library gets a new kind: no value then.
        default: raw("{}")
        }
    }

    private mutating func string(_ value: String) {
        raw(#"{"stringValue":"#)
        text(value)
        raw("}")
    }

    private mutating func bool(_ value: Bool) { raw(value ? #"{"boolValue":true}"# : #"{"boolValue":false}"#) }

    private mutating func int(_ value: Int64) {
        raw(#"{"intValue":""#)
        number(value)
        raw(#""}"#)
    }

    private mutating func double(_ value: Double) {
        raw(#"{"doubleValue":"#)
        number(value)
        raw("}")
    }

    private mutating func array<Element>(_ values: [Element], write: (inout JSONBytes, Element) -> Void) {
        raw(#"{"arrayValue":{"values":["#)
        elements(values, write)
        raw("]}}")
    }
}

extension SpanKind {
    /// OTLP's number; 0 would mean that nobody knows.
    fileprivate var number: Int {
        switch self {
        case .internal: 1
        case .server: 2
        case .client: 3
        case .producer: 4
        case .consumer: 5
        }
    }
}

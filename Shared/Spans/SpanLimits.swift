import Tracing

/// How much a span may hold: a loop that adds to one must not fill our memory, or the collector's.
package enum SpanLimits {
    /// Attributes of a span, and of each event and link.
    package static let attributes = 128
    /// Events of a span.
    package static let events = 128
    /// Links of a span.
    package static let links = 32
    /// UTF-8 bytes of a name, a key, a message or a string in an attribute; what is longer is cut.
    package static let text = 4_096

    /// The beginning of `text` that is within the limit, in whole characters.
    static func cut(_ text: String) -> String {
        guard text.utf8.count > Self.text else { return text }
        var end = text.utf8.index(text.startIndex, offsetBy: Self.text)
        while end.samePosition(in: text.unicodeScalars) == nil { end = text.utf8.index(before: end) }
        // A family of emoji is several code points. But text can be all one character, of endless accents: half of
        // that is better than nothing.
        var whole = end
        for _ in 0..<32 where whole > text.startIndex {
            if whole.samePosition(in: text) != nil { return String(text[..<whole]) }
            whole = text.unicodeScalars.index(before: whole)
        }
        return String(text.unicodeScalars[..<end])
    }
}

/// Attributes within the limits, and how many were left out for it.
struct BoundedAttributes: Sendable {
    private(set) var values: SpanAttributes
    var dropped = 0

    init(_ attributes: SpanAttributes) {
        values = attributes
        if !Self.isWithinLimits(attributes) { (values, dropped) = Self.bounded(attributes) }
    }

    /// Almost always true, and then nothing is copied.
    private static func isWithinLimits(_ attributes: SpanAttributes) -> Bool {
        var isWithin = attributes.count <= SpanLimits.attributes
        attributes.forEach { key, value in
            if key.isEmpty || key.utf8.count > SpanLimits.text { isWithin = false }
            switch value {
            case .string(let text): if text.utf8.count > SpanLimits.text { isWithin = false }
            case .stringArray(let texts):
                if texts.contains(where: { $0.utf8.count > SpanLimits.text }) { isWithin = false }
            case .stringConvertible, .stringConvertibleArray: isWithin = false
            default: break
            }
        }
        return isWithin
    }

    private static func bounded(_ attributes: SpanAttributes) -> (SpanAttributes, dropped: Int) {
        var kept = SpanAttributes()
        attributes.forEach { key, value in
            // OpenTelemetry allows no empty keys, and collectors differ in what they make of them.
            if kept.count < SpanLimits.attributes, !key.isEmpty { kept.set(SpanLimits.cut(key), value: bounded(value)) }
        }
        return (kept, attributes.count - kept.count)
    }

    /// Values with a description become texts here, while what they describe is still what it was.
    private static func bounded(_ value: SpanAttribute) -> SpanAttribute {
        switch value {
        case .string(let text): .string(SpanLimits.cut(text))
        case .stringArray(let texts): .stringArray(texts.map(SpanLimits.cut))
        case .stringConvertible(let value): .string(SpanLimits.cut(value.description))
        case .stringConvertibleArray(let values): .stringArray(values.map { SpanLimits.cut($0.description) })
        default: value
        }
    }
}

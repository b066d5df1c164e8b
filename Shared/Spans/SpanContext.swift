import Entropy
import Tracing

/// What other services know a span by: they put its ids into their own spans, and all together make one trace.
package struct SpanContext: Sendable, Hashable {
    /// The trace that the span belongs to.
    package let traceID: TraceID
    /// The span itself.
    package let spanID: SpanID
    /// The trace is being recorded. Whoever continues it does as its parent did, or there would be holes in it.
    package let isSampled: Bool
    /// The span runs in another process: the ids came with a request.
    package let isRemote: Bool

    /// A span of this process, unless told otherwise.
    package init(traceID: TraceID, spanID: SpanID, isSampled: Bool, isRemote: Bool = false) {
        self.traceID = traceID
        self.spanID = spanID
        self.isSampled = isSampled
        self.isRemote = isRemote
    }
}

/// The 16 bytes that all spans of a trace share; never all zero, which means no trace to everybody who reads it.
package struct TraceID: Sendable, Hashable, CustomStringConvertible {
    /// The first eight bytes.
    package let high: UInt64
    /// The last eight, which also decide whether a new trace is recorded.
    package let low: UInt64

    /// Nil when all bits are zero.
    package init?(high: UInt64, low: UInt64) {
        if high == 0 && low == 0 { return nil }
        (self.high, self.low) = (high, low)
    }

    /// A new one, at random.
    package static func random() -> TraceID {
        while true {
            if let id = TraceID(high: RandomBits.word(), low: RandomBits.word()) { return id }
        }
    }

    /// 32 lower-case hexadecimal digits.
    package var description: String {
        String(unsafeUninitializedCapacity: 32) { digits in
            Hex.write(high, to: digits, at: 0)
            Hex.write(low, to: digits, at: 16)
            return 32
        }
    }
}

/// The eight bytes of one span; never all zero.
package struct SpanID: Sendable, Hashable, CustomStringConvertible {
    /// All eight bytes, the first as the highest.
    package let bits: UInt64

    /// Nil when all bits are zero.
    package init?(bits: UInt64) {
        if bits == 0 { return nil }
        self.bits = bits
    }

    /// A new one, at random.
    package static func random() -> SpanID {
        while true {
            if let id = SpanID(bits: RandomBits.word()) { return id }
        }
    }

    /// 16 lower-case hexadecimal digits.
    package var description: String {
        String(unsafeUninitializedCapacity: 16) { digits in
            Hex.write(bits, to: digits, at: 0)
            return 16
        }
    }
}

extension InstrumentationContext {
    private enum Key: InstrumentationContextKey {
        typealias Value = SpanContext
        static var nameOverride: String? { "span" }
    }

    /// The span that work in this context belongs to: spans begun there become its children, and requests sent from
    /// there carry its ids. Nil where no trace has begun.
    package var spanContext: SpanContext? {
        get { self[Key.self] }
        set { self[Key.self] = newValue }
    }
}

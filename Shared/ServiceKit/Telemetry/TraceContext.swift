import Database
import Foundation
import Tenancy

/// A W3C `traceparent`: the trace a request belongs to, and the span that continues it.
package struct TraceContext: Sendable, Equatable {
    package let traceID: String
    package let spanID: String
    package let flags: String

    /// Reads a header of version 00; nil when malformed, and then a fresh trace begins.
    package init?(header: String) {
        let parts = header.split(separator: "-", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 4, parts[0] == "00", Self.isHex(parts[1], 32), Self.isHex(parts[2], 16),
            Self.isHex(parts[3], 2), parts[1].contains(where: { $0 != "0" }), parts[2].contains(where: { $0 != "0" })
        else { return nil }
        (traceID, spanID, flags) = (parts[1], parts[2], parts[3])
    }

    private init(traceID: String, spanID: String, flags: String) {
        (self.traceID, self.spanID, self.flags) = (traceID, spanID, flags)
    }

    /// A new trace.
    package static func fresh() -> TraceContext {
        TraceContext(traceID: hex(16), spanID: hex(8), flags: "01")
    }

    /// The next span of the same trace.
    package func child() -> TraceContext { TraceContext(traceID: traceID, spanID: Self.hex(8), flags: flags) }

    package var header: String { "00-\(traceID)-\(spanID)-\(flags)" }

    private static func isHex(_ text: String, _ count: Int) -> Bool {
        text.utf8.count == count && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    }

    /// `count` random bytes, not all zero, in hexadecimal digits.
    private static func hex(_ count: Int) -> String {
        let random = RandomBits.pair()
        return String(unsafeUninitializedCapacity: count * 2) { digits in
            for part in 0..<count / 8 {
                var bits = (part == 0 ? random.0 : random.1) | 1
                for place in 0..<16 {
                    let digit = UInt8(bits & 15)
                    digits[part * 16 + place] = digit < 10 ? 48 + digit : 87 + digit
                    bits >>= 4
                }
            }
            return count * 2
        }
    }
}

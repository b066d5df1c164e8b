#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The header field `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
enum RetryAfter {
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// How long to wait from `now` (Unix seconds); zero for a date in the past, nil for what can't be read.
    static func pause(_ text: String, now: Int) -> Duration? {
        if !text.isEmpty && text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            // More digits than fit are just a very long time.
            return .seconds(Int32(text) ?? Int32.max)
        }
        return date(text).map { .seconds(max(0, $0 - now)) }
    }

    /// Unix seconds of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`. The two older forms haven't been sent in decades.
    private static func date(_ text: String) -> Int? {
        let words = text.split { $0 == " " || $0 == ":" }
        guard words.count == 8, words[7] == "GMT", let day = number(words[1], 1...31),
            let month = months.firstIndex(of: String(words[2])), let year = number(words[3], 1970...9999),
            let hour = number(words[4], 0...23), let minute = number(words[5], 0...59),
            let second = number(words[6], 0...60)
        else { return nil }
        var parts = tm()
        (parts.tm_year, parts.tm_mon, parts.tm_mday) = (year - 1900, Int32(month), day)
        (parts.tm_hour, parts.tm_min, parts.tm_sec) = (hour, minute, second)
        return timegm(&parts)
    }

    private static func number(_ text: Substring, _ range: ClosedRange<Int32>) -> Int32? {
        Int32(text).flatMap { range.contains($0) ? $0 : nil }
    }
}

/// Control characters, of which a card's text may hold the tab, and the line feed as `\n` (RFC 6350 §3.3, §3.4).
enum ControlCharacters {
    @inline(__always)
    static func isControl(_ byte: UInt8) -> Bool { (byte < 32 && byte != 9) || byte == 127 }

    /// Looks at every byte, which is faster than to stop at the first one: there hardly ever is one.
    static func isFound(in bytes: [UInt8]) -> Bool {
        var found: UInt8 = 0
        for byte in bytes { found |= isControl(byte) ? 1 : 0 }
        return found != 0
    }

    /// Drops them; CR LF and a lone CR become LF.
    static func removed(from bytes: some Collection<UInt8>) -> [UInt8] {
        var kept: [UInt8] = []
        kept.reserveCapacity(bytes.count)
        var previous: UInt8 = 0
        for byte in bytes {
            if byte == 13 || (byte == 10 && previous != 13) {
                kept.append(10)
            } else if !isControl(byte) {
                kept.append(byte)
            }
            previous = byte
        }
        return kept
    }
}

extension String {
    var withoutControls: String {
        guard utf8.contains(where: { ControlCharacters.isControl($0) && $0 != 10 }) else { return self }
        return String(decoding: ControlCharacters.removed(from: Array(utf8)), as: UTF8.self)
    }

    /// Without white space around it.
    var trimmed: String {
        guard let first = unicodeScalars.first, let last = unicodeScalars.last,
            first.properties.isWhitespace || last.properties.isWhitespace
        else { return self }
        let start = unicodeScalars.drop { $0.properties.isWhitespace }
        let end = start.reversed().drop { $0.properties.isWhitespace }
        return String(String.UnicodeScalarView(end.reversed()))
    }
}

/// JSON under way, as bytes.
struct JSONBytes {
    var bytes: [UInt8] = []

    /// Appends text that is JSON already.
    mutating func raw(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Appends a whole number, bare.
    mutating func number(_ value: some FixedWidthInteger) { bytes.append(contentsOf: String(value).utf8) }

    /// Appends a number, bare, or the text that proto3's JSON has for those that JSON lacks.
    mutating func number(_ value: Double) {
        if value.isNaN { return raw(#""NaN""#) }
        if value.isInfinite { return value < 0 ? raw(#""-Infinity""#) : raw(#""Infinity""#) }
        bytes.append(contentsOf: value.description.utf8)
    }

    /// Appends a string in quotes.
    mutating func text(_ text: String) {
        bytes.append(0x22)
        var text = text
        text.withUTF8 { utf8 in
            // What needs no escape, which is nearly all, goes over in pieces.
            var start = 0
            for (index, byte) in utf8.enumerated() where byte < 0x20 || byte == 0x22 || byte == 0x5c {
                bytes.append(contentsOf: utf8[start..<index])
                escape(byte)
                start = index + 1
            }
            bytes.append(contentsOf: utf8[start...])
        }
        bytes.append(0x22)
    }

    private mutating func escape(_ byte: UInt8) {
        switch byte {
        case 0x22: raw(#"\""#)
        case 0x5c: raw(#"\\"#)
        case 0x0a: raw(#"\n"#)
        case 0x0d: raw(#"\r"#)
        case 0x09: raw(#"\t"#)
        default:
            raw(#"\u00"#)
            bytes.append(Hex.digit(byte >> 4))
            bytes.append(Hex.digit(byte & 15))
        }
    }

    // MARK: Fields after others

    mutating func field(_ name: StaticString, text value: String) {
        key(name)
        text(value)
    }

    /// 64-bit numbers are written as texts: many readers of JSON have only doubles.
    mutating func field(_ name: StaticString, quoted value: UInt64) {
        key(name)
        bytes.append(0x22)
        number(value)
        bytes.append(0x22)
    }

    /// Left out when nothing was dropped. 32 bits wide.
    mutating func dropped(_ name: StaticString, _ count: Int) {
        if count == 0 { return }
        key(name)
        number(UInt32(clamping: count))
    }

    /// Left out when empty.
    mutating func list<Element>(
        _ name: StaticString, _ values: [Element], write: (inout JSONBytes, Element) -> Void
    ) {
        if values.isEmpty { return }
        key(name)
        bytes.append(0x5b)
        elements(values, write)
        bytes.append(0x5d)
    }

    mutating func elements<Element>(_ values: [Element], _ write: (inout JSONBytes, Element) -> Void) {
        for (index, value) in values.enumerated() {
            if index > 0 { bytes.append(0x2c) }
            write(&self, value)
        }
    }

    private mutating func key(_ name: StaticString) {
        raw(#",""#)
        raw(name)
        raw(#"":"#)
    }
}

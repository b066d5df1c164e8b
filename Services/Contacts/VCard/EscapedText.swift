/// Text as it stands in a card, with its backslashes (RFC 6350 §3.4, RFC 2426 §4).
struct EscapedText {
    let bytes: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    /// The parts between separators that no backslash escapes, unescaped by `read`. Each costs one of `budget`.
    func split<Part>(
        _ separator: UInt8, budget: inout Int, read: (EscapedText, inout Int) throws(VCardError.Code) -> Part
    ) throws(VCardError.Code) -> [Part] {
        var parts: [Part] = []
        var start = bytes.startIndex
        while let end = end(of: separator, from: start) {
            budget -= 1
            if budget < 0 { throw .cardTooLarge }
            parts.append(try read(EscapedText(bytes[start..<end]), &budget))
            start = end + 1
        }
        parts.append(try read(EscapedText(bytes[start...]), &budget))
        return parts
    }

    private func end(of separator: UInt8, from start: Int) -> Int? {
        var index = start
        while index < bytes.endIndex {
            if bytes[index] == UInt8(ascii: "\\") {
                index += 1
            } else if bytes[index] == separator {
                return index
            }
            index += 1
        }
        return nil
    }

    /// Unescaped; nil when it is not UTF-8. A backslash before anything else is itself: `C:\data` comes from programs
    /// that don't escape.
    var text: String? {
        guard bytes.contains(UInt8(ascii: "\\")) else { return String(utf8: bytes) }
        var plain: [UInt8] = []
        plain.reserveCapacity(bytes.count)
        var index = bytes.startIndex
        while index < bytes.endIndex {
            let byte = bytes[index]
            index += 1
            guard byte == UInt8(ascii: "\\"), index < bytes.endIndex else {
                plain.append(byte)
                continue
            }
            switch bytes[index] {
            case UInt8(ascii: "n"), UInt8(ascii: "N"): plain.append(10)
            // Apple's 3.0 escapes the colon of `http\://` too.
            case UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "\\"), UInt8(ascii: ":"): plain.append(bytes[index])
            default:
                plain.append(byte)
                plain.append(bytes[index])
            }
            index += 1
        }
        return String(utf8: plain[...])
    }
}

extension EscapedText {
    /// What is escaped: in an address only what reading would change, in text also the separators.
    enum Strictness { case text, uri }

    static func escaping(_ text: String, _ strictness: Strictness) -> String {
        var bytes: [UInt8] = []
        append(text, strictness, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    static func append(_ text: String, _ strictness: Strictness, to bytes: inout [UInt8]) {
        for byte in text.utf8 {
            switch byte {
            case 10:
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(UInt8(ascii: "n"))
            case UInt8(ascii: "\\"):
                bytes.append(byte)
                bytes.append(byte)
            case UInt8(ascii: ","), UInt8(ascii: ";"):
                if strictness == .text { bytes.append(UInt8(ascii: "\\")) }
                bytes.append(byte)
            default: bytes.append(byte)
            }
        }
    }
}

extension String {
    /// nil when the bytes are not UTF-8. Decoding and comparing is several times faster than `String(validating:)`,
    /// which the compiler does not specialise.
    init?(utf8 bytes: ArraySlice<UInt8>) {
        var highest: UInt8 = 0
        for byte in bytes { highest |= byte }
        self.init(decoding: bytes, as: UTF8.self)
        // Only what was repaired differs.
        if highest < 128 { return }
        guard utf8.count == bytes.count, utf8.elementsEqual(bytes) else { return nil }
    }
}

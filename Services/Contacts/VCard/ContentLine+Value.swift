extension ContentLine {
    /// Whether the value is a picture or other data within the card, which is not kept.
    var isInlineData: Bool {
        if encoding == .base64 { return true }
        guard ValueKind.isMedia(name) else { return false }
        // What is no link is data, however the card says so: `data:`, VALUE=binary, VALUE=text.
        let scheme = value.prefix(32).prefix { $0 != UInt8(ascii: ":") }
        return scheme.endIndex == value.endIndex || scheme.count == 32 || scheme.map(Token.upper) == Array("DATA".utf8)
    }

    /// The property that the line says. Each of its values costs one of `budget`.
    func property(budget: inout Int) throws(VCardError.Code) -> VCard.Property {
        let text = EscapedText(try decoded())
        return VCard.Property(
            readName: name, group: group, parameters: parameters,
            value: try Self.read(text, ValueKind(of: name), &budget))
    }

    private static func read(
        _ text: EscapedText, _ kind: ValueKind, _ budget: inout Int
    ) throws(VCardError.Code) -> VCard.Value {
        budget -= 1
        if budget < 0 { throw .cardTooLarge }
        switch kind {
        case .text, .uri: return .text(try plain(text))
        case .raw: return .raw(try raw(text))
        case .list: return .list(try list(text, &budget))
        case .structured(let hasLists):
            return .structured(
                try text.split(UInt8(ascii: ";"), budget: &budget) { (part, budget) throws(VCardError.Code) in
                    if part.bytes.isEmpty { return [] }
                    return hasLists ? try list(part, &budget) : [try plain(part)]
                })
        }
    }

    private static func list(_ text: EscapedText, _ budget: inout Int) throws(VCardError.Code) -> [String] {
        if text.bytes.isEmpty { return [] }
        return try text.split(UInt8(ascii: ","), budget: &budget) { (part, _) throws(VCardError.Code) in
            try plain(part)
        }
    }

    private static func plain(_ text: EscapedText) throws(VCardError.Code) -> String {
        guard let plain = text.text else { throw .wrongEncoding }
        return plain
    }

    private static func raw(_ text: EscapedText) throws(VCardError.Code) -> String {
        guard let raw = String(utf8: text.bytes) else { throw .wrongEncoding }
        // Only QUOTED-PRINTABLE brings a line feed here; escaped it can stand in a line again.
        return raw.utf8.contains(10) ? raw.replacing("\n", with: "\\n") : raw
    }

    /// The value in UTF-8, which is not checked yet, without transfer encoding and control characters.
    private func decoded() throws(VCardError.Code) -> ArraySlice<UInt8> {
        var bytes = value
        if encoding == .quotedPrintable {
            bytes = ControlCharacters.removed(from: QuotedPrintable.decode(bytes))[...]
        }
        switch charset {
        case nil, "UTF-8", "UTF8", "US-ASCII", "ASCII": return bytes
        case "ISO-8859-1", "ISO8859-1", "ISO_8859-1", "LATIN1", "LATIN-1": return Self.utf8(latin1: bytes)
        case let charset?:
            // Most encodings hold ASCII as it is, and many programs name them on every line.
            let holdsASCII = ["GB", "BIG5", "WINDOWS-", "CP125", "ISO-8859-", "EUC-"].contains { charset.hasPrefix($0) }
            guard holdsASCII, bytes.allSatisfy({ $0 < 128 }) else { throw .unsupportedCharset }
            return bytes
        }
    }

    private static func utf8(latin1 bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var text: [UInt8] = []
        for byte in bytes { text += byte < 128 ? [byte] : [0xc0 | byte >> 6, 0x80 | byte & 0x3f] }
        return text[...]
    }
}

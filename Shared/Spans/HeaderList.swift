extension SpanExporter.Settings {
    /// Reads what `OTEL_EXPORTER_OTLP_HEADERS` holds: `name=value` pairs between commas, both percent-encoded, spaces
    /// around them ignored. The empty text gives none.
    ///
    /// - Throws: which pair can't be read, by its number; never its value, which may be secret.
    package static func headers(from text: String) throws(SpanExporter.SettingsError) -> [(String, String)] {
        var headers: [(String, String)] = []
        for (number, pair) in text.split(separator: ",", omittingEmptySubsequences: false).enumerated() {
            let pair = trimmed(pair)
            if pair.isEmpty { continue }
            guard let equals = pair.firstIndex(of: "=") else {
                throw unreadable(number, "has no \"=\"")
            }
            guard let name = decoded(trimmed(pair[..<equals])),
                let value = decoded(trimmed(pair[pair.index(after: equals)...]))
            else { throw unreadable(number, "has a bad percent sign") }
            if name.isEmpty { throw unreadable(number, "has no name") }
            headers.append((name, value))
        }
        return headers
    }

    private static func unreadable(_ number: Int, _ reason: String) -> SpanExporter.SettingsError {
        SpanExporter.SettingsError(setting: "headers", reason: "header \(number + 1) \(reason)")
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }

    /// Nil for percent signs without two digits after them, and for bytes that are no UTF-8.
    private static func decoded(_ text: Substring) -> String? {
        guard text.utf8.contains(0x25) else { return String(text) }
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == 0x25 else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit)
            else { return nil }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}

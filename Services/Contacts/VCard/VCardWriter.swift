/// Writes cards as vCard 4.0 (RFC 6350) or 3.0 (RFC 2426): CRLF, lines of at most 75 octets, and nothing that depends on
/// anything but the card.
///
/// Reading what was written gives `card.adapted(to: version)`. The reader's bounds are not enforced: a card that
/// exceeds them is written, and refused when it is read.
package struct VCardWriter: Sendable {
    package let version: VCard.Version

    /// A writer of 4.0, or of 3.0 for programs that don't know it yet; 2.1 is written as 3.0.
    package init(version: VCard.Version = .v40) { self.version = version }

    /// The card in the writer's version, from BEGIN to END.
    package func bytes(_ card: VCard) -> [UInt8] {
        var bytes: [UInt8] = []
        append(card, to: &bytes)
        return bytes
    }

    /// Writes the card behind what is there already: cards simply follow one another (RFC 6350 §3.3).
    package func append(_ card: VCard, to bytes: inout [UInt8]) {
        let card = card.adapted(to: version)
        bytes += "BEGIN:VCARD\r\nVERSION:\(card.version?.rawValue ?? version.rawValue)\r\n".utf8
        var line: [UInt8] = []
        for property in card.properties {
            line.removeAll(keepingCapacity: true)
            Self.append(property, to: &line)
            Self.fold(line, into: &bytes)
        }
        bytes += "END:VCARD\r\n".utf8
    }

    private static func append(_ property: VCard.Property, to line: inout [UInt8]) {
        if let group = property.group {
            line += group.utf8
            line.append(UInt8(ascii: "."))
        }
        line += property.name.utf8
        for parameter in property.parameters {
            line.append(UInt8(ascii: ";"))
            line += parameter.name.utf8
            for (index, value) in parameter.values.enumerated() {
                line.append(index == 0 ? UInt8(ascii: "=") : UInt8(ascii: ","))
                append(parameterValue: value, to: &line)
            }
        }
        line.append(UInt8(ascii: ":"))
        append(property.value, property.strictness, to: &line)
    }

    /// RFC 6350 §5 with the escapes of RFC 6868, without which a quote could not be written.
    private static func append(parameterValue value: String, to line: inout [UInt8]) {
        let isQuoted = value.utf8.contains {
            $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: ";") || $0 == UInt8(ascii: ":")
        }
        if isQuoted { line.append(UInt8(ascii: "\"")) }
        for byte in value.utf8 {
            switch byte {
            case 10: line += "^n".utf8
            case UInt8(ascii: "\""): line += "^'".utf8
            case UInt8(ascii: "^"): line += "^^".utf8
            default: line.append(byte)
            }
        }
        if isQuoted { line.append(UInt8(ascii: "\"")) }
    }

    private static func append(_ value: VCard.Value, _ strictness: EscapedText.Strictness, to line: inout [UInt8]) {
        switch value {
        case .text(let text): EscapedText.append(text, strictness, to: &line)
        case .raw(let raw): line += raw.utf8
        case .list(let values): append(values, to: &line)
        case .structured(let components):
            for (index, component) in components.enumerated() {
                if index > 0 { line.append(UInt8(ascii: ";")) }
                append(component, to: &line)
            }
        }
    }

    private static func append(_ values: [String], to line: inout [UInt8]) {
        for (index, value) in values.enumerated() {
            if index > 0 { line.append(UInt8(ascii: ",")) }
            EscapedText.append(value, .text, to: &line)
        }
    }

    /// At most 75 octets a line, never broken within a UTF-8 sequence (RFC 6350 §3.2).
    private static func fold(_ line: [UInt8], into bytes: inout [UInt8]) {
        var rest = line[...]
        var room = 75
        while rest.count > room {
            var cut = rest.startIndex + room
            while rest[cut] & 0xc0 == 0x80 { cut -= 1 }
            bytes += rest[..<cut]
            bytes += lineFold
            rest = rest[cut...]
            // The space counts.
            room = 74
        }
        bytes += rest
        bytes += lineFold.prefix(2)
    }

    private static let lineFold = Array("\r\n ".utf8)
}

extension VCard.Property {
    /// A telephone number is text, unless the card says that it is an address (`tel:…;ext=1`).
    fileprivate var strictness: EscapedText.Strictness {
        switch parameter("VALUE").first?.lowercased() {
        case "uri": .uri
        case "text": .text
        default: ValueKind(of: name) == .uri ? .uri : .text
        }
    }
}

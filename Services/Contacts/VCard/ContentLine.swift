/// A logical line taken apart, its value still as bytes: `[group "."] name *(";" parameter) ":" value`
/// (RFC 6350 §3.3), with the bare parameters of vCard 2.1 (`TEL;WORK;VOICE:`).
struct ContentLine {
    enum Encoding { case none, quotedPrintable, base64 }

    private(set) var group: String?
    private(set) var name = ""
    private(set) var parameters: [VCard.Parameter] = []
    /// How the value's bytes are to be read: not part of what the card says.
    private(set) var encoding = Encoding.none
    private(set) var charset: String?
    private let bytes: [UInt8]
    private var position = 0

    /// nil when the line has no name or no colon. Each value of a parameter costs one of `budget`.
    init?(_ bytes: [UInt8], budget: inout Int) throws(VCardError.Code) {
        self.bytes = bytes
        let first = takeToken()
        if first.isEmpty { return nil }
        if next == UInt8(ascii: ".") {
            position += 1
            let second = takeToken()
            if second.isEmpty { return nil }
            group = text(first)
            name = upperCase(second)
        } else {
            name = upperCase(first)
        }
        while next == UInt8(ascii: ";") {
            position += 1
            guard try takeParameter(&budget) else { return nil }
        }
        if next != UInt8(ascii: ":") { return nil }
        position += 1
    }

    var value: ArraySlice<UInt8> { bytes[position...] }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func takeToken() -> Range<Int> {
        let start = position
        while position < bytes.count && Token.isTokenByte(bytes[position]) { position += 1 }
        return start..<position
    }

    /// What was taken is ASCII, or is checked where it is decoded.
    private func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    private func upperCase(_ token: Range<Int>) -> String {
        String(unsafeUninitializedCapacity: token.count) { buffer in
            for index in 0..<token.count { buffer[index] = Token.upper(bytes[token.lowerBound + index]) }
            return token.count
        }
    }

    private mutating func takeParameter(_ budget: inout Int) throws(VCardError.Code) -> Bool {
        let start = position
        let token = takeToken()
        if !token.isEmpty && next == UInt8(ascii: "=") {
            position += 1
            guard let values = try takeValues(&budget) else { return false }
            add(upperCase(token), values)
            return true
        }
        position = start
        guard let values = try takeValues(&budget) else { return false }
        for value in values where !value.isEmpty {
            switch value.uppercased() {
            case "QUOTED-PRINTABLE", "BASE64", "B", "8BIT", "7BIT": add("ENCODING", [value])
            default: add("TYPE", [value])
            }
        }
        return true
    }

    private mutating func add(_ name: String, _ values: [String]) {
        switch name {
        case "ENCODING":
            switch values.first?.uppercased() {
            case "QUOTED-PRINTABLE", "Q": encoding = .quotedPrintable
            case "BASE64", "B": encoding = .base64
            default: break
            }
        case "CHARSET": charset = values.first?.uppercased().trimmed
        default: parameters.append(VCard.Parameter(readName: name, values: values))
        }
    }

    /// Values between commas, up to a semicolon or colon; nil when a quote is never closed.
    private mutating func takeValues(_ budget: inout Int) throws(VCardError.Code) -> [String]? {
        var values: [String] = []
        while true {
            budget -= 1
            if budget < 0 { throw .cardTooLarge }
            guard let value = try takeValue() else { return nil }
            values.append(value)
            if next != UInt8(ascii: ",") { return values }
            position += 1
        }
    }

    private mutating func takeValue() throws(VCardError.Code) -> String? {
        let isQuoted = next == UInt8(ascii: "\"")
        if isQuoted { position += 1 }
        let start = position
        while let byte = next {
            if isQuoted ? byte == UInt8(ascii: "\"") : Self.isDelimiter(byte) { break }
            position += 1
        }
        let end = position
        if isQuoted {
            position += 1
            guard let byte = next, Self.isDelimiter(byte) else { return nil }
        }
        return try decode(start..<end)
    }

    private static func isDelimiter(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: ",") || byte == UInt8(ascii: ";") || byte == UInt8(ascii: ":")
    }

    /// `^n`, `^'` and `^^` are a line feed, a quote and a caret (RFC 6868); any other caret is itself.
    private func decode(_ range: Range<Int>) throws(VCardError.Code) -> String {
        let slice = bytes[range]
        guard slice.contains(UInt8(ascii: "^")) else { return try Self.checked(slice) }
        var plain: [UInt8] = []
        var index = range.lowerBound
        while index < range.upperBound {
            let next = index + 1 < range.upperBound ? bytes[index + 1] : 0
            switch (bytes[index], next) {
            case (UInt8(ascii: "^"), UInt8(ascii: "n")): plain.append(10)
            case (UInt8(ascii: "^"), UInt8(ascii: "'")): plain.append(UInt8(ascii: "\""))
            case (UInt8(ascii: "^"), UInt8(ascii: "^")): plain.append(UInt8(ascii: "^"))
            default:
                plain.append(bytes[index])
                index -= 1
            }
            index += 2
        }
        return try Self.checked(plain[...])
    }

    private static func checked(_ bytes: ArraySlice<UInt8>) throws(VCardError.Code) -> String {
        guard let text = String(utf8: bytes) else { throw .wrongEncoding }
        return text
    }
}

/// A JSON value as it came: numbers keep their text, so that no digit is lost on the way to the database.
package enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    package var text: String? { if case .string(let text) = self { text } else { nil } }
    package var array: [JSONValue]? { if case .array(let values) = self { values } else { nil } }
    package var object: [String: JSONValue]? { if case .object(let members) = self { members } else { nil } }
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }

    /// An integral number within 64 bits; `5.0` and `5e2` count, `5.5` does not.
    package var int: Int? {
        guard case .number(let text) = self else { return nil }
        if let value = Int(text) { return value }
        guard let value = Double(text), value.rounded() == value, abs(value) < 9_007_199_254_740_992 else { return nil }
        return Int(value)
    }

    /// True when a text or a member's name somewhere within holds a NUL character.
    package var containsNUL: Bool {
        switch self {
        case .null, .bool, .number: false
        case .string(let text): text.utf8.contains(0)
        case .array(let values): values.contains(where: \.containsNUL)
        case .object(let members): members.contains { $0.key.utf8.contains(0) || $0.value.containsNUL }
        }
    }

    package subscript(key: String) -> JSONValue? { object?[key] }

    /// The value as JSON text, members sorted by name so that equal values give equal text.
    package var encoded: String { String(decoding: encodedBytes, as: UTF8.self) }

    /// See `encoded`.
    package var encodedBytes: [UInt8] {
        var out: [UInt8] = []
        write(to: &out)
        return out
    }

    /// Appends the value's JSON text.
    package func write(to out: inout [UInt8]) {
        switch self {
        case .null: out.append(contentsOf: "null".utf8)
        case .bool(let value): out.append(contentsOf: (value ? "true" : "false").utf8)
        case .number(let text): out.append(contentsOf: text.utf8)
        case .string(let text): JSONText.append(text.utf8, to: &out)
        case .array(let values):
            out.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                value.write(to: &out)
            }
            out.append(UInt8(ascii: "]"))
        case .object(let members):
            out.append(UInt8(ascii: "{"))
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                JSONText.append(member.key.utf8, to: &out)
                out.append(UInt8(ascii: ":"))
                member.value.write(to: &out)
            }
            out.append(UInt8(ascii: "}"))
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int) { self = .number(String(value)) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(elements, uniquingKeysWith: { $1 }))
    }
    package init(nilLiteral: ()) { self = .null }

    /// The text, or null.
    package init(_ text: String?) { self = text.map(JSONValue.string) ?? .null }
    /// The number.
    package init(_ value: Int) { self = .number(String(value)) }
}

/// JSON strings, written byte by byte.
package enum JSONText {
    /// Appends a JSON string: quotes, backslashes and control characters escaped, everything else as it is.
    package static func append(_ text: some Sequence<UInt8>, to out: inout [UInt8]) {
        out.append(UInt8(ascii: "\""))
        if text.withContiguousStorageIfAvailable({ append(plain: $0, to: &out) }) == nil {
            for byte in text { append(byte, to: &out) }
        }
        out.append(UInt8(ascii: "\""))
    }

    /// Texts are mostly free of what must be escaped: runs of such bytes go over in one piece.
    private static func append(plain bytes: UnsafeBufferPointer<UInt8>, to out: inout [UInt8]) {
        var start = 0
        for index in bytes.indices where bytes[index] < 0x20 || bytes[index] == 0x22 || bytes[index] == 0x5c {
            out.append(contentsOf: bytes[start..<index])
            append(bytes[index], to: &out)
            start = index + 1
        }
        out.append(contentsOf: bytes[start...])
    }

    private static func append(_ byte: UInt8, to out: inout [UInt8]) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"):
            out.append(UInt8(ascii: "\\"))
            out.append(byte)
        case 0x0a: out.append(contentsOf: "\\n".utf8)
        case 0x0d: out.append(contentsOf: "\\r".utf8)
        case 0x09: out.append(contentsOf: "\\t".utf8)
        case 0..<0x20:
            let digits: StaticString = "0123456789abcdef"
            out.append(contentsOf: "\\u00".utf8)
            out.append(digits.utf8Start[Int(byte >> 4)])
            out.append(digits.utf8Start[Int(byte & 15)])
        default: out.append(byte)
        }
    }
}

extension JSONValue {
    /// The value without what a JSON pointer leads to (RFC 6901); itself where that is nothing. Of a list's entries the
    /// whole entry goes: what is left of it would say something else.
    func removing(pointer: String) -> JSONValue {
        let steps = pointer.split(separator: "/").map(String.init)
        guard let first = steps.first, case .object(var members) = self, let member = members[first] else {
            return self
        }
        if steps.count > 1, case .array(var entries) = member, let index = Int(steps[1]),
            entries.indices.contains(index)
        {
            entries.remove(at: index)
            members[first] = .array(entries)
        } else {
            members[first] = nil
        }
        return .object(members)
    }
}

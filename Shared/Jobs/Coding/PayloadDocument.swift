import Foundation

/// A payload's JSON text, read once into a flat list of its values; what they say is read where it is asked for.
///
/// Foundation's decoder takes two fifths of a worker's time for a job that does nothing, and this a tenth
/// (deploy/decisions/0015): it builds no dictionaries, and makes a string only of what a job wants.
final class PayloadDocument {
    enum Kind: UInt8 {
        case null, yes, no, number, string, array, object
    }

    /// One value of the text. The members of an object are its names and values in turn.
    struct Node {
        let kind: Kind
        /// A string that holds an escape can't be taken as it is.
        var hasEscape = false
        /// Bytes of the text, without quotes.
        var start: Int32
        var end: Int32 = 0
        /// Where the list goes on after this value and all within it.
        var next: Int32 = 0
    }

    let bytes: [UInt8]
    let nodes: [Node]

    private static let maximumDepth = 64

    /// Reads `bytes`; throws `DecodingError.dataCorrupted` where they are not JSON, are not UTF-8, or are nested more than
    /// 64 deep.
    init(_ bytes: [UInt8]) throws {
        var nodes: [Node] = []
        nodes.reserveCapacity(min(64, bytes.count / 4 + 1))
        let fault = bytes.withUnsafeBufferPointer { buffer -> Int? in
            var reader = Reader(bytes: buffer)
            guard bytes.count < Int32.max, reader.value(into: &nodes, depth: 0) else { return reader.position }
            reader.skipSpace()
            return reader.position == buffer.count ? nil : reader.position
        }
        if let fault { throw Self.corrupted("no JSON at byte \(fault)") }
        self.bytes = bytes
        self.nodes = nodes
    }

    static func corrupted(_ text: String, _ path: [any CodingKey] = []) -> DecodingError {
        .dataCorrupted(DecodingError.Context(codingPath: path, debugDescription: text))
    }

    /// The first of the values within an array or object, and where they end.
    func children(of node: Int) -> Range<Int> { node + 1..<Int(nodes[node].next) }

    /// Where the list goes on after a value.
    func after(_ node: Int) -> Int { Int(nodes[node].next) }

    private func range(_ node: Int) -> Range<Int> { Int(nodes[node].start)..<Int(nodes[node].end) }

    /// True when a member's name is `key`.
    func isNamed(_ node: Int, _ key: String) -> Bool {
        if nodes[node].hasEscape { return string(node) == key }
        return bytes[range(node)].elementsEqual(key.utf8)
    }

    /// A string's text; nil where an escape is none.
    func string(_ node: Int) -> String? {
        let text = bytes[range(node)]
        if !nodes[node].hasEscape { return String(validating: text, as: UTF8.self) }
        return Self.unescaped(text)
    }

    /// A number as it stands.
    func number(_ node: Int) -> Substring { Substring(decoding: bytes[range(node)], as: UTF8.self) }

    /// A whole number that fits; `5.0` and `5e2` count.
    func integer<Integer: FixedWidthInteger>(_ node: Int) -> Integer? {
        let text = bytes[range(node)]
        var value: Integer = 0
        var rest = text[...]
        let isNegative = rest.first == UInt8(ascii: "-")
        if isNegative { rest = rest.dropFirst() }
        for byte in rest {
            guard (48...57).contains(byte) else { return Integer(exactly: Double(number(node)) ?? .nan) }
            let digit = Integer(byte - 48)
            let (tenfold, isTooMuch) = value.multipliedReportingOverflow(by: 10)
            let (sum, isBeyond) =
                isNegative ? tenfold.subtractingReportingOverflow(digit) : tenfold.addingReportingOverflow(digit)
            if isTooMuch || isBeyond { return nil }
            value = sum
        }
        return value
    }

    private static func unescaped(_ text: ArraySlice<UInt8>) -> String? {
        var out: [UInt8] = []
        out.reserveCapacity(text.count)
        var rest = text
        func unit(_ rest: inout ArraySlice<UInt8>) -> UInt32? {
            guard rest.count >= 4 else { return nil }
            defer { rest = rest.dropFirst(4) }
            return UInt32(String(decoding: rest.prefix(4), as: UTF8.self), radix: 16)
        }
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                out.append(byte)
                continue
            }
            switch rest.popFirst() {
            case UInt8(ascii: "n"): out.append(0x0a)
            case UInt8(ascii: "t"): out.append(0x09)
            case UInt8(ascii: "r"): out.append(0x0d)
            case UInt8(ascii: "b"): out.append(0x08)
            case UInt8(ascii: "f"): out.append(0x0c)
            case UInt8(ascii: "u"):
                guard var scalar = unit(&rest) else { return nil }
                if (0xd800..<0xdc00).contains(scalar) {
                    guard rest.popFirst() == UInt8(ascii: "\\"), rest.popFirst() == UInt8(ascii: "u"),
                        let low = unit(&rest), (0xdc00..<0xe000).contains(low)
                    else { return nil }
                    scalar = 0x10000 + (scalar - 0xd800) << 10 + (low - 0xdc00)
                }
                guard let scalar = Unicode.Scalar(scalar) else { return nil }
                out.append(contentsOf: String(Character(scalar)).utf8)
            case let byte? where byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte == UInt8(ascii: "/"):
                out.append(byte)
            default: return nil
            }
        }
        return String(validating: out, as: UTF8.self)
    }

    /// Walks the text once, and stands at the first fault it meets.
    private struct Reader {
        let bytes: UnsafeBufferPointer<UInt8>
        var position = 0

        private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

        mutating func skipSpace() {
            while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
        }

        private mutating func take(_ byte: Character) -> Bool {
            guard current == byte.asciiValue else { return false }
            position += 1
            return true
        }

        mutating func value(into nodes: inout [Node], depth: Int) -> Bool {
            guard depth <= PayloadDocument.maximumDepth else { return false }
            skipSpace()
            switch current {
            case UInt8(ascii: "{"): return list(.object, "}", into: &nodes, depth: depth)
            case UInt8(ascii: "["): return list(.array, "]", into: &nodes, depth: depth)
            case UInt8(ascii: "\""): return string(into: &nodes)
            case UInt8(ascii: "t"): return word("true", .yes, into: &nodes)
            case UInt8(ascii: "f"): return word("false", .no, into: &nodes)
            case UInt8(ascii: "n"): return word("null", .null, into: &nodes)
            default: return number(into: &nodes)
            }
        }

        private mutating func list(_ kind: Kind, _ end: Character, into nodes: inout [Node], depth: Int) -> Bool {
            let node = nodes.count
            nodes.append(Node(kind: kind, start: Int32(position)))
            position += 1
            skipSpace()
            var isFirst = true
            while !take(end) {
                if !isFirst && !take(",") { return false }
                isFirst = false
                if kind == .object {
                    skipSpace()
                    guard current == UInt8(ascii: "\""), string(into: &nodes) else { return false }
                    skipSpace()
                    guard take(":") else { return false }
                }
                guard value(into: &nodes, depth: depth + 1) else { return false }
                skipSpace()
            }
            nodes[node].end = Int32(position)
            nodes[node].next = Int32(nodes.count)
            return true
        }

        private mutating func add(
            _ kind: Kind, from start: Int, to end: Int, hasEscape: Bool = false, into nodes: inout [Node]
        ) {
            nodes.append(
                Node(
                    kind: kind, hasEscape: hasEscape, start: Int32(start), end: Int32(end),
                    next: Int32(nodes.count + 1)))
        }

        private mutating func string(into nodes: inout [Node]) -> Bool {
            position += 1
            let start = position
            var hasEscape = false
            while let byte = current {
                if byte == UInt8(ascii: "\"") {
                    add(.string, from: start, to: position, hasEscape: hasEscape, into: &nodes)
                    position += 1
                    return true
                }
                if byte < 0x20 { return false }
                if byte == UInt8(ascii: "\\") {
                    hasEscape = true
                    position += 1
                }
                position += 1
            }
            return false
        }

        private mutating func word(_ text: StaticString, _ kind: Kind, into nodes: inout [Node]) -> Bool {
            let start = position
            for index in 0..<text.utf8CodeUnitCount {
                guard current == text.utf8Start[index] else { return false }
                position += 1
            }
            add(kind, from: start, to: position, into: &nodes)
            return true
        }

        private mutating func digits() -> Bool {
            let start = position
            while let byte = current, (48...57).contains(byte) { position += 1 }
            return position > start
        }

        private mutating func number(into nodes: inout [Node]) -> Bool {
            let start = position
            _ = take("-")
            if !take("0") && !digits() { return false }
            if take(".") && !digits() { return false }
            if take("e") || take("E") {
                if !take("+") { _ = take("-") }
                if !digits() { return false }
            }
            add(.number, from: start, to: position, into: &nodes)
            return true
        }
    }
}

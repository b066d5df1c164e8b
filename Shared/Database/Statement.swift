import Foundation

/// One SQL statement with its parameters, `$1` upwards.
///
/// The text is prepared once per connection and kept by its exact spelling: never put values into it, or each value
/// becomes a prepared statement of its own.
package struct Statement: Sendable {
    package var sql: String
    package var parameters: [Parameter]
    /// A statement; the number of `parameters` must equal the highest `$n`, or PostgreSQL refuses it (08P01).
    package init(_ sql: String, _ parameters: [Parameter] = []) {
        self.sql = sql
        self.parameters = parameters
    }
}

/// A parameter's value as it travels to PostgreSQL: its text form, raw bytes for `bytea`, or NULL.
package enum Parameter: Sendable, Equatable {
    case null
    case text(String)
    case bytes([UInt8])

    /// A whole number.
    package static func int(_ value: Int) -> Parameter { .text(String(value)) }
    /// A whole number of 64 bits.
    package static func int(_ value: Int64) -> Parameter { .text(String(value)) }
    /// A number in its shortest exact text.
    package static func double(_ value: Double) -> Parameter { .text(String(value)) }
    /// A boolean.
    package static func bool(_ value: Bool) -> Parameter { .text(value ? "t" : "f") }
    /// A `uuid` in its canonical text.
    package static func uuid(_ value: UUID) -> Parameter { .text(value.lowercased) }
    /// Text, or NULL for nil.
    package static func optional(_ value: String?) -> Parameter { value.map(Parameter.text) ?? .null }

    /// A PostgreSQL array literal of `values`; NULL elements stay NULL. Give the statement a cast such as `$1::uuid[]`.
    package static func array(_ values: [String?]) -> Parameter {
        var literal: [UInt8] = [UInt8(ascii: "{")]
        literal.reserveCapacity(values.reduce(2) { $0 + ($1?.utf8.count ?? 4) + 3 })
        for (index, value) in values.enumerated() {
            if index > 0 { literal.append(UInt8(ascii: ",")) }
            guard var value else {
                literal.append(contentsOf: "NULL".utf8)
                continue
            }
            literal.append(UInt8(ascii: "\""))
            value.withUTF8 { bytes in
                // Most texts hold nothing to escape and go over in one piece.
                if !bytes.contains(where: { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }) {
                    return literal.append(contentsOf: bytes)
                }
                for byte in bytes {
                    if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { literal.append(UInt8(ascii: "\\")) }
                    literal.append(byte)
                }
            }
            literal.append(UInt8(ascii: "\""))
        }
        literal.append(UInt8(ascii: "}"))
        return .text(String(decoding: literal, as: UTF8.self))
    }

    /// A time, exact to the microsecond, as `timestamptz` reads it.
    package static func time(_ date: Date) -> Parameter { .text(Timestamp.sqlText(date)) }
}

extension Parameter: ExpressibleByStringLiteral {
    package init(stringLiteral value: String) { self = .text(value) }
}

extension Parameter: ExpressibleByIntegerLiteral {
    package init(integerLiteral value: Int) { self = .int(value) }
}

extension Parameter: ExpressibleByNilLiteral {
    package init(nilLiteral: ()) { self = .null }
}

import Database
import Foundation

/// How a field is written as JSON: worked out once, so that a row costs no look at its fields' descriptions.
struct JSONMember: Sendable {
    /// What PostgreSQL's text becomes.
    enum Shape: Sendable {
        case verbatim, boolean, timestamp, text, money

        init(_ kind: FieldKind) {
            switch kind {
            case .integer, .number, .tags, .list, .json, .condition, .custom: self = .verbatim
            case .boolean: self = .boolean
            case .timestamp: self = .timestamp
            case .money: self = .money
            default: self = .text
            }
        }
    }

    /// `,"name":`
    let name: [UInt8]
    let shape: Shape
    /// Where its first column stands in `RecordType.selectList`.
    let column: Int

    init(_ field: Field, column: Int) {
        name = Array(",\"\(field.name)\":".utf8)
        shape = Shape(field.kind)
        self.column = column
    }
}

/// Writes records as JSON straight from PostgreSQL's text, by the fields' kinds.
package enum RecordJSON {
    /// Appends row `row` of a result that selected `type.selectList`. With `only`, just those fields and the system's.
    package static func append(
        _ rows: Rows, _ row: Int, type: RecordType, only: Set<String>? = nil, to out: inout [UInt8]
    ) {
        out.append(contentsOf: #"{"id":"#.utf8)
        rows.withBytes(row, 0) { JSONText.append($0!, to: &out) }
        out.append(contentsOf: #","version":"#.utf8)
        rows.withBytes(row, 1) { out.append(contentsOf: $0!) }
        for (index, name) in [#","created_at":"#, #","updated_at":"#, #","deleted_at":"#].enumerated() {
            rows.withBytes(row, index + 2) { bytes in
                // A living record has no deleted_at.
                if index == 2 && bytes == nil { return }
                out.append(contentsOf: name.utf8)
                timestamp(bytes!, to: &out)
            }
        }
        for index in type.members.indices {
            if let only, !only.contains(type.fields[index].name) { continue }
            let shape = type.members[index].shape
            let column = type.members[index].column
            out.append(contentsOf: type.members[index].name)
            if shape == .money {
                rows.withBytes(row, column) { amount in
                    rows.withBytes(row, column + 1) { money(amount, $0, to: &out) }
                }
            } else {
                rows.withBytes(row, column) { scalar($0, shape: shape, to: &out) }
            }
        }
        out.append(UInt8(ascii: "}"))
    }

    /// Appends a record that is held in memory, in the same form; without its id when it is only predicted.
    package static func append(
        _ record: Record, type: RecordType, isPrediction: Bool = false, only: Set<String>? = nil, to out: inout [UInt8]
    ) {
        out.append(UInt8(ascii: "{"))
        if !isPrediction { out.append(contentsOf: #""id":"\#(record.id.lowercased)","#.utf8) }
        out.append(contentsOf: #""version":\#(record.version),"created_at":""#.utf8)
        out.append(contentsOf: Timestamp.rfc3339(record.createdAt).utf8)
        out.append(contentsOf: #"","updated_at":""#.utf8)
        out.append(contentsOf: Timestamp.rfc3339(record.updatedAt).utf8)
        out.append(UInt8(ascii: "\""))
        if let deleted = record.deletedAt {
            out.append(contentsOf: #","deleted_at":"\#(Timestamp.rfc3339(deleted))""#.utf8)
        }
        for (member, field) in zip(type.members, type.fields) {
            if let only, !only.contains(field.name) { continue }
            out.append(contentsOf: member.name)
            append(columns: record.values[field.name] ?? [], shape: member.shape, to: &out)
        }
        out.append(UInt8(ascii: "}"))
    }

    /// A field's value as JSON, from its column texts.
    package static func value(of field: Field, columns: [String?]) -> JSONValue {
        guard let first = columns.first, let text = first else { return .null }
        switch field.kind {
        case .integer, .number: return .number(text)
        case .boolean: return .bool(text.hasPrefix("t"))
        case .tags, .list, .json, .condition, .custom, .money, .timestamp:
            var out: [UInt8] = []
            append(columns: columns, shape: JSONMember.Shape(field.kind), to: &out)
            return (try? JSONParser.parse(out)) ?? .null
        default: return .string(text)
        }
    }

    /// The columns of a value that `value(of:columns:)` gave, whatever the field takes today: what was is no question of
    /// what is allowed.
    static func columns(of field: Field, _ value: JSONValue) -> [String?] {
        if value == .null { return field.columns.map { _ in nil } }
        switch field.kind {
        case .money:
            return [value["amount"]?.int.map(String.init), value["currency"]?.text]
        case .boolean: return [value == true ? "t" : "f"]
        case .timestamp:
            return [value.text.flatMap { Timestamp.parse($0) }.map(Timestamp.sqlText) ?? value.text]
        case .integer: if case .number(let text) = value { return [text] }
        case .number: if case .number(let text) = value { return [Double(text).map { "\($0)" } ?? text] }
        case .tags, .list, .json, .condition, .custom: return [value.encoded]
        default: break
        }
        return [value.text ?? value.encoded]
    }

    /// True when both mean the same value: of a list's entries what is absent is null. Texts count byte by byte.
    static func isSame(_ left: [String?]?, _ right: [String?]?, of field: Field) -> Bool {
        let (left, right) = (left ?? [], right ?? [])
        switch field.kind {
        case .tags, .list: return left.map(dense) == right.map(dense)
        case .timestamp: return left.map(moment) == right.map(moment)
        default: return left.map { $0.map { Array($0.utf8) } } == right.map { $0.map { Array($0.utf8) } }
        }
    }

    private static func moment(_ text: String?) -> Date? { text.flatMap { Timestamp.parse($0) } }

    private static func dense(_ text: String?) -> [UInt8]? {
        guard let text, let entries = (try? JSONParser.parse(text.utf8))?.array else {
            return text.map { Array($0.utf8) }
        }
        let dense = entries.map { entry -> JSONValue in
            guard let members = entry.object else { return entry }
            return .object(members.filter { $0.value != .null })
        }
        return JSONValue.array(dense).encodedBytes
    }

    /// Appends a field's value as JSON, from its column texts.
    static func append(columns: [String?], of field: Field, to out: inout [UInt8]) {
        append(columns: columns, shape: JSONMember.Shape(field.kind), to: &out)
    }

    private static func append(columns: [String?], shape: JSONMember.Shape, to out: inout [UInt8]) {
        func withBytes(_ text: String?, _ body: (UnsafeBufferPointer<UInt8>?) -> Void) {
            guard var text else { return body(nil) }
            text.withUTF8 { body($0) }
        }
        if shape == .money {
            withBytes(columns.first ?? nil) { amount in
                withBytes(columns.count > 1 ? columns[1] : nil) { money(amount, $0, to: &out) }
            }
        } else {
            withBytes(columns.first ?? nil) { scalar($0, shape: shape, to: &out) }
        }
    }

    private static func scalar(
        _ bytes: UnsafeBufferPointer<UInt8>?, shape: JSONMember.Shape, to out: inout [UInt8]
    ) {
        guard let bytes else { return out.append(contentsOf: "null".utf8) }
        switch shape {
        case .verbatim: out.append(contentsOf: bytes)
        case .boolean: out.append(contentsOf: (bytes.first == UInt8(ascii: "t") ? "true" : "false").utf8)
        case .timestamp: timestamp(bytes, to: &out)
        case .text, .money: JSONText.append(bytes, to: &out)
        }
    }

    private static func money(
        _ amount: UnsafeBufferPointer<UInt8>?, _ currency: UnsafeBufferPointer<UInt8>?, to out: inout [UInt8]
    ) {
        guard let amount, let currency else { return out.append(contentsOf: "null".utf8) }
        out.append(contentsOf: #"{"amount":"#.utf8)
        out.append(contentsOf: amount)
        out.append(contentsOf: #","currency":"#.utf8)
        JSONText.append(currency, to: &out)
        out.append(UInt8(ascii: "}"))
    }

    /// `2026-11-22 05:32:26.123+00` becomes `"2026-11-22T05:32:26.123Z"`; the session is always in UTC.
    private static func timestamp(_ bytes: UnsafeBufferPointer<UInt8>, to out: inout [UInt8]) {
        out.append(UInt8(ascii: "\""))
        for byte in bytes {
            if byte == UInt8(ascii: " ") {
                out.append(UInt8(ascii: "T"))
            } else if byte == UInt8(ascii: "+") {
                break
            } else {
                out.append(byte)
            }
        }
        out.append(contentsOf: #"Z""#.utf8)
    }
}

extension Record {
    /// Reads row `row` of a result that selected `type.selectList`.
    package init(_ rows: Rows, _ row: Int, type: RecordType) {
        var values: [String: [String?]] = [:]
        var column = RecordType.systemColumns.count
        for field in type.fields {
            values[field.name] = field.columns.indices.map { index in
                rows.text(row, column + index).map { Self.canonical($0, field.kind) }
            }
            column += field.columns.count
        }
        self.init(
            id: rows.uuid(row, 0)!, version: rows.int(row, 1)!, createdAt: rows.time(row, 2)!,
            updatedAt: rows.time(row, 3)!, deletedAt: rows.time(row, 4), values: values)
    }

    /// The text that a reader of the same value would give: PostgreSQL writes jsonb and numbers in its own way, and a
    /// difference of spelling is no change.
    private static func canonical(_ text: String, _ kind: FieldKind) -> String {
        switch kind {
        case .tags, .list, .json, .condition, .custom: (try? JSONParser.parse(text.utf8))?.encoded ?? text
        case .number: Double(text).map { "\($0)" } ?? text
        default: text
        }
    }

    /// The record as JSON text; without its id when it is only predicted.
    package func json(_ type: RecordType, isPrediction: Bool = false) -> [UInt8] {
        var out: [UInt8] = []
        RecordJSON.append(self, type: type, isPrediction: isPrediction, to: &out)
        return out
    }
}

import Database
import Foundation

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
        var column = RecordType.systemColumns.count
        for field in type.fields {
            if only?.contains(field.name) ?? true {
                out.append(UInt8(ascii: ","))
                JSONText.append(field.name.utf8, to: &out)
                out.append(UInt8(ascii: ":"))
                if case .money = field.kind {
                    rows.withBytes(row, column) { amount in
                        rows.withBytes(row, column + 1) { money(amount, $0, to: &out) }
                    }
                } else {
                    rows.withBytes(row, column) { scalar($0, kind: field.kind, to: &out) }
                }
            }
            column += field.columns.count
        }
        out.append(UInt8(ascii: "}"))
    }

    /// Appends a record that is held in memory, in the same form.
    package static func append(_ record: Record, type: RecordType, to out: inout [UInt8]) {
        out.append(contentsOf: #"{"id":""#.utf8)
        out.append(contentsOf: record.id.lowercased.utf8)
        out.append(contentsOf: #"","version":\#(record.version),"created_at":""#.utf8)
        out.append(contentsOf: Timestamp.rfc3339(record.createdAt).utf8)
        out.append(contentsOf: #"","updated_at":""#.utf8)
        out.append(contentsOf: Timestamp.rfc3339(record.updatedAt).utf8)
        out.append(UInt8(ascii: "\""))
        if let deleted = record.deletedAt {
            out.append(contentsOf: #","deleted_at":"\#(Timestamp.rfc3339(deleted))""#.utf8)
        }
        for field in type.fields {
            out.append(UInt8(ascii: ","))
            JSONText.append(field.name.utf8, to: &out)
            out.append(UInt8(ascii: ":"))
            append(columns: record.values[field.name] ?? [], field: field, to: &out)
        }
        out.append(UInt8(ascii: "}"))
    }

    /// A field's value as JSON, from its column texts.
    package static func value(of field: Field, columns: [String?]) -> JSONValue {
        var out: [UInt8] = []
        append(columns: columns, field: field, to: &out)
        return (try? JSONParser.parse(out)) ?? .null
    }

    private static func append(columns: [String?], field: Field, to out: inout [UInt8]) {
        func withBytes(_ text: String?, _ body: (UnsafeBufferPointer<UInt8>?) -> Void) {
            guard var text else { return body(nil) }
            text.withUTF8 { body($0) }
        }
        if case .money = field.kind {
            withBytes(columns.first ?? nil) { amount in
                withBytes(columns.count > 1 ? columns[1] : nil) { money(amount, $0, to: &out) }
            }
        } else {
            withBytes(columns.first ?? nil) { scalar($0, kind: field.kind, to: &out) }
        }
    }

    private static func scalar(_ bytes: UnsafeBufferPointer<UInt8>?, kind: FieldKind, to out: inout [UInt8]) {
        guard let bytes else { return out.append(contentsOf: "null".utf8) }
        switch kind {
        case .integer, .number, .tags, .list: out.append(contentsOf: bytes)
        case .boolean: out.append(contentsOf: (bytes.first == UInt8(ascii: "t") ? "true" : "false").utf8)
        case .timestamp: timestamp(bytes, to: &out)
        default: JSONText.append(bytes, to: &out)
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
        case .tags, .list: (try? JSONParser.parse(text.utf8))?.encoded ?? text
        case .number: Double(text).map { "\($0)" } ?? text
        default: text
        }
    }

    /// The record as JSON text.
    package func json(_ type: RecordType) -> [UInt8] {
        var out: [UInt8] = []
        RecordJSON.append(self, type: type, to: &out)
        return out
    }
}

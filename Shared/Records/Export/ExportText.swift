import Database

/// Writes records of one type as lines of a file, straight from PostgreSQL's text.
struct ExportText: Sendable {
    let type: RecordType
    let format: FileFormat
    let fields: Set<String>?

    private var chosen: [Field] { type.fields.filter { fields?.contains($0.name) ?? true } }

    /// The first line: the names of the columns; nothing but for CSV.
    var header: [UInt8] {
        guard format.isCSV else { return [] }
        let names = RecordType.systemColumns.prefix(4) + chosen.map(\.name)
        return Array((names.joined(separator: ",") + "\r\n").utf8)
    }

    /// Appends row `row` of a result that selected `type.selectList`.
    func append(_ rows: Rows, _ row: Int, to out: inout [UInt8]) {
        switch format {
        case .csv: appendRow(rows, row, to: &out)
        case .ndjson:
            RecordJSON.append(rows, row, type: type, only: fields, to: &out)
            out.append(UInt8(ascii: "\n"))
        case .own(let format):
            var json: [UInt8] = []
            RecordJSON.append(rows, row, type: type, only: fields, to: &json)
            if let record = (try? JSONParser.parse(json))?.object { format.write(record, &out) }
        }
    }

    private func appendRow(_ rows: Rows, _ row: Int, to out: inout [UInt8]) {
        for column in 0..<4 {
            if column > 0 { out.append(UInt8(ascii: ",")) }
            if column < 2 {
                rows.withBytes(row, column) { out.append(contentsOf: $0!) }
            } else {
                out.append(contentsOf: Timestamp.rfc3339(rows.time(row, column)!).utf8)
            }
        }
        var column = RecordType.systemColumns.count
        for field in type.fields {
            defer { column += field.columns.count }
            if let fields, !fields.contains(field.name) { continue }
            out.append(UInt8(ascii: ","))
            guard let text = rows.text(row, column) else { continue }
            switch field.kind {
            case .money: Self.append("\(text) \(rows.text(row, column + 1) ?? "")", to: &out)
            case .timestamp: Self.append(rows.time(row, column).map(Timestamp.rfc3339) ?? text, to: &out)
            case .boolean: Self.append(text.hasPrefix("t") ? "true" : "false", to: &out)
            case .integer, .number, .date: Self.append(text, to: &out)
            default: Self.append(Self.guarded(text), to: &out)
            }
        }
        out.append(contentsOf: "\r\n".utf8)
    }

    /// A text that a spreadsheet would take for a formula gets an apostrophe before it, which `unguarded` takes away.
    static func guarded(_ text: String) -> String { isFormula(text) ? "'" + text : text }

    /// The text that was `guarded`; any other as it is.
    static func unguarded(_ text: String) -> String {
        text.hasPrefix("'") && isFormula(text.dropFirst()) ? String(text.dropFirst()) : text
    }

    private static func isFormula(_ text: some StringProtocol) -> Bool {
        guard let first = text.unicodeScalars.first(where: { $0 != "'" }) else { return false }
        return "=+-@\t\r".unicodeScalars.contains(first)
    }

    private static func append(_ text: String, to out: inout [UInt8]) {
        let bytes = text.utf8
        guard bytes.contains(where: { $0 == 44 || $0 == 34 || $0 == 10 || $0 == 13 }) else {
            out.append(contentsOf: bytes)
            return
        }
        out.append(UInt8(ascii: "\""))
        for byte in bytes {
            if byte == UInt8(ascii: "\"") { out.append(byte) }
            out.append(byte)
        }
        out.append(UInt8(ascii: "\""))
    }
}

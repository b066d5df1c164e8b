/// Splits comma-separated text (RFC 4180, LF or CRLF) into rows as its bytes arrive, in bounded memory.
///
/// A byte-order mark is skipped. A field may be quoted, with `""` for a quote; a quote in the middle of an unquoted
/// field is taken as it is, text after a closing quote is an error of that row.
package struct DelimitedText: Sendable {
    /// One row: its fields, or why it can't be read, and its raw bytes for the error file.
    package struct Row: Sendable {
        package let number: Int
        package let fields: [String]
        package let error: (code: String, message: String)?
        package let raw: [UInt8]
        /// Bytes from the start of the text to the end of this row: where reading can begin again.
        package let end: Int
        /// What the reader of a type's own format made of it; nil for rows of text.
        package var entry: RecordFileEntry?
    }

    /// A row longer than this is refused, and the rest of it skipped.
    package static let longestRow = 1 << 20

    private enum State: Int { case start, plain, quoted, quoteInQuoted, broken }

    private var state = State.start
    private var fields: [[UInt8]] = []
    private var field: [UInt8] = []
    private var raw: [UInt8] = []
    private var error: (String, String)?
    private var number = 0
    /// How many bytes of a byte-order mark came at the very start; -1 when it was none.
    private var mark = 0
    private static let byteOrderMark: [UInt8] = [0xef, 0xbb, 0xbf]
    private var consumed: Int

    /// - Parameters:
    ///   - offset: where in the text the first byte fed lies: 0, or the end of a row.
    ///   - rows: how many rows came before.
    package init(offset: Int = 0, rows: Int = 0) {
        consumed = offset
        number = rows
    }

    /// Feeds bytes and gives the rows that they complete.
    package mutating func feed(_ bytes: some Sequence<UInt8>) -> [Row] {
        var rows: [Row] = []
        for byte in bytes { if let row = feed(byte) { rows.append(row) } }
        return rows
    }

    /// The last row, when the text does not end in a line break.
    package mutating func finish() -> Row? {
        if raw.isEmpty && fields.isEmpty && field.isEmpty && error == nil { return nil }
        if state == .quoted { error = error ?? ("unclosed_quote", "A quote is opened and never closed.") }
        return endRow()
    }

    private mutating func feed(_ byte: UInt8) -> Row? {
        consumed += 1
        // A byte-order mark comes before anything else, a quote included.
        if consumed <= 3 && mark == consumed - 1 {
            if byte == Self.byteOrderMark[mark] {
                mark += 1
                return nil
            }
            // It only looked like one: what was held back is text.
            for held in Self.byteOrderMark.prefix(mark) { put(held) }
            mark = -1
        }
        return put(byte)
    }

    @discardableResult
    private mutating func put(_ byte: UInt8) -> Row? {
        if raw.count < Self.longestRow {
            raw.append(byte)
        } else if error?.0 != "row_too_long" {
            error = ("row_too_long", "A row is at most \(Self.longestRow) bytes.")
            field = []
        }
        let isTooLong = error?.0 == "row_too_long"
        switch (state, byte) {
        case (.quoted, UInt8(ascii: "\"")): state = .quoteInQuoted
        case (.quoted, _): if !isTooLong { field.append(byte) }
        case (_, UInt8(ascii: "\n")):
            return endRow()
        case (.quoteInQuoted, UInt8(ascii: "\"")):
            field.append(byte)
            state = .quoted
        case (_, UInt8(ascii: ",")): endField()
        case (.start, UInt8(ascii: "\"")): state = .quoted
        case (_, 13): break
        case (.quoteInQuoted, _):
            error = error ?? ("stray_quote", "Text follows a closing quote.")
            state = .broken
        default:
            if !isTooLong { field.append(byte) }
            if state == .start { state = .plain }
        }
        return nil
    }

    private mutating func endField() {
        if fields.count < 1000 { fields.append(field) }
        field = []
        state = .start
    }

    private mutating func endRow() -> Row? {
        endField()
        defer {
            fields = []
            raw = []
            error = nil
            state = .start
        }
        number += 1
        // An empty line is no row.
        if error == nil && fields.count == 1 && fields[0].allSatisfy({ $0 == 32 }) { return nil }
        var texts: [String] = []
        for bytes in fields {
            guard let text = String(validating: bytes, as: UTF8.self) else {
                error = error ?? ("wrong_encoding", "The row is not UTF-8.")
                break
            }
            if bytes.contains(0) { error = error ?? ("binary", "The row holds bytes that are no text.") }
            texts.append(text)
        }
        return Row(number: number, fields: texts, error: error, raw: raw, end: consumed)
    }
}

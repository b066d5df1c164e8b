import CLibPQ
import Foundation

/// The rows that one statement gave, still in libpq's own memory, in PostgreSQL's text format.
///
/// `@unchecked Sendable`: a `PGresult` is never changed after `PQgetResult` hands it out, holds no reference to its
/// connection, and is cleared once, in `deinit`; libpq documents that such results may be read from any thread.
package final class Rows: @unchecked Sendable {
    private let result: OpaquePointer?

    /// How many rows there are.
    package let count: Int
    /// How many columns each has.
    package let columnCount: Int
    /// For a statement without rows, how many rows it changed.
    package var affected: Int {
        result.flatMap { PQcmdTuples($0) }.flatMap { Int(String(cString: $0)) } ?? 0
    }
    /// What PostgreSQL says it did: `INSERT 0 1`, `COMMIT`, or `ROLLBACK` where a commit was not possible.
    package var commandTag: String { result.flatMap { PQcmdStatus($0) }.map { String(cString: $0) } ?? "" }

    init(taking result: OpaquePointer?) {
        self.result = result
        count = result.map { Int(PQntuples($0)) } ?? 0
        columnCount = result.map { Int(PQnfields($0)) } ?? 0
    }

    deinit {
        if let result { PQclear(result) }
    }

    /// No rows: what an empty batch gives.
    package static let empty = Rows(taking: nil)

    package var isEmpty: Bool { count == 0 }

    /// The columns' names, in order.
    package var columnNames: [String] {
        (0..<columnCount).map { String(cString: PQfname(result, Int32($0))) }
    }

    /// True when the value is NULL.
    package func isNull(_ row: Int, _ column: Int) -> Bool {
        PQgetisnull(result, Int32(row), Int32(column)) == 1
    }

    /// The raw text of a value, valid only inside `body`; nil for NULL.
    package func withBytes<Result>(
        _ row: Int, _ column: Int, _ body: (UnsafeBufferPointer<UInt8>?) throws -> Result
    ) rethrows -> Result {
        if isNull(row, column) { return try body(nil) }
        let length = Int(PQgetlength(result, Int32(row), Int32(column)))
        let start = UnsafeRawPointer(PQgetvalue(result, Int32(row), Int32(column))!).assumingMemoryBound(to: UInt8.self)
        return try body(UnsafeBufferPointer(start: start, count: length))
    }

    /// The value as text; nil for NULL.
    package func text(_ row: Int, _ column: Int) -> String? {
        withBytes(row, column) { $0.map { String(decoding: $0, as: UTF8.self) } }
    }

    /// A whole number, the nearest there is where it is too large, as a sum may be; nil for NULL and for text that is none.
    package func int(_ row: Int, _ column: Int) -> Int? {
        withBytes(row, column) { bytes in
            guard let bytes else { return nil }
            let isNegative = bytes.first == UInt8(ascii: "-")
            var value = 0
            for byte in bytes.dropFirst(isNegative ? 1 : 0) {
                guard byte >= 48, byte <= 57 else { return nil }
                let digit = isNegative ? -Int(byte - 48) : Int(byte - 48)
                let (shifted, isTooLarge) = value.multipliedReportingOverflow(by: 10)
                let (sum, overflows) = shifted.addingReportingOverflow(digit)
                if isTooLarge || overflows { return isNegative ? .min : .max }
                value = sum
            }
            return value
        }
    }

    /// A number; nil for NULL and for text that is none.
    package func double(_ row: Int, _ column: Int) -> Double? { text(row, column).flatMap(Double.init) }

    /// A boolean; nil for NULL.
    package func bool(_ row: Int, _ column: Int) -> Bool? {
        withBytes(row, column) { $0.map { $0.first == UInt8(ascii: "t") } }
    }

    /// A `uuid`; nil for NULL.
    package func uuid(_ row: Int, _ column: Int) -> UUID? {
        withBytes(row, column) { $0.flatMap { UUID(printed: $0) } }
    }

    /// A `timestamptz`, the session being in UTC (every connection of ours is).
    package func time(_ row: Int, _ column: Int) -> Date? { text(row, column).flatMap(Timestamp.parse) }

    /// A `bytea`, decoded from PostgreSQL's hexadecimal form.
    package func bytes(_ row: Int, _ column: Int) -> [UInt8]? {
        withBytes(row, column) { text in
            guard let text, text.count >= 2 else { return nil }
            var decoded: [UInt8] = []
            decoded.reserveCapacity(text.count / 2 - 1)
            var index = 2
            while index + 1 < text.count {
                decoded.append(nibble(text[index]) << 4 | nibble(text[index + 1]))
                index += 2
            }
            return decoded
        }
    }

}

/// The value of a lower-case hexadecimal digit, as PostgreSQL prints it.
func nibble(_ digit: UInt8) -> UInt8 { digit <= 57 ? digit &- 48 : digit &- 87 }

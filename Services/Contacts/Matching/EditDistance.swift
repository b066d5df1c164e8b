/// How many slips of the keyboard lie between two texts.
package enum EditDistance {
    /// Insertions, deletions, substitutions and transpositions of neighbours (Damerau 1964, in the restricted form
    /// "optimal string alignment"), counted up to `limit`; `limit + 1` means more than that. Only the first 64 units of
    /// each text count.
    ///
    /// A column of the table is a machine word of differences (Myers 1999; with transpositions Hyyrö 2003), so a text
    /// costs a dozen operations per unit; nothing is allocated.
    package static func damerau(
        _ left: UnsafeBufferPointer<UInt16>, _ right: UnsafeBufferPointer<UInt16>, limit: Int
    ) -> Int {
        let rows = min(left.count, 64)
        let columns = min(right.count, 64)
        if abs(rows - columns) > limit { return limit + 1 }
        if rows == 0 || columns == 0 { return max(rows, columns) }
        return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 128) { places in
            for unit in right.prefix(columns) { places[Int(unit & 127)] = 0 }
            for row in 0..<rows { places[Int(left[row] & 127)] = 0 }
            for row in 0..<rows where left[row] < 128 { places[Int(left[row])] |= 1 << UInt64(row) }
            return min(limit + 1, distance(left, right, rows, columns, UnsafeBufferPointer(places)))
        }
    }

    /// `places` has, for each unit under 128, the rows where it stands.
    private static func distance(
        _ left: UnsafeBufferPointer<UInt16>, _ right: UnsafeBufferPointer<UInt16>, _ rows: Int, _ columns: Int,
        _ places: UnsafeBufferPointer<UInt64>
    ) -> Int {
        let lastRow: UInt64 = 1 << UInt64(rows - 1)
        var (risesDown, fallsDown): (UInt64, UInt64) = (~0, 0)
        var diagonalZero: UInt64 = 0
        var previousMatches: UInt64 = 0
        var distance = rows
        for column in 0..<columns {
            let unit = right[column]
            let matches = unit < 128 ? places[Int(unit)] : rowsOf(unit, left, rows)
            let transposed = ((~diagonalZero & matches) << 1) & previousMatches
            diagonalZero = (((matches & risesDown) &+ risesDown) ^ risesDown) | matches | fallsDown | transposed
            let risesRight = fallsDown | ~(diagonalZero | risesDown)
            let fallsRight = diagonalZero & risesDown
            if risesRight & lastRow != 0 { distance += 1 }
            if fallsRight & lastRow != 0 { distance -= 1 }
            let shifted = risesRight << 1 | 1
            risesDown = fallsRight << 1 | ~(diagonalZero | shifted)
            fallsDown = shifted & diagonalZero
            previousMatches = matches
        }
        return distance
    }

    private static func rowsOf(_ unit: UInt16, _ text: UnsafeBufferPointer<UInt16>, _ rows: Int) -> UInt64 {
        var found: UInt64 = 0
        for row in 0..<rows where text[row] == unit { found |= 1 << UInt64(row) }
        return found
    }

    /// The same on strings' scalars, of any distance; for tests and tools, not for hot paths.
    package static func damerau(_ left: String, _ right: String) -> Int {
        let left = left.unicodeScalars.map { UInt16(truncatingIfNeeded: $0.value) }
        let right = right.unicodeScalars.map { UInt16(truncatingIfNeeded: $0.value) }
        return left.withUnsafeBufferPointer { left in
            right.withUnsafeBufferPointer { damerau(left, $0, limit: max(left.count, $0.count)) }
        }
    }
}

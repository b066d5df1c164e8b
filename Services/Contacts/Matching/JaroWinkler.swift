/// The similarity of names that the field has used since the 1990 census.
package enum JaroWinkler {
    /// 0 (nothing in common) to 1 (equal): Jaro 1989, with Winkler's 1990 bonus of 0.1 for each of up to four
    /// leading units that agree. Only the first 64 units of each text count; nothing is allocated.
    package static func similarity(
        _ left: UnsafeBufferPointer<UInt16>, _ right: UnsafeBufferPointer<UInt16>
    ) -> Double {
        let leftCount = min(left.count, 64)
        let rightCount = min(right.count, 64)
        if leftCount == 0 || rightCount == 0 { return leftCount == rightCount ? 1 : 0 }
        let window = max(0, max(leftCount, rightCount) / 2 - 1)
        var leftMatched: UInt64 = 0
        var rightMatched: UInt64 = 0
        for index in 0..<leftCount {
            let unit = left[index]
            var other = max(0, index - window)
            let end = min(rightCount, index + window + 1)
            while other < end {
                if right[other] == unit && rightMatched >> UInt64(other) & 1 == 0 {
                    leftMatched |= 1 << UInt64(index)
                    rightMatched |= 1 << UInt64(other)
                    break
                }
                other += 1
            }
        }
        let matches = leftMatched.nonzeroBitCount
        if matches == 0 { return 0 }
        let halfTranspositions = transposed(left, right, leftMatched, rightMatched)
        let common = Double(matches)
        let jaro =
            (common / Double(leftCount) + common / Double(rightCount)
                + (common - Double(halfTranspositions / 2)) / common) / 3
        var prefix = 0
        while prefix < min(4, leftCount, rightCount) && left[prefix] == right[prefix] { prefix += 1 }
        return jaro + Double(prefix) * 0.1 * (1 - jaro)
    }

    /// Matched units that stand in another order on the other side.
    private static func transposed(
        _ left: UnsafeBufferPointer<UInt16>, _ right: UnsafeBufferPointer<UInt16>, _ leftMatched: UInt64,
        _ rightMatched: UInt64
    ) -> Int {
        var leftBits = leftMatched
        var rightBits = rightMatched
        var count = 0
        while leftBits != 0 {
            if left[leftBits.trailingZeroBitCount] != right[rightBits.trailingZeroBitCount] { count += 1 }
            leftBits &= leftBits - 1
            rightBits &= rightBits - 1
        }
        return count
    }

    /// The same on strings' scalars; for tests and tools, not for hot paths.
    package static func similarity(_ left: String, _ right: String) -> Double {
        let left = left.unicodeScalars.map { UInt16(truncatingIfNeeded: $0.value) }
        let right = right.unicodeScalars.map { UInt16(truncatingIfNeeded: $0.value) }
        return left.withUnsafeBufferPointer { left in right.withUnsafeBufferPointer { similarity(left, $0) } }
    }
}

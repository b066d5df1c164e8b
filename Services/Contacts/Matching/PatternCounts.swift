/// How often each agreement pattern occurs: all that the fit needs to know of the pairs.
package struct PatternCounts: Sendable {
    private(set) var patterns: [AgreementPattern] = []
    private(set) var counts: [Double] = []

    /// Counts equal patterns; ascending by pattern, so the same pairs in any order give the same sums.
    init(_ observed: [AgreementPattern], weight: Double = 1) {
        for pattern in observed.sorted() {
            if pattern == patterns.last {
                counts[counts.count - 1] += weight
            } else {
                patterns.append(pattern)
                counts.append(weight)
            }
        }
    }

    var total: Double { counts.reduce(0, +) }
}

/// How common the values of names, cities and the like are: agreeing on a rare one weighs more (Fellegi & Sunter 1969,
/// method I; Winkler 1989). Only the most common values are kept; all others share the frequency of the rest.
package struct TermFrequencies: Codable, Sendable, Equatable {
    /// Entries over all fields at most, about 30 kB as JSON.
    package static let maxEntries = 2_000

    /// Hashes of field and folded value (52 bits, so that every JSON reader keeps them), ascending.
    private(set) var terms: [UInt64] = []
    /// What an exact agreement on that term weighs more or less than on an average value, in bits.
    private(set) var bits: [Float] = []
    /// The same for all values that are not listed, by the field's raw value.
    private(set) var restBits = [Float](repeating: 0, count: MatchField.allCases.count)

    /// No adjustment.
    package init() {}

    /// False for a damaged one.
    var isComplete: Bool {
        terms.count == bits.count && terms.count <= Self.maxEntries && restBits.count == MatchField.allCases.count
    }

    /// How many values are listed.
    package var count: Int { terms.count }

    /// The most common values of the people; `u` is how often strangers agree exactly on a field. Frequencies are drawn
    /// towards it as if 50 more people had average values, and no adjustment exceeds ±6 bits.
    init(_ profiles: PreparedProfiles, exactU: (MatchField) -> Double) {
        let fields = MatchField.allCases.filter(\.weighsRareValues)
        var listed: [(term: UInt64, bits: Float)] = []
        for field in fields {
            var counts: [UInt64: Int] = [:]
            var total = 0
            for row in profiles.rows {
                for id in Self.values(of: row, field, profiles) {
                    counts[profiles.pool.values[Int(id)].hash, default: 0] += 1
                    total += 1
                }
            }
            let u = exactU(field)
            let common = counts.filter { $0.value > 1 }
                .sorted { $0.value == $1.value ? $0.key < $1.key : $0.value > $1.value }
                .prefix(Self.maxEntries / fields.count)
            for (hash, count) in common {
                listed.append((Self.term(field, hash), Self.adjustment(Double(count), of: total, u)))
            }
            let listedPeople = common.reduce(0) { $0 + $1.value }
            let restValues = counts.count - common.count
            let restMean = restValues > 0 ? Double(total - listedPeople) / Double(restValues) : 1
            restBits[field.rawValue] = Self.adjustment(max(1, restMean), of: total, u)
        }
        listed.sort { $0.term < $1.term }
        terms = listed.map(\.term)
        bits = listed.map(\.bits)
    }

    private static func adjustment(_ count: Double, of total: Int, _ u: Double) -> Float {
        let prior = 50.0
        let frequency = (count + prior * u) / (Double(total) + prior)
        let bits = u / max(frequency, 1e-12)
        return Float(min(6, max(-6, log2Of(bits))))
    }

    private static func values(
        of row: PreparedProfiles.Row, _ field: MatchField, _ profiles: PreparedProfiles
    ) -> [ValuePool.ID] {
        switch field {
        case .email: Array(profiles.listed[row.emails])
        case .phone: Array(profiles.listed[row.phones])
        case .givenName: row.given == ValuePool.none ? [] : [row.given]
        case .familyName: row.family == ValuePool.none ? [] : [row.family]
        case .street: row.street == ValuePool.none ? [] : [row.street]
        case .city: row.city == ValuePool.none ? [] : [row.city]
        default: []
        }
    }

    static func term(_ field: MatchField, _ hash: UInt64) -> UInt64 {
        (hash ^ UInt64(field.rawValue + 1) &* 0x9e37_79b9_7f4a_7c15) & 0xf_ffff_ffff_ffff
    }
}

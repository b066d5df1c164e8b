import Foundation

/// What the fit learns: how often each field agrees for one person's two records (m) and for strangers' (u), what
/// relatives and colleagues share, and how common each of the three is among all pairs (Fellegi & Sunter 1969).
///
/// The third class is what keeps twins and spouses apart: address, family name and telephone agree between them as
/// they do for one person, so those agreements cannot be evidence for "one person" alone.
package struct MatchModel: Codable, Sendable, Equatable {
    /// Changes when the comparators, the levels or the blocking keys do: a stored model or key of another version must
    /// be made anew.
    package static let currentFormula = 1

    /// Probabilities of a field's levels, by the level's raw value; index 0 (`missing`) is unused. Each sums to 1.
    package struct Levels: Codable, Sendable, Equatable {
        /// Among pairs that are one person.
        package var m: [Double]
        /// Among pairs of strangers.
        package var u: [Double]
        /// How often relatives, neighbours and colleagues have the value in common, 0...1. Where they do, their records
        /// agree as one person's would (m), where they do not, as strangers' (u).
        package var shared: Double
    }

    package var formula: Int
    /// The share of all pairs of people that are one person, 0...1.
    package var prior: Double
    /// The share of all pairs that are of one household or office, 0...1.
    package var householdPrior: Double
    /// By the field's raw value.
    package var fields: [Levels]
    package var termFrequencies: TermFrequencies

    package subscript(field: MatchField) -> Levels {
        get { fields[field.rawValue] }
        set { fields[field.rawValue] = newValue }
    }

    /// Whether this version of the code can use the model: a stored one may come from another version or be damaged.
    package var isUsable: Bool {
        formula == Self.currentFormula && fields.count == MatchField.allCases.count && prior > 0 && householdPrior > 0
            && prior + householdPrior < 1 && termFrequencies.isComplete
            && zip(fields, MatchField.allCases).allSatisfy { levels, field in
                (0...1).contains(levels.shared)
                    && [levels.m, levels.u].allSatisfy { probabilities in
                        probabilities.count == AgreementLevel.allCases.count
                            && field.levels.allSatisfy { probabilities[$0.rawValue] > 0 }
                    }
            }
    }

    /// How alike two people are, with the reasons. Symmetric but for which value stands left.
    /// For many pairs use `DuplicateScan`: this one folds both people every time.
    package func score(_ left: MatchProfile, _ right: MatchProfile) -> MatchScore {
        PairScorer(self, PreparedProfiles([left, right])).explain(0, 1)
    }

    /// The scores of pairs of people, in their order: each person is folded once for all of them.
    package func scores(_ pairs: [(left: MatchProfile, right: MatchProfile)]) -> [MatchScore] {
        let scorer = PairScorer(self, PreparedProfiles(pairs.flatMap { [$0.left, $0.right] }))
        return pairs.indices.map { scorer.explain(2 * $0, 2 * $0 + 1) }
    }

    /// Scores one person against many, for looking up candidates when a contact is created; in the candidates' order.
    package func scores(_ person: MatchProfile, against candidates: [MatchProfile]) -> [MatchScore] {
        let scorer = PairScorer(self, PreparedProfiles([person] + candidates))
        return candidates.indices.map { scorer.explain(0, $0 + 1) }
    }
}

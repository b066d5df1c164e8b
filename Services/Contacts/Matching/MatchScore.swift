import Foundation

/// How alike two people are, and why.
package struct MatchScore: Sendable, Equatable, Codable {
    /// One reason for or against a match.
    package struct Reason: Sendable, Equatable, Codable {
        /// A `MatchField` name, or "household" (relatives and colleagues would agree like this too), or "implied".
        package var field: String
        /// The value as it was compared: in lower case, without accents. Nil where there is none.
        package var left: String?
        package var right: String?
        /// An `AgreementLevel` name; for "implied" the id of the person through whom.
        package var level: String
        /// log2 of how much likelier the agreement is for one person than for two; above 0 speaks for a match.
        package var bits: Double
    }

    /// That both records are one person, 0...1.
    package var probability: Double
    /// log2 of the odds before anything is compared.
    package var priorBits: Double
    /// Fields that both lack are left out. `priorBits` plus all their bits is log2 of the odds of `probability`.
    package var explanation: [Reason]

    /// log2 of the odds.
    package var bits: Double { explanation.reduce(priorBits) { $0 + $1.bits } }

    /// 1 / (1 + 2^-bits); both ends stay inside 0...1.
    package static func probability(bits: Double) -> Double { 1 / (1 + exp2(-bits)) }

    /// The same score, lifted to `probability` because both belong to one cluster; unchanged where it is higher
    /// already. The lift becomes a reason of its own, so the explanation still sums to the probability.
    package func implied(through: UUID?, probability lifted: Double) -> MatchScore {
        if lifted <= probability { return self }
        var score = self
        let target = log2(lifted / max(1e-15, 1 - lifted))
        score.explanation.append(
            Reason(
                field: "implied", left: nil, right: nil, level: through?.uuidString ?? "cluster", bits: target - bits))
        score.probability = Self.probability(bits: score.bits)
        return score
    }
}

/// log2, here so that files without Foundation can use it.
func log2Of(_ value: Double) -> Double { log2(value) }

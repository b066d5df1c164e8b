import Foundation

/// Two people who may be one.
package struct ScoredPair: Sendable, Equatable, Codable {
    /// The one that came first in the scanned profiles.
    package var first: UUID
    package var second: UUID
    /// 0...1. Lifted to the cluster's where the pair is implied.
    package var probability: Double
    /// What the two records say by themselves, 0...1.
    package var directProbability: Double
    /// Set where the pair is likely only because both are like this third person.
    package var impliedThrough: UUID?
    /// The number of their common cluster; nil where they are in different ones.
    package var cluster: Int?

    /// `score`, which must be this pair's, with the lift that the cluster gives it.
    package func lifted(_ score: MatchScore) -> MatchScore {
        impliedThrough == nil ? score : score.implied(through: impliedThrough, probability: probability)
    }
}

/// What a scan of a tenant found.
package struct ScanResult: Sendable {
    /// What it cost.
    package struct Figures: Sendable, Equatable, Codable {
        package var people = 0
        package var blocks = 0
        /// Blocks too large to pair everybody in: only neighbours in two orders were compared.
        package var oversizeBlocks = 0
        /// Pairs compared, of `people · (people − 1) / 2`.
        package var candidatePairs = 0
        package var impliedPairs = 0
        /// Wall time of each phase, in seconds.
        package var indexSeconds = 0.0
        package var fitSeconds = 0.0
        package var scoreSeconds = 0.0
        package var clusterSeconds = 0.0
    }

    /// The model used: fitted, or the one that was given.
    package var model: MatchModel
    /// Nil where the model was given.
    package var fit: ModelFitter.Report?
    /// Everything above the low bound, by probability, highest first.
    package var pairs: [ScoredPair]
    /// The records of each person that has several.
    package var clusters: [[UUID]]
    package var figures: Figures
}

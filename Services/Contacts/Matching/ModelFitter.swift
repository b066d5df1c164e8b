import Foundation

/// Fits a model to a tenant's own people without anybody saying who is a duplicate: expectation–maximisation
/// (Dempster, Laird & Rubin 1977) on agreement patterns under conditional independence, as Winkler 1988 and Jaro 1989
/// do, with three classes (one person, household, strangers).
///
/// Strangers' probabilities come from random pairs first and stay. The rest is fitted on the candidate pairs: m, both
/// priors, and how often a household shares each field (but for those that tell relatives apart). In a household's
/// pair it is a second hidden variable for each field whether the value is shared; if so the records agree by m, so
/// relatives at one address help to learn how addresses are misspelt instead of passing for one person. The pairs that
/// no block proposes count as strangers.
package struct ModelFitter: Sendable {
    /// What the fit did.
    package struct Report: Sendable, Equatable, Codable {
        package var iterations: Int
        /// Whether the last iteration gained next to nothing, rather than being the last that was allowed.
        package var isConverged: Bool
        /// Penalised log-likelihood (natural logarithm) before each iteration and after the last. Never decreases.
        package var logLikelihoods: [Double]
    }

    private let start: MatchModel
    private let candidates: PatternCounts
    private let allPairs: Double
    private let people: Double

    /// Iterations at most; 15 to 30 are usual.
    static let maxIterations = 60
    /// As if so many duplicate pairs of the initial model had been seen besides the tenant's own.
    private static let matchPseudoCount = 100.0
    /// As if so many household pairs of the initial model had been seen.
    private static let sharedPseudoCount = 100.0
    /// As if so many strangers' pairs of the initial model had been seen.
    private static let strangerPseudoCount = 3_000.0

    /// `candidates` are the patterns of the candidate pairs, `random` those of random pairs, `people` how many people
    /// there are, all of any size, also empty.
    init(candidates: PatternCounts, random: PatternCounts, people: Int, initial: MatchModel = .initial) {
        self.candidates = candidates
        self.people = Double(people)
        allPairs = max(candidates.total, Double(people) * Double(max(0, people - 1)) / 2, 1)
        var model = initial
        Self.fitStrangers(random, &model, initial)
        start = model
    }

    /// The fitted model, without term frequencies, and how the fit went. Deterministic.
    func fit() -> (MatchModel, Report) {
        var model = start
        model.prior = clampedPrior(0.05 * people / allPairs)
        model.householdPrior = clampedPrior(0.02 * people / allPairs)
        var report = Report(iterations: 0, isConverged: false, logLikelihoods: [])
        while report.iterations < Self.maxIterations {
            let expectation = Expectation(model, candidates)
            let likelihood = penalised(expectation.logLikelihood, model)
            let gain = likelihood - (report.logLikelihoods.last ?? -.infinity)
            report.logLikelihoods.append(likelihood)
            if gain < 1e-6 * max(1, abs(likelihood)) {
                report.isConverged = true
                return (model, report)
            }
            model = maximised(expectation, model)
            report.iterations += 1
        }
        report.logLikelihoods.append(penalised(Expectation(model, candidates).logLikelihood, model))
        return (model, report)
    }

    // MARK: - Strangers

    /// Random pairs are strangers but for the few that the initial model takes for duplicates or relatives: those are
    /// left out by their probability, so a tenant that is all duplicates keeps the initial values.
    private static func fitStrangers(_ random: PatternCounts, _ model: inout MatchModel, _ initial: MatchModel) {
        let expectation = Expectation(initial, random)
        for field in MatchField.allCases {
            let before = initial[field].u
            var probabilities = before
            let seen = expectation.strangerCounts[field.rawValue]
            let total = seen.reduce(0, +) + strangerPseudoCount
            for level in field.levels.map(\.rawValue) {
                // What a sample does not contain may still be nearly as common as experience says; crosswise agreement,
                // which comes in two fields at once, as common.
                let floor = level == AgreementLevel.swapped.rawValue ? before[level] : before[level] / 4
                probabilities[level] = max((seen[level] + strangerPseudoCount * before[level]) / total, floor)
            }
            let sum = probabilities.reduce(0, +)
            model[field].u = probabilities.map { $0 / sum }
        }
    }

    // MARK: - Maximisation

    private func maximised(_ expectation: Expectation, _ model: MatchModel) -> MatchModel {
        var next = model
        for field in MatchField.allCases {
            let prior = start[field].m
            let seen = expectation.matchCounts[field.rawValue]
            var counts = [Double](repeating: 0, count: seen.count)
            for level in field.levels.map(\.rawValue) {
                counts[level] = seen[level] + Self.matchPseudoCount * prior[level]
            }
            next[field].m = Self.capped(counts, cap: Self.differentCap(field))
            if Self.isShareLearnt(field) {
                let shared = expectation.sharedCounts[field.rawValue]
                let pseudo = Self.sharedPseudoCount
                let share = (shared.yes + pseudo * start[field].shared) / (shared.yes + shared.no + pseudo)
                next[field].shared = min(0.99, share)
            }
        }
        let (matchPseudo, householdPseudo, strangerPseudo) = priorPseudoCounts
        let total = allPairs + matchPseudo + householdPseudo + strangerPseudo
        next.prior = (expectation.matches + matchPseudo) / total
        next.householdPrior = (expectation.household + householdPseudo) / total
        return next
    }

    /// One person's records do not differ in a name or birth date more often than this, or else the class of matches
    /// has drifted to some other group that resembles itself, such as one city's people.
    private static func differentCap(_ field: MatchField) -> Double {
        switch field {
        case .givenName, .birthDate: 0.06
        case .familyName: 0.08
        case .identifier: 0.25
        case .email, .phone: 0.60
        default: 0.35
        }
    }

    /// How many twins and namesakes there are among relatives cannot be learnt: each looks like one person with one
    /// wrong field. How many relatives there are can, since most of them differ in both fields.
    private static func isShareLearnt(_ field: MatchField) -> Bool {
        field != .givenName && field != .birthDate && field != .identifier
    }

    /// The multinomial maximum with the share of `different` at most `cap`: where it is exceeded, the cap itself and
    /// the other levels in proportion (the Karush–Kuhn–Tucker point, the problem being concave), so the likelihood
    /// still cannot fall.
    private static func capped(_ counts: [Double], cap: Double) -> [Double] {
        let different = AgreementLevel.different.rawValue
        let total = counts.reduce(0, +)
        let share = counts[different] / total
        if share <= cap { return counts.map { $0 / total } }
        let rest = total - counts[different]
        return counts.enumerated().map { $0.offset == different ? cap : $0.element / rest * (1 - cap) }
    }

    /// As if one person in a hundred had a duplicate, and one in two hundred a relative: so few pairs that a tenant's own
    /// soon outweigh them, enough that a class never dies out.
    private var priorPseudoCounts: (match: Double, household: Double, stranger: Double) {
        (0.5 + 0.01 * people, 0.5 + 0.005 * people, 1_000)
    }

    private func clampedPrior(_ prior: Double) -> Double { min(0.2, max(1e-9, prior)) }

    /// Adds what the pairs outside all blocks and the pseudo-counts contribute: this sum is what each iteration raises.
    private func penalised(_ likelihood: Double, _ model: MatchModel) -> Double {
        let (matchPseudo, householdPseudo, strangerPseudo) = priorPseudoCounts
        let outside = allPairs - candidates.total + strangerPseudo
        var sum = likelihood + outside * log(1 - model.prior - model.householdPrior)
        sum += matchPseudo * log(model.prior) + householdPseudo * log(model.householdPrior)
        for field in MatchField.allCases {
            for level in field.levels.map(\.rawValue) {
                sum += Self.matchPseudoCount * start[field].m[level] * log(model[field].m[level])
            }
            guard Self.isShareLearnt(field) else { continue }
            let (before, now) = (start[field].shared, model[field].shared)
            sum += Self.sharedPseudoCount * (before * log(now) + (1 - before) * log(1 - now))
        }
        return sum
    }
}

/// The expectation step: how many pairs of each class there are, and at which levels they agree, if the model is right.
private struct Expectation {
    private(set) var matches = 0.0
    private(set) var household = 0.0
    /// By field and level: values that should be the same, because it is one person or one household shares them.
    private(set) var matchCounts: [[Double]]
    private(set) var strangerCounts: [[Double]]
    /// By field: households' pairs that share the value, and that do not.
    private(set) var sharedCounts: [(yes: Double, no: Double)]
    /// Of the observed patterns, relative to all fields' values being strangers'; natural logarithm.
    private(set) var logLikelihood = 0.0

    init(_ model: MatchModel, _ observed: PatternCounts) {
        let fields = MatchField.allCases.count
        var matchSums = [Double](repeating: 0, count: fields * 8)
        var householdSums = matchSums
        var strangerSums = matchSums
        let matchRatios = model.logRatios().map(exp2)
        let householdRatios = model.householdRatios()
        let strangerPrior = 1 - model.prior - model.householdPrior
        for (pattern, count) in zip(observed.patterns, observed.counts) {
            var match = model.prior
            var relative = model.householdPrior
            for field in 0..<fields {
                let place = field * 8 + pattern.level(at: field)
                match *= matchRatios[place]
                relative *= householdRatios[place]
            }
            let sum = match + relative + strangerPrior
            logLikelihood += count * log(sum)
            let matchShare = count * match / sum
            let householdShare = count * relative / sum
            let strangerShare = count * strangerPrior / sum
            matches += matchShare
            household += householdShare
            for field in 0..<fields {
                let place = field * 8 + pattern.level(at: field)
                matchSums[place] += matchShare
                householdSums[place] += householdShare
                strangerSums[place] += strangerShare
            }
        }
        matchCounts = []
        strangerCounts = []
        sharedCounts = []
        for field in MatchField.allCases {
            let shared = model[field].shared
            var matchCount = [Double](repeating: 0, count: AgreementLevel.allCases.count)
            var strangerCount = matchCount
            var sharing = (yes: 0.0, no: 0.0)
            for level in 1..<AgreementLevel.allCases.count {
                let place = field.rawValue * 8 + level
                let yes = householdSums[place] * shared * matchRatios[place] / householdRatios[place]
                matchCount[level] = matchSums[place] + yes
                strangerCount[level] = strangerSums[place]
                sharing.yes += yes
                sharing.no += householdSums[place] - yes
            }
            matchCounts.append(matchCount)
            strangerCounts.append(strangerCount)
            sharedCounts.append(sharing)
        }
    }
}

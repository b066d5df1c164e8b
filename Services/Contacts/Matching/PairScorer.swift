import Foundation

/// A model applied to prepared people.
struct PairScorer: Sendable {
    let comparator: PairComparator
    private let model: MatchModel
    /// log2 m/u by field · 8 + level; 0 for `missing`.
    private let weights: [Double]
    /// What relatives agree at over what strangers do, likewise; 1 for `missing`.
    private let householdRatios: [Double]
    private let termBits: [UInt64: Float]
    private let priorBits: Double
    private let householdOdds: Double

    /// `model` must be usable (`MatchModel.isUsable`); `initial` is taken where it is not.
    init(_ candidate: MatchModel, _ profiles: PreparedProfiles) {
        let model = candidate.isUsable ? candidate : .initial
        self.model = model
        comparator = PairComparator(profiles: profiles)
        weights = model.logRatios()
        householdRatios = model.householdRatios()
        let strangers = 1 - model.prior - model.householdPrior
        priorBits = log2(model.prior / strangers)
        householdOdds = model.householdPrior / strangers
        termBits = Dictionary(
            zip(model.termFrequencies.terms, model.termFrequencies.bits), uniquingKeysWith: { first, _ in first })
    }

    private static let fieldCount = MatchField.allCases.count

    private var profiles: PreparedProfiles { comparator.profiles }

    /// log2 of the posterior odds that both are one person.
    func bits(_ left: Int, _ right: Int) -> Double {
        let pattern = comparator.pattern(left, right)
        var (match, household) = (0.0, householdOdds)
        for field in 0..<Self.fieldCount {
            let level = pattern.level(at: field)
            if level == 0 { continue }
            let term = termAdjustment(field, level, left, right)
            match += weights[field * 8 + level] + term
            household *= householdRatio(field, level, term)
        }
        return priorBits + match - log2(1 + household)
    }

    /// The score with its reasons; `bits` of it equals `bits(left, right)` but for rounding.
    func explain(_ left: Int, _ right: Int) -> MatchScore {
        let pattern = comparator.pattern(left, right)
        var household = householdOdds
        var reasons: [MatchScore.Reason] = []
        for field in MatchField.allCases {
            let level = pattern[field]
            let values = (profiles.text(left, field), profiles.text(right, field))
            if values.0 == nil && values.1 == nil { continue }
            let term = termAdjustment(field.rawValue, level.rawValue, left, right)
            household *= householdRatio(field.rawValue, level.rawValue, term)
            reasons.append(
                .init(
                    field: field.name, left: values.0, right: values.1, level: level.name,
                    bits: weights[field.rawValue * 8 + level.rawValue] + term))
        }
        let discount = -log2(1 + household)
        reasons.append(.init(field: "household", left: nil, right: nil, level: "household", bits: discount))
        var score = MatchScore(probability: 0, priorBits: priorBits, explanation: reasons)
        score.probability = MatchScore.probability(bits: score.bits)
        return score
    }

    /// A rare value weighs more where it is shared, and only there.
    private func householdRatio(_ field: Int, _ level: Int, _ term: Double) -> Double {
        if term == 0 { return householdRatios[field * 8 + level] }
        let shared = model.fields[field].shared
        return shared * exp2(weights[field * 8 + level] + term) + 1 - shared
    }

    /// What agreeing on this value weighs more than agreeing on an average one. In lists the shared value is found
    /// again: exact agreements are rare enough. A slip away from a common name is common too ("Lee", "Leo"), so what a
    /// common name weighs less it weighs less there as well.
    private func termAdjustment(_ field: Int, _ level: Int, _ left: Int, _ right: Int) -> Double {
        let isExact = level == AgreementLevel.exact.rawValue
        guard isExact || level == AgreementLevel.close.rawValue, !termBits.isEmpty,
            let field = MatchField(rawValue: field), field.weighsRareValues
        else { return 0 }
        let row = profiles.rows[left]
        let other = profiles.rows[right]
        let ids: (ValuePool.ID, ValuePool.ID)? =
            switch field {
            case .givenName: (row.given, other.given)
            case .familyName: (row.family, other.family)
            case .street: (row.street, other.street)
            case .city: (row.city, other.city)
            default: nil
            }
        if let ids {
            if isExact { return termBits(field, hash(ids.0)) }
            return min(0, termBits(field, hash(ids.0)), termBits(field, hash(ids.1)))
        }
        guard isExact, field == .email || field == .phone else { return 0 }
        let shared =
            field == .email ? shared(row.emails, other.emails) : shared(row.phones, other.phones)
        return shared.map { termBits(field, $0) } ?? 0
    }

    private func termBits(_ field: MatchField, _ hash: UInt64) -> Double {
        Double(termBits[TermFrequencies.term(field, hash)] ?? model.termFrequencies.restBits[field.rawValue])
    }

    private func hash(_ id: ValuePool.ID) -> UInt64 { profiles.pool.values[Int(id)].hash }

    /// The smallest hash that both lists have, so that the order of the people does not matter.
    private func shared(_ left: Range<Int>, _ right: Range<Int>) -> UInt64? {
        var smallest: UInt64?
        for one in left {
            let hash = hash(profiles.listed[one])
            for other in right where self.hash(profiles.listed[other]) == hash {
                smallest = min(smallest ?? hash, hash)
            }
        }
        return smallest
    }
}

extension MatchModel {
    /// log2 m/u by field · 8 + level.
    func logRatios() -> [Double] {
        var ratios = [Double](repeating: 0, count: MatchField.allCases.count * 8)
        for field in MatchField.allCases {
            let levels = self[field]
            for level in field.levels.map(\.rawValue) {
                ratios[field.rawValue * 8 + level] = log2(levels.m[level] / levels.u[level])
            }
        }
        return ratios
    }

    /// (shared · m + (1 − shared) · u) / u by field · 8 + level.
    func householdRatios() -> [Double] {
        var ratios = [Double](repeating: 1, count: MatchField.allCases.count * 8)
        for field in MatchField.allCases {
            let levels = self[field]
            for level in field.levels.map(\.rawValue) {
                ratios[field.rawValue * 8 + level] =
                    levels.shared * levels.m[level] / levels.u[level] + 1 - levels.shared
            }
        }
        return ratios
    }
}

import Foundation
import Testing

@testable import Matching

@Suite struct ModelFitterTests {
    /// A model to simulate from, unlike the initial one.
    private static var truth: MatchModel {
        var model = MatchModel.initial
        model[.givenName].m = [0, 0.60, 0.20, 0.10, 0.04, 0.02, 0.04]
        model[.birthDate].m = [0, 0.70, 0.15, 0.08, 0.02, 0.02, 0.03]
        model[.street].m = [0, 0.50, 0.25, 0.10, 0.02, 0.05, 0.08]
        model[.identifier].m = [0, 0.75, 0.15, 0.05, 0, 0, 0.05]
        model[.region].u = [0, 0.35, 0.05, 0, 0, 0, 0.60]
        return model
    }

    private static func draw(_ probabilities: [Double], _ random: inout SplitMix64) -> AgreementLevel {
        var rest = Double.random(in: 0..<1, using: &random)
        for (level, probability) in probabilities.enumerated() {
            rest -= probability
            if rest < 0 { return AgreementLevel(rawValue: level)! }
        }
        return .different
    }

    private static func patterns(_ count: Int, match: Bool, _ random: inout SplitMix64) -> [AgreementPattern] {
        (0..<count).map { _ in
            var pattern = AgreementPattern()
            for field in MatchField.allCases where field != .email {
                pattern[field] = draw(match ? truth[field].m : truth[field].u, &random)
            }
            return pattern
        }
    }

    private static let fitted: (MatchModel, ModelFitter.Report) = {
        var random = SplitMix64(seed: 11)
        let candidates = patterns(3_000, match: true, &random) + patterns(5_000, match: false, &random)
        let strangers = patterns(10_000, match: false, &random)
        return ModelFitter(candidates: PatternCounts(candidates), random: PatternCounts(strangers), people: 6_000).fit()
    }()

    @Test("the likelihood never falls and the fit converges")
    func monotone() {
        let (_, report) = Self.fitted
        #expect(report.isConverged)
        #expect(report.logLikelihoods.count > 2)
        for (earlier, later) in zip(report.logLikelihoods, report.logLikelihoods.dropFirst()) {
            #expect(later >= earlier - 1e-6 * abs(earlier))
        }
    }

    @Test("the fit finds the probabilities that the data were drawn from")
    func recovery() {
        let (model, _) = Self.fitted
        for field in [MatchField.givenName, .birthDate, .street, .identifier, .familyName] {
            for level in field.levels.map(\.rawValue) {
                #expect(abs(model[field].m[level] - Self.truth[field].m[level]) < 0.03, "\(field) \(level)")
            }
        }
        #expect(abs(model[.region].u[1] - 0.35) < 0.05)
        #expect(abs(model.prior * 6_000 * 5_999 / 2 - 3_000) < 150)
        #expect(model.isUsable)
        // No e-mail was ever seen: what experience says stays.
        #expect(model[.email].m == MatchModel.initial[.email].m)
    }

    @Test("tiny and odd data leave a usable model", arguments: [0, 1, 2, 3, 50])
    func oddData(_ people: Int) {
        var random = SplitMix64(seed: 5)
        for match in [true, false] {
            let seen = PatternCounts(Self.patterns(people * (people - 1) / 2, match: match, &random))
            let (model, report) = ModelFitter(candidates: seen, random: seen, people: people).fit()
            #expect(model.isUsable)
            for (earlier, later) in zip(report.logLikelihoods, report.logLikelihoods.dropFirst()) {
                #expect(later >= earlier - 1e-6 * abs(earlier))
            }
        }
    }
}

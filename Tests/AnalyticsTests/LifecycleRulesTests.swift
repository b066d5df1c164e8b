import Contracts
import Foundation
import Testing

@testable import Analytics

@Suite("Stages of the lifecycle")
struct LifecycleRulesTests {
    private func time(_ day: Double) -> Date { Date(timeIntervalSince1970: 1_700_000_000 + day * 86_400) }

    private func verdict(_ days: [Double], at now: Double) -> LifecycleRules.Verdict {
        guard let first = days.first else { return .prospect }
        return LifecycleRules.verdict(count: days.count, first: time(first), latest: days.map(time), now: time(now))
    }

    private func rule(_ days: [Double], at now: Double) -> String { verdict(days, at: now).assessment.rule }

    @Test("each stage is reached by the purchases that mean it, and says by which rule")
    func stages() {
        let monthly: [Double] = [0, 30, 60, 90, 120, 150]
        let cases: [([Double], Double, LifecycleStage, String)] = [
            ([], 10, .prospect, "no_purchase"),
            ([0], 10, .firstPurchase, "one_purchase"),
            ([0], 200, .decline, "silent_for_long"),
            ([0], 500, .ended, "silent_too_long"),
            ([0, 30], 40, .growth, "few_purchases"),
            (monthly, 160, .mature, "steady"),
            ([0, 40, 80, 100, 115, 125], 130, .growth, "more_often"),
            ([0, 10, 20, 30, 60, 90], 100, .decline, "slowing"),
            (monthly, 211, .decline, "silent_for_long"),
            (monthly, 301, .ended, "silent_too_long"),
            ([0, 30, 60, 400], 410, .recovered, "came_back"),
            ([0, 30, 60, 400, 430], 440, .growth, "few_purchases"),
            ([0, 30, 60, 400, 430, 460, 490], 500, .mature, "steady"),
            ([0, 460], 470, .recovered, "came_back"),
        ]
        for (days, now, stage, rule) in cases {
            let found = verdict(days, at: now).assessment
            #expect(found.stage == stage && found.rule == rule, "\(days) at \(now): \(found)")
        }
    }

    @Test("silence is measured by the customer's own habit")
    func habit() {
        let (weekly, yearly): ([Double], [Double]) = ([0, 7, 14, 21], [0, 365, 730, 1095])
        #expect(rule(weekly, at: 21 + 36) == "silent_too_long")
        #expect(rule(yearly, at: 1095 + 360) == "steady")
        // Two purchases of one week are no habit of days.
        #expect(verdict([0, 1], at: 12).assessment.figures["mean_interval_days"] == 7)
        #expect(verdict(weekly, at: 28).assessment.figures["intervals_of_silence"] == 1)
    }

    @Test("the moment of the next stage is exact: just before it nothing has changed, at it everything has")
    func until() {
        let histories: [[Double]] = [[0], [0, 30], [0, 30, 60, 90, 120], [0, 10, 20, 30, 60, 90], [0, 30, 60, 400]]
        for days in histories {
            var now = time(days.last!)
            var stages: [LifecycleStage] = []
            while true {
                let found = LifecycleRules.verdict(
                    count: days.count, first: time(days[0]), latest: days.map(time), now: now)
                stages.append(found.assessment.stage)
                guard let until = found.until else { break }
                #expect(until > now)
                let before = LifecycleRules.verdict(
                    count: days.count, first: time(days[0]), latest: days.map(time), now: until - 0.001)
                #expect(before.assessment.stage == found.assessment.stage)
                now = until
            }
            #expect(stages.last == .ended && stages.count <= 3 && Set(stages).count == stages.count, "\(stages)")
        }
    }

    @Test("no history whatever breaks the rules")
    func random() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let days = (0..<Int.random(in: 1...70, using: &generator))
                .map { _ in Double.random(in: 0...2_000, using: &generator) }.sorted()
            let found = LifecycleRules.verdict(
                count: days.count, first: time(days[0]), latest: days.suffix(60).map(time),
                now: time(Double.random(in: 0...4_000, using: &generator)))
            #expect(found.assessment.stage != .prospect)
            let areFinite = found.assessment.figures.values.allSatisfy { $0.isFinite }
            #expect(areFinite)
        }
    }
}

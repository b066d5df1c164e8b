import Contracts
import Foundation

/// Says where a customer stands, from when they bought. Pure.
///
/// What is long or short is measured by the customer's own habit: the mean interval between their purchases, at least a
/// week. A purchase is a day with an order. The thresholds are round figures of practice, to be replaced by a fitted
/// probability of being alive; each verdict names its rule and figures, so that it can be argued with.
enum LifecycleRules {
    /// Silence of so many of their own intervals: the relationship declines.
    static let declineAfter = 2.0
    /// Silence of so many of their own intervals: it has ended.
    static let endedAfter = 5.0
    /// Recent intervals of at most this share of the earlier ones: the customer buys ever more often.
    static let growthBelow = 0.8
    /// Recent intervals of at least so many times the earlier ones: ever less often.
    static let slowingFrom = 2.0
    /// The interval of whoever has bought once, and has no habit yet: ninety days, in seconds.
    static let usualInterval: TimeInterval = 90 * day
    static let shortestInterval: TimeInterval = 7 * day
    private static let day: TimeInterval = 86_400

    /// A stage, and when it is another one if nothing happens; nil for never.
    struct Verdict: Sendable, Equatable {
        let assessment: StageAssessment
        let until: Date?

        /// Of whoever has not bought.
        static let prospect = Verdict(
            assessment: StageAssessment(stage: .prospect, rule: "no_purchase", figures: ["purchases": 0]), until: nil)
    }

    /// The verdict at `now` on a customer with `count` purchases since `first`, the `latest` of them in order of time.
    static func verdict(count: Int, first: Date, latest: [Date], now: Date) -> Verdict {
        guard count > 0, let last = latest.last else { return .prospect }
        let gaps = zip(latest, latest.dropFirst()).map { $1.timeIntervalSince($0) }
        let overall =
            count > 1 ? max(shortestInterval, last.timeIntervalSince(first) / Double(count - 1)) : usualInterval
        // Whoever was gone and came back begins anew: what counts is their habit since.
        let habits = gaps.indices.map { index in
            index > 0 ? max(shortestInterval, mean(gaps[..<index])) : count > latest.count ? overall : usualInterval
        }
        let comeback = gaps.indices.last { gaps[$0] >= endedAfter * habits[$0] }
        let since = comeback.map { gaps[($0 + 1)...] } ?? gaps[...]
        let isBack = comeback != nil && since.isEmpty
        let interval =
            comeback == nil ? overall : isBack ? habits[comeback!] : max(shortestInterval, mean(since))
        let silence = max(0, now.timeIntervalSince(last))
        var figures: [String: Double] = [
            "purchases": Double(count), "days_since_last_purchase": rounded(silence / day),
            "mean_interval_days": rounded(interval / day), "intervals_of_silence": rounded(silence / interval),
        ]
        if let comeback { figures["days_away"] = rounded(gaps[comeback] / day) }
        let (declines, ends) = (last + declineAfter * interval, last + endedAfter * interval)
        func verdict(_ stage: LifecycleStage, _ rule: String, until: Date?) -> Verdict {
            Verdict(assessment: StageAssessment(stage: stage, rule: rule, figures: figures), until: until)
        }
        if now >= ends { return verdict(.ended, "silent_too_long", until: nil) }
        if now >= declines { return verdict(.decline, "silent_for_long", until: ends) }
        if count == 1 { return verdict(.firstPurchase, "one_purchase", until: declines) }
        if isBack { return verdict(.recovered, "came_back", until: declines) }
        if since.count < 3 { return verdict(.growth, "few_purchases", until: declines) }
        let half = since.count / 2
        let (earlier, recent) = (mean(since.dropLast(half)), mean(since.suffix(half)))
        let trend = max(recent, shortestInterval) / max(earlier, shortestInterval)
        figures["trend"] = rounded(trend)
        if trend >= slowingFrom { return verdict(.decline, "slowing", until: ends) }
        if trend <= growthBelow { return verdict(.growth, "more_often", until: declines) }
        return verdict(.mature, "steady", until: declines)
    }

    private static func mean(_ values: some Collection<TimeInterval>) -> TimeInterval {
        values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
    }

    private static func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
}

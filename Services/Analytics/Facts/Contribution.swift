import Contracts
import Foundation

/// What one fact adds to the daily figures. Pure: taking the old fact's contributions away and adding the new one's
/// brings the figures from any state to the right one, in whatever order facts arrive.
struct Contribution: Hashable, Comparable {
    /// A day of the tenant's calendar, `YYYY-MM-DD`.
    let day: String
    let metric: String
    /// Empty where no money is involved.
    let currency: String

    static func < (left: Contribution, right: Contribution) -> Bool {
        (left.day, left.metric, left.currency) < (right.day, right.metric, right.currency)
    }

    /// Count and amount by place, for one fact in one state.
    static func of(
        kind: String, state: String, at: Date, amount: Int?, currency: String?, calendar: Calendar
    ) -> [Contribution: (count: Int, amount: Int)] {
        guard state != "deleted", let metric = metrics[kind]?[state] ?? metrics[kind]?["*"] else { return [:] }
        let day = calendar.dateComponents([.year, .month, .day], from: at)
        let text = String(format: "%04d-%02d-%02d", day.year!, day.month!, day.day!)
        let place = Contribution(day: text, metric: metric, currency: amount == nil ? "" : currency ?? "")
        return [place: (1, amount ?? 0)]
    }

    /// The metric that a kind counts under, by state; `*` for every state but `deleted`.
    private static let metrics: [String: [String: String]] = [
        "contact": ["*": "contacts"],
        "interaction": ["*": "interactions"],
        "deal": ["open": "deals_open", "won": "deals_won", "lost": "deals_lost"],
        "order": ["placed": "orders"],
        "payment": ["received": "payments"],
        "ticket": ["open": "tickets_open", "solved": "tickets_solved"],
        "survey": ["*": "surveys"],
    ]
}

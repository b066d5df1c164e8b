import Foundation
import Testing

@testable import Analytics

@Suite("Contributions of facts")
struct ContributionTests {
    private var shanghai: Calendar {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = TimeZone(identifier: "Asia/Shanghai")!
        return calendar
    }

    @Test("a fact counts for the tenant's own day")
    func day() {
        let late = Date(timeIntervalSince1970: 1_795_000_000)  // 2026-11-18T11:06:40Z
        let evening = late.addingTimeInterval(5.5 * 3600)
        let place = Contribution.of(
            kind: "payment", state: "received", at: evening, amount: 5, currency: "EUR", calendar: shanghai)
        #expect(place.keys.first == Contribution(day: "2026-11-19", metric: "payments", currency: "EUR"))
        #expect(place.values.first?.count == 1)
        #expect(place.values.first?.amount == 5)
    }

    @Test("what was deleted, cancelled or is unknown counts nowhere")
    func nothing() {
        for (kind, state) in [("contact", "deleted"), ("order", "cancelled"), ("mystery", "open")] {
            #expect(
                Contribution.of(kind: kind, state: state, at: Date(), amount: nil, currency: nil, calendar: shanghai)
                    .isEmpty)
        }
    }
}

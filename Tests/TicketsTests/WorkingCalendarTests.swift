import Database
import Foundation
import Testing

@testable import Tickets

@Suite("Working calendars")
struct WorkingCalendarTests {
    private func calendar(
        _ zone: String, holidays: Set<String> = [], slots: [WorkingCalendar.Slot] = [.init(from: 540, to: 1020)]
    ) -> WorkingCalendar {
        WorkingCalendar(
            timeZone: TimeZone(identifier: zone)!, slots: Dictionary(uniqueKeysWithValues: (1...5).map { ($0, slots) }),
            holidays: holidays)
    }

    private func after(_ calendar: WorkingCalendar, _ hours: Double, _ start: String) -> String? {
        calendar.date(after: hours * 3600, from: Timestamp.parse(start)!).map(Timestamp.rfc3339)
    }

    @Test("time outside working hours, weekends and holidays does not count")
    func counting() {
        // Friday 16:00 in Berlin, nine to five: one hour is left, the other two come on Monday.
        #expect(after(calendar("Europe/Berlin"), 3, "2026-11-20T15:00:00Z") == "2026-11-23T10:00:00Z")
        #expect(
            after(calendar("Europe/Berlin", holidays: ["2026-11-23"]), 3, "2026-11-20T15:00:00Z")
                == "2026-11-24T10:00:00Z")
        #expect(after(calendar("Asia/Shanghai"), 1, "2026-11-22T00:00:00Z") == "2026-11-23T02:00:00Z")
    }

    @Test("several slots a day")
    func slots() {
        let split = calendar("UTC", slots: [.init(from: 540, to: 720), .init(from: 780, to: 1020)])
        #expect(after(split, 4, "2026-11-23T09:00:00Z") == "2026-11-23T14:00:00Z")
    }

    @Test("a night shift over a clock change is as long as it really was")
    func clockChanges() {
        let nights = WorkingCalendar(
            timeZone: TimeZone(identifier: "Europe/Berlin")!, slots: [7: [.init(from: 0, to: 360)]], holidays: [])
        // Sunday 2026-03-29: 00:00 to 06:00 lasts five hours. Sunday 2026-10-25: seven.
        let spring = Timestamp.parse("2026-03-28T23:00:00Z")!
        #expect(nights.seconds(from: spring, to: spring.addingTimeInterval(86_400)) == 5 * 3600)
        let autumn = Timestamp.parse("2026-10-24T22:00:00Z")!
        #expect(nights.seconds(from: autumn, to: autumn.addingTimeInterval(86_400)) == 7 * 3600)
    }

    @Test("adding and measuring agree, for a thousand random spans in three time zones")
    func inverse() {
        var random = SystemRandomNumberGenerator()
        for zone in ["Europe/Berlin", "America/New_York", "Asia/Shanghai"] {
            let calendar = calendar(zone, holidays: ["2026-12-25", "2026-01-01"])
            for _ in 0..<300 {
                let start = Date(
                    timeIntervalSince1970: Double(Int.random(in: 1_767_000_000..<1_798_000_000, using: &random)))
                let seconds = Double(Int.random(in: 1..<400_000, using: &random))
                let end = calendar.date(after: seconds, from: start)!
                #expect(abs(calendar.seconds(from: start, to: end) - seconds) < 0.001)
            }
        }
    }

    @Test("a calendar without any hours to come has no end")
    func never() {
        let holidaysOnly = WorkingCalendar(timeZone: .gmt, slots: [1: []], holidays: [])
        #expect(holidaysOnly.date(after: 1, from: Date()) == nil)
    }
}

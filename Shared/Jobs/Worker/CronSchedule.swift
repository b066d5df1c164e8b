import Foundation

/// A cron expression of five fields: minute, hour, day of month, month, day of week (0 or 7 is Sunday).
///
/// Each field takes `*`, numbers, ranges `a-b`, steps `*/n` and `a-b/n`, and lists of those. As in Vixie cron, when
/// both day fields are restricted a day matches if either does.
package struct CronSchedule: Sendable, Equatable {
    private let minutes: Set<Int>
    private let hours: Set<Int>
    private let days: Set<Int>
    private let months: Set<Int>
    private let weekdays: Set<Int>
    private let eitherDay: Bool

    /// Reads an expression; nil when it is not one.
    package init?(_ text: String) {
        let fields = text.split(separator: " ", omittingEmptySubsequences: true)
        guard fields.count == 5, let minutes = Self.values(fields[0], 0...59),
            let hours = Self.values(fields[1], 0...23),
            let days = Self.values(fields[2], 1...31), let months = Self.values(fields[3], 1...12),
            let weekdays = Self.values(fields[4], 0...7)
        else { return nil }
        self.minutes = minutes
        self.hours = hours
        self.days = days
        self.months = months
        self.weekdays = Set(weekdays.map { $0 % 7 })
        eitherDay = fields[2] != "*" && fields[4] != "*"
    }

    /// The last time at or before `date` that the expression names, in `timeZone`; nil when there is none in four years.
    ///
    /// An hour that the clocks skip fires nothing that day; an hour that they repeat fires once.
    package func latest(atOrBefore date: Date, in timeZone: TimeZone) -> Date? {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = timeZone
        var day = calendar.startOfDay(for: date)
        for _ in 0..<1500 {
            let parts = calendar.dateComponents([.year, .month, .day, .weekday], from: day)
            if matches(month: parts.month!, day: parts.day!, weekday: parts.weekday! - 1) {
                for hour in hours.sorted(by: >) {
                    for minute in minutes.sorted(by: >) {
                        var wanted = parts
                        wanted.weekday = nil
                        wanted.hour = hour
                        wanted.minute = minute
                        guard let time = calendar.date(from: wanted), time <= date else { continue }
                        let got = calendar.dateComponents([.hour, .minute], from: time)
                        if got.hour == hour && got.minute == minute { return time }
                    }
                }
            }
            guard let before = calendar.date(byAdding: .day, value: -1, to: day) else { return nil }
            day = calendar.startOfDay(for: before)
        }
        return nil
    }

    private func matches(month: Int, day: Int, weekday: Int) -> Bool {
        guard months.contains(month) else { return false }
        let byDay = days.contains(day)
        let byWeekday = weekdays.contains(weekday)
        return eitherDay ? byDay || byWeekday : byDay && byWeekday
    }

    private static func values(_ field: Substring, _ bounds: ClosedRange<Int>) -> Set<Int>? {
        var values: Set<Int> = []
        for part in field.split(separator: ",", omittingEmptySubsequences: false) {
            let pieces = part.split(separator: "/", omittingEmptySubsequences: false)
            guard (1...2).contains(pieces.count) else { return nil }
            let step = pieces.count == 2 ? Int(pieces[1]) : 1
            guard let step, step > 0 else { return nil }
            let range: ClosedRange<Int>
            if pieces[0] == "*" {
                range = bounds
            } else {
                let ends = pieces[0].split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
                guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2, first <= last,
                    bounds.contains(first), bounds.contains(last)
                else { return nil }
                range = first...(ends.count == 1 && pieces.count == 2 ? bounds.upperBound : last)
            }
            values.formUnion(stride(from: range.lowerBound, through: range.upperBound, by: step))
        }
        return values.isEmpty ? nil : values
    }
}

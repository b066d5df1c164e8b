import Foundation

/// Working hours: slots of the local day, by weekday, except on holidays, in one time zone.
///
/// Times are exact across daylight-saving changes, because every slot is turned into moments of its own day: a slot
/// that contains the skipped hour is an hour shorter, one that contains the repeated hour an hour longer.
struct WorkingCalendar: Sendable, Equatable {
    /// A slot from a minute of the day to a later one, 1440 being midnight at its end.
    struct Slot: Sendable, Equatable {
        let from: Int
        let to: Int
    }

    let timeZone: TimeZone
    /// By ISO weekday, 1 for Monday; slots in order, not overlapping. None at all means every hour counts.
    let slots: [Int: [Slot]]
    /// Days off, `YYYY-MM-DD`.
    let holidays: Set<String>

    /// Every hour of every day.
    static let always = WorkingCalendar(timeZone: .gmt, slots: [:], holidays: [])

    /// The moment at which `seconds` of working time after `start` are over. Nil when the calendar does not have so much
    /// within ten years.
    func date(after seconds: TimeInterval, from start: Date) -> Date? {
        if slots.isEmpty { return start.addingTimeInterval(seconds) }
        var remaining = seconds
        for interval in intervals(from: start) {
            let length = interval.duration
            if remaining <= length { return interval.start.addingTimeInterval(remaining) }
            remaining -= length
        }
        return nil
    }

    /// Working seconds between two moments; 0 when the second is not later.
    func seconds(from start: Date, to end: Date) -> TimeInterval {
        if end <= start { return 0 }
        if slots.isEmpty { return end.timeIntervalSince(start) }
        var total: TimeInterval = 0
        for interval in intervals(from: start) {
            if interval.start >= end { break }
            total += min(interval.end, end).timeIntervalSince(interval.start)
        }
        return total
    }

    /// The working intervals from `start` on, in order, over ten years.
    private func intervals(from start: Date) -> some Sequence<DateInterval> {
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = timeZone
        var day = calendar.startOfDay(for: start)
        var left = 3653
        var queue: [DateInterval] = []
        return AnyIterator {
            while queue.isEmpty && left > 0 {
                queue = self.intervals(of: day, calendar).compactMap { interval in
                    if interval.end <= start { return nil }
                    return DateInterval(start: max(interval.start, start), end: interval.end)
                }
                // Noon plus a day is the next day whatever the clocks do.
                let noon =
                    calendar.date(bySettingHour: 12, minute: 0, second: 0, of: day) ?? day.addingTimeInterval(43_200)
                day = calendar.startOfDay(for: noon.addingTimeInterval(86_400))
                left -= 1
            }
            return queue.isEmpty ? nil : queue.removeFirst()
        }
    }

    private func intervals(of day: Date, _ calendar: Calendar) -> [DateInterval] {
        let parts = calendar.dateComponents([.year, .month, .day, .weekday], from: day)
        let name = String(format: "%04d-%02d-%02d", parts.year!, parts.month!, parts.day!)
        if holidays.contains(name) { return [] }
        // Foundation counts weekdays from Sunday, ISO from Monday.
        let weekday = parts.weekday! == 1 ? 7 : parts.weekday! - 1
        return (slots[weekday] ?? []).compactMap { slot in
            guard let from = moment(slot.from, of: parts, calendar), let to = moment(slot.to, of: parts, calendar),
                to > from
            else { return nil }
            return DateInterval(start: from, end: to)
        }
    }

    /// A minute of the local day as a moment; one that the clocks skip is the moment they skip to.
    private func moment(_ minute: Int, of day: DateComponents, _ calendar: Calendar) -> Date? {
        var parts = DateComponents(year: day.year, month: day.month, day: day.day)
        parts.hour = minute / 60
        parts.minute = minute % 60
        return calendar.date(from: parts)
    }
}

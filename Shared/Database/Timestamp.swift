import Foundation

/// Times between PostgreSQL's text, RFC 3339 and `Date`, exact to the microsecond and without a formatter object.
package enum Timestamp {
    /// `2026-11-22 05:32:26.123456+00`, what PostgreSQL prints for a `timestamptz` when the session is in UTC.
    package static func sqlText(_ date: Date) -> String { text(date, separator: UInt8(ascii: " "), zone: "+00") }

    /// `2026-11-22T05:32:26.123456Z`, what the HTTP surface prints.
    package static func rfc3339(_ date: Date) -> String { text(date, separator: UInt8(ascii: "T"), zone: "Z") }

    /// Reads RFC 3339 and PostgreSQL's text: a date, `T` or a space, a time with up to nine decimals, `Z` or an offset.
    ///
    /// Nil for anything else, for a day that does not exist, and for years outside 0001 to 9999.
    package static func parse(_ text: String) -> Date? {
        var reader = DigitReader(bytes: Array(text.utf8))
        guard let year = reader.number(4), reader.skip("-"), let month = reader.number(2), reader.skip("-"),
            let day = reader.number(2), isDate(year: year, month: month, day: day),
            reader.skip("T") || reader.skip("t") || reader.skip(" "),
            let hour = reader.number(2), reader.skip(":"), let minute = reader.number(2), hour < 24, minute < 60
        else { return nil }
        var second = 0
        var micros = 0
        if reader.skip(":") {
            guard let value = reader.number(2), value < 60 else { return nil }
            second = value
            if reader.skip(".") {
                guard let fraction = reader.fraction() else { return nil }
                micros = fraction
            }
        }
        var offset = 0
        if !(reader.skip("Z") || reader.skip("z")) {
            let sign: Int
            if reader.skip("+") { sign = 1 } else if reader.skip("-") { sign = -1 } else { return nil }
            guard let hours = reader.number(2), hours < 24 else { return nil }
            var minutes = 0
            if reader.skip(":") || !reader.atEnd {
                guard let value = reader.number(2), value < 60 else { return nil }
                minutes = value
            }
            offset = sign * (hours * 3600 + minutes * 60)
        }
        guard reader.atEnd else { return nil }
        let days = daysSinceEpoch(year: year, month: month, day: day)
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset
        return Date(timeIntervalSince1970: Double(seconds) + Double(micros) / 1_000_000)
    }

    /// True when the calendar (proleptic Gregorian) has this day and the year lies in 1...9999.
    package static func isDate(year: Int, month: Int, day: Int) -> Bool {
        guard (1...9999).contains(year), (1...12).contains(month), day >= 1 else { return false }
        return day <= daysIn(month: month, year: year)
    }

    /// Reads `YYYY-MM-DD`; nil for a day that does not exist.
    package static func parseDay(_ text: String) -> (year: Int, month: Int, day: Int)? {
        var reader = DigitReader(bytes: Array(text.utf8))
        guard let year = reader.number(4), reader.skip("-"), let month = reader.number(2), reader.skip("-"),
            let day = reader.number(2), reader.atEnd, isDate(year: year, month: month, day: day)
        else { return nil }
        return (year, month, day)
    }

    /// Days from 1970-01-01 to this day. (The civil-days algorithm: years begin in March, so that leap days come last.)
    package static func daysSinceEpoch(year: Int, month: Int, day: Int) -> Int {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    /// The day that lies `days` after 1970-01-01.
    package static func civil(daysSinceEpoch days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    private static func daysIn(month: Int, year: Int) -> Int {
        switch month {
        case 2: return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: return 30
        default: return 31
        }
    }

    private static func text(_ date: Date, separator: UInt8, zone: StaticString) -> String {
        let total = Int((date.timeIntervalSince1970 * 1_000_000).rounded())
        var micros = total % 1_000_000
        var seconds = total / 1_000_000
        if micros < 0 {
            micros += 1_000_000
            seconds -= 1
        }
        let days = seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
        let second = seconds - days * 86_400
        let day = civil(daysSinceEpoch: days)
        return String(unsafeUninitializedCapacity: 32) { buffer in
            var end = 0
            func put(_ value: Int, width: Int) {
                var rest = value
                for index in stride(from: end + width - 1, through: end, by: -1) {
                    buffer[index] = UInt8(48 + rest % 10)
                    rest /= 10
                }
                end += width
            }
            func put(_ byte: UInt8) {
                buffer[end] = byte
                end += 1
            }
            put(day.year, width: 4)
            put(UInt8(ascii: "-"))
            put(day.month, width: 2)
            put(UInt8(ascii: "-"))
            put(day.day, width: 2)
            put(separator)
            put(second / 3600, width: 2)
            put(UInt8(ascii: ":"))
            put(second / 60 % 60, width: 2)
            put(UInt8(ascii: ":"))
            put(second % 60, width: 2)
            if micros > 0 {
                put(UInt8(ascii: "."))
                put(micros, width: 6)
                while buffer[end - 1] == UInt8(ascii: "0") { end -= 1 }
            }
            zone.withUTF8Buffer { $0.forEach(put) }
            return end
        }
    }
}

/// Reads fixed-width numbers and single characters from ASCII text.
private struct DigitReader {
    let bytes: [UInt8]
    var position = 0

    var atEnd: Bool { position == bytes.count }

    mutating func number(_ width: Int) -> Int? {
        guard position + width <= bytes.count else { return nil }
        var value = 0
        for byte in bytes[position..<position + width] {
            guard byte >= 48, byte <= 57 else { return nil }
            value = value * 10 + Int(byte - 48)
        }
        position += width
        return value
    }

    /// Microseconds from one to nine decimals; what lies below a microsecond is cut off.
    mutating func fraction() -> Int? {
        var digits = 0
        var value = 0
        while position < bytes.count, bytes[position] >= 48, bytes[position] <= 57 {
            if digits < 6 { value = value * 10 + Int(bytes[position] - 48) }
            digits += 1
            position += 1
        }
        guard (1...9).contains(digits) else { return nil }
        for _ in digits..<max(digits, 6) { value *= 10 }
        return value
    }

    mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard position < bytes.count, bytes[position] == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }
}

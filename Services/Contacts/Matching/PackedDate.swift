/// A calendar day in 32 bits: year · 10,000 + month · 100 + day; 0 is no date.
struct PackedDate: Hashable, Sendable {
    let number: UInt32

    static let none = PackedDate(number: 0)

    var year: Int { Int(number / 10_000) }
    var month: Int { Int(number / 100 % 100) }
    var day: Int { Int(number % 100) }

    private init(number: UInt32) { self.number = number }

    /// `none` unless the text is a day that exists, as "YYYY-MM-DD" or "YYYYMMDD".
    init(_ raw: String?) {
        var digits: UInt32 = 0
        var count = 0
        for byte in (raw ?? "").utf8.prefix(16) {
            if (0x30...0x39).contains(byte) {
                digits = count < 8 ? digits * 10 + UInt32(byte - 0x30) : digits
                count += 1
            } else if byte != 0x2d && byte != 0x2f && byte != 0x2e {
                break
            }
        }
        let date = PackedDate(number: digits)
        self = count == 8 && date.exists ? date : .none
    }

    private var exists: Bool {
        guard year >= 1, (1...12).contains(month), day >= 1 else { return false }
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        return day <= days[month - 1]
    }

    /// `close` is one digit off or two neighbouring digits transposed, `swapped` day and month, `similar` two digits
    /// off or two of year, month and day, `partial` the year alone.
    static func agreement(_ left: PackedDate, _ right: PackedDate) -> AgreementLevel {
        if left == .none || right == .none { return .missing }
        if left == right { return .exact }
        if left.year == right.year && left.month == right.day && left.day == right.month { return .swapped }
        var differing = 0
        var lastDiffering = -2
        var isTransposition = false
        var (one, other) = (left.number, right.number)
        var (lastOne, lastOther): (UInt32, UInt32) = (10, 10)
        for place in 0..<8 {
            let (digit, otherDigit) = (one % 10, other % 10)
            if digit != otherDigit {
                differing += 1
                if lastDiffering == place - 1 && digit == lastOther && otherDigit == lastOne { isTransposition = true }
                lastDiffering = place
            }
            (lastOne, lastOther) = (digit, otherDigit)
            one /= 10
            other /= 10
        }
        if differing == 1 || differing == 2 && isTransposition { return .close }
        let parts =
            (left.year == right.year ? 1 : 0) + (left.month == right.month ? 1 : 0) + (left.day == right.day ? 1 : 0)
        if parts == 2 || differing == 2 { return .similar }
        return left.year == right.year ? .partial : .different
    }

    /// "YYYY-MM-DD"; nil where there is no date.
    var text: String? {
        if self == .none { return nil }
        let digits = String(number + 100_000_000).dropFirst()
        return "\(digits.prefix(4))-\(digits.dropFirst(4).prefix(2))-\(digits.suffix(2))"
    }
}

import Foundation

/// The points of one loyalty account, as lots that are used up oldest first. Pure: the balance is always the sum of what
/// the lots still hold, and never below nothing.
struct LoyaltyLedger: Sendable, Equatable {
    /// Points that came in together and are not used up.
    struct Lot: Sendable, Equatable {
        let id: UUID
        var remaining: Int
        let at: Date
        /// From this moment on the points are gone; nil for never.
        let expiresAt: Date?
    }

    /// Points taken from a lot.
    struct Draw: Sendable, Equatable {
        let lot: UUID
        let points: Int
    }

    /// More was asked for than there is.
    struct InsufficientPoints: Error, Equatable {
        let balance: Int
        let wanted: Int
    }

    /// Oldest first.
    private(set) var lots: [Lot] = []

    init(lots: [Lot] = []) { self.lots = lots.filter { $0.remaining > 0 }.sorted(by: Self.isOlder) }

    var balance: Int { lots.reduce(0) { $0 + $1.remaining } }

    /// Takes points in.
    mutating func add(_ lot: Lot) {
        precondition(lot.remaining > 0)
        lots.append(lot)
        lots.sort(by: Self.isOlder)
    }

    /// Takes points out, oldest first, and tells from which lots; `first` is emptied before all others.
    mutating func draw(_ points: Int, first preferred: UUID? = nil) throws(InsufficientPoints) -> [Draw] {
        precondition(points > 0)
        guard points <= balance else { throw InsufficientPoints(balance: balance, wanted: points) }
        var wanted = points
        var draws: [Draw] = []
        let order =
            lots.indices.filter { lots[$0].id == preferred } + lots.indices.filter { lots[$0].id != preferred }
        for index in order where wanted > 0 {
            let taken = min(wanted, lots[index].remaining)
            lots[index].remaining -= taken
            wanted -= taken
            draws.append(Draw(lot: lots[index].id, points: taken))
        }
        lots.removeAll { $0.remaining == 0 }
        return draws
    }

    /// Takes out whatever is past its time, and tells from which lots.
    mutating func expire(at now: Date) -> [Draw] {
        let gone = lots.filter { lot in lot.expiresAt.map { $0 <= now } ?? false }
        lots.removeAll { lot in gone.contains(lot) }
        return gone.map { Draw(lot: $0.id, points: $0.remaining) }
    }

    private static func isOlder(_ left: Lot, _ right: Lot) -> Bool {
        (left.at, left.id.uuidString) < (right.at, right.id.uuidString)
    }

    // MARK: Rules of a program

    /// When points that came in at `at` are gone: at the end of that day of the month, `months` later, where the tenant
    /// lives. The last day of a shorter month stands for days that it does not have.
    static func expiry(of at: Date, months: Int, timeZone: TimeZone) -> Date {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = timeZone
        let day = calendar.date(byAdding: .month, value: months, to: calendar.startOfDay(for: at)) ?? at
        return calendar.date(byAdding: .day, value: 1, to: calendar.startOfDay(for: day)) ?? day
    }

    /// The moment from which on earned points count for a tier: twelve months before `now`, to the day.
    static func tierWindow(before now: Date, timeZone: TimeZone) -> Date {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = timeZone
        return calendar.date(byAdding: .month, value: -12, to: calendar.startOfDay(for: now)) ?? now
    }

    /// The highest tier whose threshold `earned` reaches; nil below the lowest.
    static func tier(earned: Int, of tiers: [(name: String, threshold: Int)]) -> String? {
        tiers.filter { $0.threshold <= earned }.max { $0.threshold < $1.threshold }?.name
    }
}

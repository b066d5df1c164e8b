import Foundation

/// How far a call is, from what the telephone system has told of it: the same, in whatever order it was told, and
/// however often.
struct CallProgress: Equatable {
    /// What a telephone system tells.
    enum State: String, CaseIterable, Sendable { case ringing, answered, ended, missed }

    /// Whose call it is, and what that is known by.
    struct Agent: Equatable {
        let user: UUID
        let state: State
        let at: Date

        /// Who answered has it; else the one at whom it rang last; else whoever the end names.
        func outranks(_ other: Agent) -> Bool {
            (rank, at, user.uuidString) > (other.rank, other.at, other.user.uuidString)
        }

        private var rank: Int { state == .answered ? 2 : state == .ringing ? 1 : 0 }
    }

    /// One thing told.
    struct Told: Equatable {
        let state: State
        let at: Date
        var user: UUID?
        /// Seconds that were spoken.
        var duration: Int?
    }

    /// When it first rang, was first answered, was over, was given up.
    var ringingAt: Date?
    var answeredAt: Date?
    var endedAt: Date?
    var missedAt: Date?
    var duration: Int?
    var agent: Agent?

    init() {}

    /// Takes in one thing told.
    mutating func take(_ told: Told) {
        switch told.state {
        case .ringing: ringingAt = earlier(ringingAt, told.at)
        case .answered: answeredAt = earlier(answeredAt, told.at)
        case .ended: endedAt = later(endedAt, told.at)
        case .missed: missedAt = later(missedAt, told.at)
        }
        if let seconds = told.duration { duration = max(duration ?? 0, seconds) }
        if let user = told.user {
            let named = Agent(user: user, state: told.state, at: told.at)
            if agent.map(named.outranks) ?? true { agent = named }
        }
    }

    /// What it has come to. A call that somebody answered is not missed, whatever else is told.
    var state: State {
        if endedAt != nil { return wasAnswered ? .ended : .missed }
        if missedAt != nil { return wasAnswered ? .ended : .missed }
        return answeredAt != nil ? .answered : .ringing
    }

    private var wasAnswered: Bool { answeredAt != nil || (duration ?? 0) > 0 }

    var isOver: Bool { state == .ended || state == .missed }

    /// When it began.
    var startedAt: Date? { [ringingAt, answeredAt, endedAt, missedAt].compactMap { $0 }.min() }

    /// Seconds that were spoken: as told, else from answer to end.
    var length: Int? {
        if let duration { return duration }
        guard let answeredAt, let end = endedAt ?? missedAt else { return nil }
        return min(864_000, max(0, Int(end.timeIntervalSince(answeredAt).rounded())))
    }

    private func earlier(_ known: Date?, _ told: Date) -> Date { known.map { min($0, told) } ?? told }
    private func later(_ known: Date?, _ told: Date) -> Date { known.map { max($0, told) } ?? told }
}

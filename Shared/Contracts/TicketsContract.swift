import Foundation
import Jobs

/// A ticket was opened or its state changed: `open`, `solved` or `deleted`. `measure` is how often it was escalated.
public struct TicketChanged: FactEvent {
    public static let name = "tickets.ticket.changed"
    public static let kind = "ticket"
    public let facts: [Fact]
    public init(facts: [Fact]) { self.facts = facts }
}

/// A customer answered. `measure` is the mean gap: performance minus expectation.
public struct SurveyAnswered: FactEvent {
    public static let name = "tickets.survey.answered"
    public static let kind = "survey"
    public let facts: [Fact]
    public init(facts: [Fact]) { self.facts = facts }
}

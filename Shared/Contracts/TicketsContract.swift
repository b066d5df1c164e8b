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

/// Asks Tickets to open a ticket for something that happened elsewhere.
///
/// Known by `source` and `key`: asking twice gives one ticket, also where that has been deleted since.
public struct OpenTicketJob: Job {
    public static let name = "tickets.open-ticket"
    /// The source of topics of the community, to whom the ticket's id is told.
    public static let community = "community"
    public let source: String
    public let key: String
    public let subject: String
    public let description: String?
    public let contact: UUID?
    public let kind: String
    public let channel: String

    public init(
        source: String, key: String, subject: String, description: String?, contact: UUID?, kind: String,
        channel: String
    ) {
        self.source = source
        self.key = key
        self.subject = subject
        self.description = description
        self.contact = contact
        self.kind = kind
        self.channel = channel
    }
}

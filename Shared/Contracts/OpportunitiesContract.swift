import Foundation
import Jobs

/// A deal was opened, moved, won or lost: `state` is `open`, `won`, `lost` or `deleted`.
public struct OpportunityChanged: FactEvent {
    public static let name = "opportunities.opportunity.changed"
    public static let kind = "deal"
    public let facts: [Fact]
    public init(facts: [Fact]) { self.facts = facts }
}

/// An order was placed, changed or cancelled: `state` is `placed`, `cancelled` or `deleted`.
public struct OrderChanged: FactEvent {
    public static let name = "opportunities.order.changed"
    public static let kind = "order"
    public let facts: [Fact]
    public init(facts: [Fact]) { self.facts = facts }
}

/// Money came in (`received`), or the note of it went (`deleted`).
public struct PaymentChanged: FactEvent {
    public static let name = "opportunities.payment.changed"
    public static let kind = "payment"
    public let facts: [Fact]
    public init(facts: [Fact]) { self.facts = facts }
}

/// A lead became a customer.
public struct LeadConverted: Event {
    public static let name = "opportunities.lead.converted"
    public let lead: UUID
    public let contact: UUID
    public let opportunity: UUID

    public init(lead: UUID, contact: UUID, opportunity: UUID) {
        self.lead = lead
        self.contact = contact
        self.opportunity = opportunity
    }
}

/// Tells Opportunities which contact a lead's person is, so that the conversion can end.
public struct FinishConversionJob: Job {
    public static let name = "opportunities.finish-conversion"
    public let lead: UUID
    public let contact: UUID
    public let organization: UUID?

    public init(lead: UUID, contact: UUID, organization: UUID?) {
        self.lead = lead
        self.contact = contact
        self.organization = organization
    }
}

import Foundation
import Jobs
import Records

/// A contact came to be.
public struct ContactCreated: FactEvent {
    public static let name = "contacts.contact.created"
    public static let kind = "contact"
    public let facts: [Fact]
    public init(facts: [Fact]) { self.facts = facts }
}

/// A contact changed, or (state `deleted`) went.
public struct ContactUpdated: FactEvent {
    public static let name = "contacts.contact.updated"
    public static let kind = "contact"
    public let facts: [Fact]
    public init(facts: [Fact]) { self.facts = facts }
}

/// Two contacts were found to be one person: what belonged to `merged` belongs to `survivor` from now on.
///
/// Each service moves its own records, in a change set whose id is `merge`, so that it can undo just that.
public struct ContactMerged: Event {
    public static let name = "contacts.contact.merged"
    public let merge: UUID
    public let merged: UUID
    public let survivor: UUID
    /// The merged contact's version: of two events of a merge the higher one tells how it stands.
    public let version: Int

    public init(merge: UUID, merged: UUID, survivor: UUID, version: Int) {
        self.merge = merge
        self.merged = merged
        self.survivor = survivor
        self.version = version
    }
}

/// A merge was undone: what it moved goes back, save what has changed since.
public struct ContactUnmerged: Event {
    public static let name = "contacts.contact.unmerged"
    public let merge: UUID
    public let merged: UUID
    public let survivor: UUID
    /// The merged contact's version, as in `ContactMerged`.
    public let version: Int

    public init(merge: UUID, merged: UUID, survivor: UUID, version: Int) {
        self.merge = merge
        self.merged = merged
        self.survivor = survivor
        self.version = version
    }
}

extension MergeNote {
    /// What the event says of the merge.
    package init(_ event: ContactMerged) {
        self.init(merge: event.merge, merged: event.merged, survivor: event.survivor, version: event.version)
    }

    /// What the event says of the merge.
    package init(_ event: ContactUnmerged) {
        self.init(merge: event.merge, merged: event.merged, survivor: event.survivor, version: event.version)
    }
}

/// Somebody and a customer were in touch. `state` is the channel.
public struct ActivityLogged: FactEvent {
    public static let name = "contacts.activity.logged"
    public static let kind = "interaction"
    public let facts: [Fact]
    public init(facts: [Fact]) { self.facts = facts }
}

/// Asks Contacts to take a lead's person in as a contact, and its company as an organization.
///
/// Known by the lead's id: asking twice gives the same contact.
public struct AdoptLeadJob: Job {
    public static let name = "contacts.adopt-lead"
    public let lead: UUID
    public let givenName: String?
    public let familyName: String?
    public let email: String?
    public let phone: String?
    public let company: String?
    public let owner: UUID?

    public init(
        lead: UUID, givenName: String?, familyName: String?, email: String?, phone: String?, company: String?,
        owner: UUID?
    ) {
        self.lead = lead
        self.givenName = givenName
        self.familyName = familyName
        self.email = email
        self.phone = phone
        self.company = company
        self.owner = owner
    }
}

/// What analytics knows of one customer, sent to Contacts after each change.
public struct CustomerSummary: Codable, Sendable, Equatable {
    public let contact: UUID
    /// Rises with each summary of this customer: an older one never replaces a newer.
    public let sequence: Int
    public let firstPurchase: Date?
    public let lastPurchase: Date?
    public let purchases: Int
    /// Paid, in minor units, by currency.
    public let paid: [String: Int]
    public let openDeals: Int
    public let wonDeals: Int
    public let tickets: Int
    public let openTickets: Int
    /// Mean of performance minus expectation over the customer's answers.
    public let satisfactionGap: Double?
    public let lastContact: Date?
    public let computedAt: Date
    /// Where the customer stands, and why; nil from a version that did not say.
    public let stage: StageAssessment?

    public init(
        contact: UUID, sequence: Int, firstPurchase: Date?, lastPurchase: Date?, purchases: Int, paid: [String: Int],
        openDeals: Int, wonDeals: Int, tickets: Int, openTickets: Int, satisfactionGap: Double?, lastContact: Date?,
        computedAt: Date, stage: StageAssessment? = nil
    ) {
        self.contact = contact
        self.sequence = sequence
        self.firstPurchase = firstPurchase
        self.lastPurchase = lastPurchase
        self.purchases = purchases
        self.paid = paid
        self.openDeals = openDeals
        self.wonDeals = wonDeals
        self.tickets = tickets
        self.openTickets = openTickets
        self.satisfactionGap = satisfactionGap
        self.lastContact = lastContact
        self.computedAt = computedAt
        self.stage = stage
    }
}

/// Brings fresh summaries to Contacts.
public struct ApplySummariesJob: Job {
    public static let name = "contacts.apply-summaries"
    public let summaries: [CustomerSummary]

    public init(summaries: [CustomerSummary]) { self.summaries = summaries }
}

/// Tells Contacts which ticket a topic of the community has become.
public struct LinkTopicTicketJob: Job {
    public static let name = "contacts.link-topic-ticket"
    public let topic: UUID
    public let ticket: UUID

    public init(topic: UUID, ticket: UUID) {
        self.topic = topic
        self.ticket = ticket
    }
}

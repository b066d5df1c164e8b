import Foundation
import Jobs

/// One moment of a record in its customer's story.
public struct Moment: Codable, Sendable, Equatable {
    /// Which of its record's moments it is; empty for the first, which every record has.
    public let key: String
    /// `ticket_solved`, `deal_won` …
    public let kind: String
    /// When it was; nil where it is not so, or no longer.
    public let at: Date?
    public let title: String?
    /// Minor units.
    public let amount: Int?
    public let currency: String?
    /// What else there is to say, by name.
    public let detail: [String: String]

    public init(
        _ kind: String, key: String = "", at: Date?, title: String? = nil, amount: Int? = nil, currency: String? = nil,
        detail: [String: String?] = [:]
    ) {
        self.key = key
        self.kind = kind
        self.at = at
        self.title = title
        self.amount = amount
        self.currency = currency
        self.detail = detail.compactMapValues { $0 }
    }
}

/// What one record, as it stands at a version, is in its customer's story.
///
/// It carries the record's state: of two stories of a record the higher version tells how it is, whichever comes last.
/// A moment whose key ends in a version happened then and stays; every other moment is told anew with each version.
public struct CustomerStory: Codable, Sendable, Equatable {
    public let record: UUID
    /// `ticket`, as permissions name it.
    public let type: String
    public let service: String
    public let version: Int
    public let contact: UUID?
    public let owner: UUID?
    public let team: UUID?
    /// The record was deleted, or its making undone: its moments are shown as such.
    public let isDeleted: Bool
    /// It still asks for something to be done: an open deal, an open ticket.
    public let isOpen: Bool
    public let moments: [Moment]

    public init(
        record: UUID, type: String, service: String, version: Int, contact: UUID?, owner: UUID?, team: UUID?,
        isDeleted: Bool, isOpen: Bool = false, moments: [Moment]
    ) {
        self.record = record
        self.type = type
        self.service = service
        self.version = version
        self.contact = contact
        self.owner = owner
        self.team = team
        self.isDeleted = isDeleted
        self.isOpen = isOpen
        self.moments = moments
    }
}

/// Records have changed that belong to customers' stories.
public struct CustomerStoriesTold: Event {
    public static let name = "customers.story.told"
    public let stories: [CustomerStory]
    public init(stories: [CustomerStory]) { self.stories = stories }

    /// One event of all their stories, in pieces that a job takes in at once.
    public static func coalesced(_ events: [CustomerStoriesTold]) -> [CustomerStoriesTold] {
        let all = events.flatMap(\.stories)
        return stride(from: 0, to: all.count, by: 100).map {
            CustomerStoriesTold(stories: Array(all[$0..<min($0 + 100, all.count)]))
        }
    }
}

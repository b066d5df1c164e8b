import Foundation
import Jobs

/// A contact came into a segment or left it.
public struct SegmentChange: Codable, Sendable, Equatable {
    /// In or out.
    public enum Direction: String, Codable, Sendable { case joined, left }
    public let segment: UUID
    public let contact: UUID
    public let direction: Direction
    public let at: Date

    public init(segment: UUID, contact: UUID, direction: Direction, at: Date) {
        self.segment = segment
        self.contact = contact
        self.direction = direction
        self.at = at
    }
}

/// Segments have other members than before: at most 250 changes to an event.
public struct SegmentChanged: Event {
    public static let name = "contacts.segment.changed"
    public let changes: [SegmentChange]
    public init(changes: [SegmentChange]) { self.changes = changes }

    /// All of them in events of a bounded size.
    public static func coalesced(_ events: [Self]) -> [Self] {
        pieces(events.flatMap(\.changes)).map { Self(changes: $0) }
    }
}

/// One entry of a person's consents, as it stands: whoever keeps a copy keeps the highest version of each id.
public struct ConsentNote: Codable, Sendable, Equatable {
    public let id: UUID
    public let version: Int
    public let contact: UUID
    public let state: ConsentState
    public let isDeleted: Bool

    public init(id: UUID, version: Int, contact: UUID, state: ConsentState, isDeleted: Bool) {
        self.id = id
        self.version = version
        self.contact = contact
        self.state = state
        self.isDeleted = isDeleted
    }
}

/// A person asked not to be contacted at all, or took that back. `version` is the contact's.
public struct ContactBlock: Codable, Sendable, Equatable {
    public let contact: UUID
    public let version: Int
    public let isBlocked: Bool

    public init(contact: UUID, version: Int, isBlocked: Bool) {
        self.contact = contact
        self.version = version
        self.isBlocked = isBlocked
    }
}

/// What people allow has changed: enough for other services to keep what `ContactPermission` needs, at most 250 of each
/// to an event.
public struct ConsentChanged: Event {
    public static let name = "contacts.consent.changed"
    public let consents: [ConsentNote]
    public let blocks: [ContactBlock]

    public init(consents: [ConsentNote] = [], blocks: [ContactBlock] = []) {
        self.consents = consents
        self.blocks = blocks
    }

    /// All of them in events of a bounded size.
    public static func coalesced(_ events: [Self]) -> [Self] {
        pieces(events.flatMap(\.consents)).map { Self(consents: $0) }
            + pieces(events.flatMap(\.blocks)).map { Self(blocks: $0) }
    }
}

/// A playbook asks for a customer to be taken into a campaign, by the channel they may be reached by.
public struct CampaignEnrolmentRequested: Event {
    public static let name = "contacts.campaign.enrolment_requested"
    public let campaign: UUID
    public let contact: UUID
    public let channel: ContactChannel
    /// The change of stage that asked: asking twice for the same is asking once.
    public let change: UUID

    public init(campaign: UUID, contact: UUID, channel: ContactChannel, change: UUID) {
        self.campaign = campaign
        self.contact = contact
        self.channel = channel
        self.change = change
    }
}

/// Lists of a size that a job takes in at once.
private func pieces<Element>(_ all: [Element]) -> [[Element]] {
    stride(from: 0, to: all.count, by: 250).map { Array(all[$0..<min($0 + 250, all.count)]) }
}

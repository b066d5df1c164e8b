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

/// Lists of a size that a job takes in at once.
private func pieces<Element>(_ all: [Element]) -> [[Element]] {
    stride(from: 0, to: all.count, by: 250).map { Array(all[$0..<min($0 + 250, all.count)]) }
}

import Foundation
import Jobs

/// What the other services need to know of one record after a change: enough for figures, no personal data.
///
/// It carries the record's state, not a difference, and the record's version: whoever receives it may get it twice, late
/// or before its predecessor, and keeps the highest version.
public struct Fact: Codable, Sendable, Equatable {
    public let id: UUID
    public let version: Int
    /// The customer it concerns; nil while there is none.
    public let contact: UUID?
    /// When it happened, which decides the day it counts for.
    public let at: Date
    /// What it has come to, in the terms of its kind: `open`, `won`, `solved`, `deleted` …
    public let state: String
    /// Minor units, where money is involved.
    public let amount: Int?
    public let currency: String?
    /// A figure of the kind's own: a survey's gap, for one.
    public let measure: Double?

    public init(
        id: UUID, version: Int, contact: UUID?, at: Date, state: String, amount: Int? = nil, currency: String? = nil,
        measure: Double? = nil
    ) {
        self.id = id
        self.version = version
        self.contact = contact
        self.at = at
        self.state = state
        self.amount = amount
        self.currency = currency
        self.measure = measure
    }
}

/// An event that tells of facts. Those of one transaction travel together, at most 250 to a job, so that an
/// import of thousands is tens of jobs; a payload too long for Redis stays in the outbox.
public protocol FactEvent: Event {
    /// The kind of record: one kind, one row per record.
    static var kind: String { get }
    var facts: [Fact] { get }
    init(facts: [Fact])
}

extension FactEvent {
    /// One event of all their facts, in pieces of a size that a job takes in at once.
    public static func coalesced(_ events: [Self]) -> [Self] {
        let all = events.flatMap(\.facts)
        return stride(from: 0, to: all.count, by: 250).map { Self(facts: Array(all[$0..<min($0 + 250, all.count)])) }
    }
}

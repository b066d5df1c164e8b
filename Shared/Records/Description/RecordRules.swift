import Database
import Foundation
import Jobs
import Tenancy

/// One record's content: each field's column texts, as PostgreSQL prints them.
package struct Record: Sendable {
    package let id: UUID
    package var version: Int
    package var createdAt: Date
    package var updatedAt: Date
    package var deletedAt: Date?
    /// By field name.
    package var values: [String: [String?]]

    /// The text of the field's first column; nil for NULL.
    package func text(_ field: String) -> String? { values[field]?.first ?? nil }
    /// The field as a whole number.
    package func int(_ field: String) -> Int? { text(field).flatMap { Int($0) } }
    /// The field as a number.
    package func double(_ field: String) -> Double? { text(field).flatMap { Double($0) } }
    /// The field as an id.
    package func uuid(_ field: String) -> UUID? { text(field).flatMap { UUID(uuidString: $0) } }
    /// The field as a moment.
    package func time(_ field: String) -> Date? { text(field).flatMap { Timestamp.parse($0) } }
    /// The field as a boolean; false for NULL.
    package func bool(_ field: String) -> Bool { text(field) == "t" || text(field) == "true" }
    /// The field as JSON, for lists and tags.
    package func json(_ field: String) -> JSONValue? { text(field).flatMap { try? JSONParser.parse($0.utf8) } }
    /// Amount and currency of a money field.
    package func money(_ field: String) -> (amount: Int, currency: String)? {
        guard let columns = values[field], columns.count == 2, let amount = columns[0].flatMap({ Int($0) }),
            let currency = columns[1]
        else { return nil }
        return (amount, currency)
    }
}

/// A record on its way to the table: what was there, what shall be.
package struct Draft: Sendable {
    package let before: Record?
    package var record: Record
    package let defaults: TenantDefaults
    /// Who asks; nil for jobs.
    package let user: UUID?
    package let now: Date
    /// What a condition that the draft holds may ask about; nil for everything, as jobs may.
    package var reach: FilterReach?

    package var isCreation: Bool { before == nil }

    /// True when the field's value is another than before.
    package func changes(_ field: String) -> Bool { before?.values[field] != record.values[field] }

    package subscript(field: String) -> String? {
        get { record.text(field) }
        set { record.values[field] = [newValue] }
    }
}

/// A change that stands in the transaction and is about to commit.
package struct Change: Sendable {
    /// What was done with the record.
    package enum Kind: String, Sendable {
        case create, update, delete, restore
        /// A person's values went, here and from the history: what was before can't come back.
        case erase
    }
    package let kind: Kind
    package let before: Record?
    package let after: Record
    package let tenant: TenantID
    package let defaults: TenantDefaults
    package let user: UUID?
    package let now: Date

    /// True when the field's value is another than before.
    package func changes(_ field: String) -> Bool { before?.values[field] != after.values[field] }
}

extension Change {
    /// What those who listen are told of it.
    func hint(_ type: RecordType) -> LiveChange {
        LiveChange(
            type: type.name, id: after.id, version: after.version, kind: kind.rawValue, owner: after.uuid("owner_id"),
            team: after.uuid("team_id"))
    }
}

/// What else happens in the transaction of a change.
package struct Effects: Sendable {
    package var statements: [Statement] = []
    package var events: [any Event] = []
    package var jobs: [PendingJob] = []

    package init(events: [any Event] = [], statements: [Statement] = [], jobs: [PendingJob] = []) {
        self.events = events
        self.statements = statements
        self.jobs = jobs
    }
}

/// How a type finds records that may be the same as a new one.
package struct LikenessRules: Sendable {
    /// The fields whose values the reasons quote: where one of them is hidden from the bearer, no reason is given.
    package let compares: Set<String>
    /// What there is to do for one new record, made once of its draft.
    package let likeness: @Sendable (Draft, TenantID) -> Likeness

    package init(compares: Set<String>, likeness: @escaping @Sendable (Draft, TenantID) -> Likeness) {
        self.compares = compares
        self.likeness = likeness
    }
}

/// A new record, as those are looked for that are like it.
package struct Likeness: Sendable {
    /// What must be written with it for later ones to find it.
    package let index: [Statement]
    /// What is read to find them, in one round trip.
    package let reads: [Statement]
    /// Records that are likely the same, as the answer shows them, from what was read; empty for none. Asked only for
    /// bearers who may read all records of the type: to others they do not exist.
    package let judge: @Sendable ([Rows]) -> [JSONValue]

    package init(index: [Statement], reads: [Statement], judge: @escaping @Sendable ([Rows]) -> [JSONValue]) {
        self.index = index
        self.reads = reads
        self.judge = judge
    }
}

/// Whose a record is to see, said twice: in queries, and of a record at hand, which nobody puts out of their own sight.
package struct RecordVisibility: Sendable {
    /// SQL on rows of `alias` that holds for those which the user of the team is shown.
    package let condition:
        @Sendable (_ user: UUID?, _ team: UUID?, _ alias: String, _ builder: inout SQLBuilder) -> String
    /// The same of one record.
    package let includes: @Sendable (_ record: Record, _ user: UUID?, _ team: UUID?) -> Bool

    package init(
        condition: @escaping @Sendable (UUID?, UUID?, String, inout SQLBuilder) -> String,
        includes: @escaping @Sendable (Record, UUID?, UUID?) -> Bool
    ) {
        self.condition = condition
        self.includes = includes
    }
}

/// A domain's own say in the changes of its records. All of it runs in the change's transaction or before it.
package struct RecordRules: Sendable {
    /// Completes and checks a draft without looking at the database. Throws `FieldError` or `Problem`.
    package var prepare: @Sendable (inout Draft) throws -> Void
    /// Looks at the database before the change. With it (or `after`) a creation takes more than one round trip.
    package var check: (@Sendable (inout Draft, TenantTransaction) async throws -> Void)?
    /// What follows from a change, without looking at the database.
    package var effects: @Sendable (Change) throws -> Effects
    /// What follows from a change and needs the database.
    package var after: (@Sendable (Change, TenantTransaction, Outbox) async throws -> Void)?
    /// Asked before a creation over HTTP, unless the caller allows duplicates.
    package var likeness: LikenessRules?
    /// Which records a bearer is shown besides what their roles' scopes say. For everybody else they do not exist.
    package var visibility: RecordVisibility?

    package init(
        prepare: @escaping @Sendable (inout Draft) throws -> Void = { _ in },
        check: (@Sendable (inout Draft, TenantTransaction) async throws -> Void)? = nil,
        effects: @escaping @Sendable (Change) throws -> Effects = { _ in Effects() },
        after: (@Sendable (Change, TenantTransaction, Outbox) async throws -> Void)? = nil,
        likeness: LikenessRules? = nil
    ) {
        self.prepare = prepare
        self.check = check
        self.effects = effects
        self.after = after
        self.likeness = likeness
    }
}

import Foundation
import Records

extension CustomerStory {
    /// The story that a changed record tells, by its own columns; nil for one that has and had no customer.
    package init?(
        _ change: Change, type: RecordType, isOpen: Bool = false, moments: [Moment]
    ) {
        let record = change.after
        let contact = record.uuid("contact_id")
        guard contact != nil || change.before?.uuid("contact_id") != nil else { return nil }
        self.init(
            record: record.id, type: type.name, service: type.schema, version: record.version, contact: contact,
            owner: record.uuid("owner_id"), team: record.uuid("team_id"), isDeleted: record.deletedAt != nil,
            isOpen: isOpen && record.deletedAt == nil, moments: moments)
    }
}

extension CustomerStoriesTold {
    /// The event of one record's story; none for a record without a customer.
    package static func of(_ story: CustomerStory?) -> [CustomerStoriesTold] {
        story.map { [CustomerStoriesTold(stories: [$0])] } ?? []
    }
}

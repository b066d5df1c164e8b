import Foundation
import Jobs

/// What tells who a contact is has changed: it came to be, went, or has another name or address. Contacts tells itself,
/// so that matching costs no request any time.
struct ContactIdentified: Event {
    static let name = "contacts.contact.identified"
    /// More at once than this are an import: comparing each with all others is then one scan's work.
    private static let few = 20
    /// Nil for many, of whom a scan takes care.
    let contacts: [UUID]?

    static func coalesced(_ events: [ContactIdentified]) -> [ContactIdentified] {
        let all = events.compactMap(\.contacts).flatMap { $0 }
        return [ContactIdentified(contacts: all.count > few ? nil : all)]
    }
}

/// Makes findable whom an import brought.
struct IndexContactsJob: Job {
    static let name = "contacts.index-contacts"
    static let queue = "contacts.matching"
    static let options = JobOptions.long
}

/// Looks at all of a tenant's contacts anew: fits the model and finds the pairs.
struct ScanDuplicatesJob: Job {
    static let name = "contacts.scan-duplicates"
    static let queue = "contacts.matching"
    static let options = JobOptions.long
    /// After an import, which may still run: then the scan waits for its end.
    let followsImport: Bool
}

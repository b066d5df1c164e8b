import Foundation
import Jobs

/// What tells who a contact is has changed: it came to be, went, or has another name or address. Contacts tells itself,
/// so that matching costs no request any time.
struct ContactIdentified: Event {
    static let name = "contacts.contact.identified"
    let contacts: [UUID]

    static func coalesced(_ events: [ContactIdentified]) -> [ContactIdentified] {
        let all = events.flatMap(\.contacts)
        return stride(from: 0, to: all.count, by: 250).map {
            ContactIdentified(contacts: Array(all[$0..<min($0 + 250, all.count)]))
        }
    }
}

/// Looks at all of a tenant's contacts anew: fits the model and finds the pairs.
struct ScanDuplicatesJob: Job {
    static let name = "contacts.scan-duplicates"
    static let queue = "contacts.matching"
    static let options = JobOptions.long
}

import Contracts
import Database
import Foundation
import Jobs
import Records

/// An event that webhooks can tell of, and how its job's payload is told record by record.
struct WebhookEvent: Sendable {
    let name: String
    private let read: @Sendable ([UInt8]) throws -> [Note]

    /// What is told of one record.
    struct Note: Sendable {
        let record: UUID
        /// Rises with each change of the record; 0 where an event has none.
        let version: Int
        let data: JSONValue
    }

    /// The records that a job's payload tells of, in its order. Throws `DecodingError` for a payload of another event.
    func notes(_ payload: [UInt8]) throws -> [Note] { try read(payload) }

    /// Every event there is for webhooks.
    static let all: [WebhookEvent] = [
        facts(ContactCreated.self), facts(ContactUpdated.self), facts(ActivityLogged.self),
        facts(OpportunityChanged.self), facts(OrderChanged.self), facts(PaymentChanged.self),
        facts(TicketChanged.self), facts(SurveyAnswered.self),
        WebhookEvent(name: ContactMerged.name) { payload in
            let event = try JobCoding.decode(ContactMerged.self, from: payload)
            return [note(merge: event.merge, merged: event.merged, survivor: event.survivor, version: event.version)]
        },
        WebhookEvent(name: ContactUnmerged.name) { payload in
            let event = try JobCoding.decode(ContactUnmerged.self, from: payload)
            return [note(merge: event.merge, merged: event.merged, survivor: event.survivor, version: event.version)]
        },
        WebhookEvent(name: LeadConverted.name) { payload in
            let event = try JobCoding.decode(LeadConverted.self, from: payload)
            let data: JSONValue = [
                "lead_id": id(event.lead), "contact_id": id(event.contact), "opportunity_id": id(event.opportunity),
            ]
            return [Note(record: event.lead, version: 0, data: data)]
        },
    ]

    private static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    /// The event of that name.
    static func named(_ name: String) -> WebhookEvent? { byName[name] }

    /// What a subscription may name: each event, all of a kind of record (`contacts.contact.*`), all of a service
    /// (`contacts.*`), all (`*`).
    static let patterns: [String] = Array(Set(all.flatMap { patterns(of: $0.name) })).sorted()

    /// The patterns that take in the event `name`.
    static func patterns(of name: String) -> [String] {
        let parts = name.split(separator: ".")
        return [name, "*", "\(parts[0]).*", "\(parts[0]).\(parts[1]).*"]
    }

    private static func facts<Kind: FactEvent>(_ type: Kind.Type) -> WebhookEvent {
        WebhookEvent(name: type.name) { payload in
            try JobCoding.decode(Kind.self, from: payload).facts.map { fact in
                var data: [String: JSONValue] = [
                    "id": id(fact.id), "version": JSONValue(fact.version), "state": .string(fact.state),
                    "at": .string(Timestamp.rfc3339(fact.at)),
                ]
                if let contact = fact.contact { data["contact_id"] = id(contact) }
                if let amount = fact.amount, let currency = fact.currency {
                    data["amount"] = ["amount": JSONValue(amount), "currency": .string(currency)]
                }
                if let measure = fact.measure { data["measure"] = .number("\(measure)") }
                return Note(record: fact.id, version: fact.version, data: .object(data))
            }
        }
    }

    private static func note(merge: UUID, merged: UUID, survivor: UUID, version: Int) -> Note {
        Note(
            record: merged, version: version,
            data: [
                "merge_id": id(merge), "merged_id": id(merged), "survivor_id": id(survivor),
                "version": JSONValue(version),
            ])
    }

    private static func id(_ id: UUID) -> JSONValue { .string(id.lowercased) }

    /// What is sent: `{"type": …, "timestamp": …, "data": …}`, as Standard Webhooks has it.
    static func body(type: String, at time: Date, data: JSONValue) -> String {
        let body: JSONValue = ["type": .string(type), "timestamp": .string(Timestamp.rfc3339(time)), "data": data]
        return body.encoded
    }
}

import Database
import Foundation

/// All that is known of one job, but for what it carries: its payload may speak of people.
package struct JobStory: Codable, Sendable {
    /// What the dead leave behind.
    package struct Death: Codable, Sendable {
        package var code: String
        package var error: String
        package var attempts: Int
        package var crashes: Int
        package var diedAt: Date
        /// The job that it was tried again as.
        package var replayedAs: String?
        package var replayedAt: Date?
    }

    /// Its next try, where that is a while off and PostgreSQL keeps it.
    package struct Retry: Codable, Sendable {
        package var attempts: Int
        package var crashes: Int
        package var due: Date
    }

    /// The group that waits for its end.
    package struct Group: Codable, Sendable {
        package var remaining: Int
        package var failed: Int
        package var completion: String
    }

    /// How far a tracked job is.
    package struct Status: Codable, Sendable {
        package var state: String
        package var done: Int
        package var total: Int?
        package var note: String?
        package var startedAt: Date?
    }

    package var id: String
    package var tenantId: Int64
    package var tenant: String?
    package var tenantStatus: String?
    package var queue: String
    package var name: String
    /// The service whose outbox holds it; nil when that part of the outbox is gone.
    package var origin: String?
    /// It lies too far ahead for Redis.
    package var isScheduled: Bool
    package var createdAt: Date?
    package var runAt: Date?
    package var priority: Int?
    package var maxAttempts: Int?
    package var timeoutSeconds: Int?
    package var expiry: Double?
    package var payloadBytes: Int?
    package var traceparent: String?
    /// Jobs of this key run one at a time.
    package var serialKey: String?
    /// How many of its key are before it, where it stands in line; nil once it is its turn.
    package var lineAhead: Int?
    package var groupId: String?
    package var group: Group?
    package var outcome: Int?
    package var finishedAt: Date?
    package var backlogSince: String?
    package var death: Death?
    package var retry: Retry?
    package var status: Status?
    /// From Redis, where it is known there.
    package var attempts: Int?
    package var crashes: Int?
    /// It has no row: what is known of it is what lies in Redis.
    package var isEphemeral: Bool?

    package var tenantID: TenantID { TenantID(tenantId) }
    /// What operators call its tenant.
    package var tenantName: String { tenant ?? "\(tenantId)" }

    /// How it ended, in a word; nil while it has not.
    package var ending: String? {
        guard let outcome else { return nil }
        if death?.code == "quarantined" { return "quarantined" }
        return [1: "done", 2: "cancelled", 3: "dead", 4: "expired"][outcome] ?? "ended"
    }

    /// The service that runs it.
    package var consumer: String { String(queue.prefix { $0 != "." }) }
}

/// JSON as operators' programs read it: names in snake case, times of RFC 3339.
package enum OperatorJSON {
    /// Gives `value` as JSON text, its members sorted by name.
    package static func encode(_ value: some Encodable, pretty: Bool = false) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
        encoder.dateEncodingStrategy = .custom { date, encoder in
            var container = encoder.singleValueContainer()
            try container.encode(Timestamp.rfc3339(date))
        }
        return Array(try encoder.encode(value))
    }

    /// Reads what PostgreSQL wrote: names in snake case, its own times.
    static func decode<Value: Decodable>(_ type: Value.Type, from text: String) throws -> Value {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        decoder.dateDecodingStrategy = .custom { decoder in
            let container = try decoder.singleValueContainer()
            let text = try container.decode(String.self)
            guard let date = Timestamp.parse(text) else {
                throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a time: \(text)")
            }
            return date
        }
        return try decoder.decode(type, from: Data(text.utf8))
    }
}

/// What an operator asked for can't be done, and why, in one line.
package struct OperatorRefusal: Error, CustomStringConvertible {
    /// Stable, for programs: `unknown_job`, `already_over`, `not_delayed` …
    package let code: String
    package let description: String

    package init(_ code: String, _ description: String) {
        self.code = code
        self.description = description
    }
}

import Database
import Foundation

/// A record, whatever its type.
struct RecordKey: Hashable, Sendable {
    let type: String
    let id: UUID
}

/// One change of one record, as the history keeps it.
struct HistoryEntry: Sendable {
    let key: RecordKey
    let version: Int
    let at: Date
    let kind: Change.Kind
    /// By field: what it was, what it became.
    let changes: [String: (from: JSONValue, to: JSONValue)]

    /// The columns that `init(_:_:)` reads, in its order.
    static let columns = "record_type, record_id, version, at, operation, changes::text"

    /// Reads row `row` of a result that selected `columns`.
    init(_ rows: Rows, _ row: Int) throws {
        key = RecordKey(type: rows.text(row, 0)!, id: rows.uuid(row, 1)!)
        version = rows.int(row, 2)!
        at = rows.time(row, 3)!
        kind = Change.Kind(rawValue: rows.text(row, 4)!) ?? .update
        let members = try JSONParser.parse(rows.text(row, 5)!.utf8).object ?? [:]
        changes = members.mapValues { ($0["from"] ?? .null, $0["to"] ?? .null) }
    }
}

/// How entries are chained: each entry's digest is SHA-256 over the digest of the record's entry before it, a random salt
/// and its own content. Whoever changes an entry must change all later ones of the record, and then every seal since.
///
/// The tenant's number is no part of it: a tenant that is exported gets another number where it is imported, and its
/// history and seals must hold there as they are. A chain that was moved to another tenant is missed by the one's seals,
/// and in none of the other's.
///
/// A person's erasure takes their values and the salt out of an entry and leaves the digest, so that the chain and the
/// seals hold; without the salt nobody can try values against it. What is left has a digest of its own, which the
/// erasure's own entries in the history cover.
enum HistoryChain {
    /// The SQL of an entry's digest. `previous` is the digest before it, or null for a record's first; the others are
    /// the entry's columns. PostgreSQL computes it, over the content as it keeps it: the text of a row tells by its
    /// quotes where each value ends, so that nothing can move from one into the next.
    static func digest(previous: String, entry: String = "e") -> String {
        """
        sha256(coalesce(\(previous), ''::bytea) || coalesce(\(entry).salt, ''::bytea) || \(content(entry)))
        """
    }

    /// The SQL of the digest of what `erasure` has left of an entry.
    static func redactedDigest(erasure: String, entry: String = "e") -> String {
        "sha256(\(entry).digest || uuid_send(\(erasure)) || \(content(entry)))"
    }

    private static func content(_ entry: String) -> String {
        """
        convert_to(row(\(entry).record_type, \(entry).record_id, \(entry).version,
            extract(epoch from \(entry).at), \(entry).actor, \(entry).request_id, \(entry).change_set,
            \(entry).operation)::text || \(entry).changes::text, 'UTF8')
        """
    }
}

import Database
import Foundation
import Jobs

/// A change that a transaction noted, for its prediction.
struct NotedChange: Sendable {
    let type: RecordType
    let change: Change
}

/// Records that are likely the same as one to be created, for its prediction.
struct LikelyDuplicates: Sendable {
    let matches: [JSONValue]
}

/// What a dry run found that a write would do: every record it would change and how, and every job it would start.
///
/// It is read from the write's own transaction before that is rolled back, so it can say nothing else than what the
/// write does, less the fields that the bearer may not see. Ids and times that a real run would make anew are left out.
package enum Prediction {
    /// `{"dry_run": true, "record": …, "changes": […], "jobs": […], "duplicates": […]}`.
    static func json(_ transaction: TenantTransaction, record: JSONValue?, _ context: WriteContext) -> JSONValue {
        let notes = transaction.notes
        let changes = notes.compactMap { $0 as? NotedChange }.map { json($0, context) }
        let jobs = notes.compactMap { $0 as? PendingJob }.map(json)
        let duplicates = notes.compactMap { $0 as? LikelyDuplicates }.flatMap(\.matches)
        let prediction: JSONValue = [
            "dry_run": true, "record": record ?? .null, "changes": .array(changes), "jobs": .array(jobs),
            "duplicates": .array(duplicates),
        ]
        let names = notes.compactMap { $0 as? BatchNames }.first
        return names?.applied(to: prediction) ?? prediction
    }

    private static func json(_ noted: NotedChange, _ context: WriteContext) -> JSONValue {
        let text = RecordStatements(type: noted.type).difference(noted.change)
        return [
            "record_type": .string(noted.type.name),
            "record_id": noted.change.kind == .create ? .null : .string(noted.change.after.id.lowercased),
            "operation": .string(noted.change.kind.rawValue),
            "changes": (try? JSONParser.parse(text.utf8)).map { context.visible($0, noted.type) } ?? .null,
        ]
    }

    private static func json(_ job: PendingJob) -> JSONValue {
        [
            "queue": .string(job.queue), "name": .string(job.name),
            "run_at": job.runAt.map { .string(Timestamp.rfc3339($0)) } ?? .null,
        ]
    }
}

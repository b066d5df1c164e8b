import Database
import Foundation
import Jobs
import Records

/// Asks for the tenant's audit trail to be proved.
struct VerifyAuditTrailJob: Job {
    static let name = "accounts.verify-audit-trail"
    static let options = JobOptions.long
}

/// Walks the chain of a tenant's audit trail from its first entry to the head that was written with the last: one changed
/// byte, an entry that went, and an end that was cut off are found.
struct AuditVerification: Sendable {
    let store: RecordStore
    private static let pageSize = 2000

    /// What does not fit first.
    struct Fault: Sendable {
        /// `entry_changed`, `entry_missing`, or `end_missing` where entries after `sequence` are gone.
        let code: String
        let sequence: Int

        var json: JSONValue { ["code": .string(code), "sequence": JSONValue(sequence)] }
    }

    /// Starts the job; 202 with its id.
    func start(_ context: WriteContext) async throws -> WriteResult {
        var job = try PendingJob(VerifyAuditTrailJob())
        job.traceparent = context.traceparent
        return try await store.start(job, note: "entries", context)
    }

    /// Looks at everything up to the head as it was at the beginning; the job's result is the report.
    func run(_ context: JobContext) async throws {
        let head = try await context.step { transaction in
            try await transaction.query(
                "select sequence, encode(digest, 'hex') from platform.audit_head where tenant_id = $1",
                [transaction.tenant.parameter])
        }
        let (last, digest) = head.isEmpty ? (0, "") : (head.int(0, 0)!, head.text(0, 1)!)
        let (seen, fault) = try await walk(to: last, digest: digest, context)
        let report: JSONValue = [
            "verified": .bool(fault == nil), "entries": JSONValue(seen), "head_sequence": JSONValue(last),
            "head_digest": .string(digest), "fault": fault?.json ?? .null,
        ]
        try await context.once(result: { (result: String) in result }) { _ in report.encoded }
    }

    private func walk(
        to head: Int, digest: String, _ context: JobContext
    ) async throws -> (entries: Int, fault: Fault?) {
        var seen = 0
        while true {
            let after = seen
            let rows = try await context.step { transaction in
                context.progress(done: after, total: head, in: transaction)
                // The page begins with the entry before it, whose digest its first entry follows from.
                return try await transaction.query(
                    """
                    select sequence, digest is distinct from platform.audit_digest(lag(digest) over w, e.*::platform.audit_entry),
                        encode(digest, 'hex')
                    from platform.audit_entry e
                    where tenant_id = $1 and sequence >= $2 and sequence <= $3
                    window w as (order by sequence) order by sequence limit $4
                    """,
                    [transaction.tenant.parameter, .int(after), .int(head), .int(Self.pageSize + 1)])
            }
            let first = after > 0 ? 1 : 0
            for row in first..<max(first, rows.count) {
                let sequence = rows.int(row, 0)!
                if sequence != seen + 1 { return (seen, Fault(code: "entry_missing", sequence: seen + 1)) }
                if rows.bool(row, 1) == true { return (seen, Fault(code: "entry_changed", sequence: sequence)) }
                seen = sequence
            }
            if seen == after || seen == head {
                let end = rows.isEmpty ? "" : rows.text(rows.count - 1, 2)!
                if seen < head { return (seen, Fault(code: "end_missing", sequence: seen + 1)) }
                return (seen, head > 0 && end != digest ? Fault(code: "entry_changed", sequence: head) : nil)
            }
        }
    }
}

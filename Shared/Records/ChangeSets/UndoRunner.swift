import Database
import Foundation
import Jobs
import Tenancy

/// The job that undoes a large change set, such as an import.
package struct RunUndo: Codable, Sendable {
    package let changeSet: UUID
    /// The change set that the undoing is.
    package let undoing: UUID
    package let policy: ConflictPolicy
    package let records: Int
    package let actor: String
    /// Records of this type stay as they are; nil for none.
    package var sparing: String?
}

extension RecordStore {
    /// Starts the job; 202 with its id.
    func startUndo(
        _ id: UUID, policy: ConflictPolicy, records: Int, types: [String], _ context: WriteContext
    ) async throws -> WriteResult {
        // A job has no bearer: whoever starts one must be allowed all that it does.
        for type in types.compactMap(catalogue.type(named:)) {
            try context.requireWritable(type.fields.map(\.name), type, in: .update)
            for action in [Action.update, .delete] {
                guard try context.scope(of: action, on: type) == .all else {
                    throw Problem(403, "forbidden", "Your roles do not reach all \(type.plural) of this change set.")
                }
            }
        }
        let schema = outbox.schema
        var job = PendingJob(
            name: "\(schema).run-undo", queue: "\(schema).import",
            payload: try JobCoding.encode(
                RunUndo(
                    changeSet: id, undoing: context.changeSet, policy: policy, records: records, actor: context.actor)),
            traceparent: context.traceparent)
        job.options = .long
        let pending = job
        return try await inTransaction(context, dryRun: false) { transaction in
            try await beginUndoing(id, by: context.changeSet, in: transaction)
            outbox.enqueueTracked(pending, total: records, note: "records", for: context.user, in: transaction)
            let answer: JSONValue = [
                "job_id": .string(pending.id.lowercased), "change_set": .string(context.changeSet.lowercased),
            ]
            return WriteResult(status: 202, id: pending.id, version: nil, body: answer.encodedBytes)
        }
    }
}

/// Undoes a change set some hundred records a transaction.
///
/// A killed run begins again: what it has put back already carries the undoing's own change set and is passed over.
package struct UndoRunner: Sendable {
    private let store: RecordStore
    private static let pageSize = 10_000
    private static let batchSize = 250

    package init(store: RecordStore) { self.store = store }

    /// Runs the undoing of `job` to its end. Under `refuse` all records are looked at before the first is changed; what
    /// changes in between is listed as under `skip`.
    package func run(_ job: RunUndo, _ context: JobContext) async throws {
        var outcome = UndoOutcome()
        if job.policy == .refuse {
            outcome = try await eachBatch(of: job, context, note: "looking") { reversals, transaction, _ in
                let current = try await store.standing(reversals, locked: false, in: transaction)
                var found = UndoOutcome()
                for reversal in reversals {
                    switch reversal.decide(current: current[reversal.key]) {
                    case .nothing: break
                    case .conflicts(let conflicts), .change(_, _, let conflicts): found.add(conflicts)
                    }
                }
                return found
            }
        }
        if outcome.conflictCount == 0 {
            outcome = try await eachBatch(of: job, context, note: "undoing") { reversals, transaction, write in
                try await store.reverse(reversals, write, in: transaction)
            }
        }
        let end = outcome
        try await context.once(result: { (result: String) in result }) { transaction in
            store.endUndoing(
                job.changeSet, by: job.undoing, isWhole: end.conflictCount == 0, in: transaction)
            context.progress(done: job.records, total: job.records, in: transaction)
            // Counted from the history: an earlier run of this job may have begun.
            let undone = try await transaction.query(
                """
                select count(distinct (record_type, record_id)) from \(store.outbox.schema).history
                where tenant_id = $1 and change_set = $2
                """, [transaction.tenant.parameter, .uuid(job.undoing)])
            var counted = end
            counted.undone = undone.int(0, 0)!
            return counted.json(changeSet: job.undoing).encoded
        }
    }

    private func eachBatch(
        of job: RunUndo, _ context: JobContext, note: String,
        _ body: @Sendable ([RecordReversal], TenantTransaction, WriteContext) async throws -> UndoOutcome
    ) async throws -> UndoOutcome {
        var total = UndoOutcome()
        var done = 0
        var last: RecordKey?
        while true {
            let from = last
            let page = try await context.step {
                try await store.records(of: job.changeSet, after: from, limit: Self.pageSize, in: $0)
            }
            guard let end = page.last else { return total }
            last = end
            for start in stride(from: 0, to: page.count, by: Self.batchSize) {
                let part = page[start..<min(start + Self.batchSize, page.count)]
                let batch = part.filter { $0.type != job.sparing }
                let reached = done + part.count
                total.add(
                    try await context.step { transaction in
                        let write = WriteContext(
                            tenant: transaction.tenant, job: "undo", actor: job.actor,
                            defaults: try await TenantDefaults(transaction),
                            requestID: "job:\(context.jobID.lowercased)", traceparent: context.traceparent,
                            changeSet: job.undoing)
                        let reversals = try await store.reversals(
                            of: job.changeSet, batch, undoing: job.undoing, in: transaction)
                        context.progress(done: reached, total: job.records, note: note, in: transaction)
                        return try await body(reversals, transaction, write)
                    })
                done = reached
            }
        }
    }
}

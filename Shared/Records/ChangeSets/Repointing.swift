import Database
import Foundation
import Jobs
import Tenancy

/// Moves what refers to one record to another, after two have become one; and back.
///
/// All changes belong to a change set whose id is the merge's own: undoing that set in each service undoes the merge.
package struct Repointing: Sendable {
    private let store: RecordStore
    private let target: String
    private static let batchSize = 200

    /// For references to records of the type named `target`, in this service or another.
    package init(store: RecordStore, target: String) {
        self.store = store
        self.target = target
    }

    /// Moves everything from `old` to `new`, some hundred records a transaction. What a killed run has moved is no
    /// longer there to be moved by the next.
    package func move(_ old: UUID, to new: UUID, merge: UUID, _ context: JobContext) async throws {
        for type in store.catalogue.types {
            for field in type.fields where field.target == target && field.name != "merged_into" {
                while try await moveSome(type, field, old, new, merge, context) == Self.batchSize {}
            }
        }
        try await context.once { _ in }
    }

    private func moveSome(
        _ type: RecordType, _ field: Field, _ old: UUID, _ new: UUID, _ merge: UUID, _ context: JobContext
    ) async throws -> Int {
        try await context.step { transaction in
            // The undoing may have come first: then there is nothing to move.
            let undone = try await transaction.query(
                "select 1 from \(store.outbox.schema).undone where tenant_id = $1 and change_set = $2",
                [transaction.tenant.parameter, .uuid(merge)])
            guard undone.isEmpty else { return 0 }
            let rows = try await transaction.query(
                """
                select \(type.selectList) from \(type.table) r
                where r.tenant_id = $1 and r.\(field.columns[0]) = $2 and r.deleted_at is null
                order by r.id limit \(Self.batchSize) for update
                """, [transaction.tenant.parameter, .uuid(old)])
            let write = try await self.write(merge, "merge", context, transaction)
            for row in 0..<rows.count {
                try await store.change(
                    type, Record(rows, row, type: type), setting: [field.name: [new.lowercased]], write,
                    in: transaction)
            }
            return rows.count
        }
    }

    /// Undoes what `move` did for the merge, save what has changed since.
    package func undo(merge: UUID, _ context: JobContext) async throws {
        try await context.step { store.markUndone(merge, by: context.jobID, in: $0) }
        let runner = UndoRunner(store: store)
        try await runner.run(
            RunUndo(
                // Fixed by the job, so that a killed run goes on with the same set.
                changeSet: merge, undoing: context.jobID, policy: .skip, records: 0, actor: "job:unmerge"), context)
    }

    private func write(
        _ changeSet: UUID, _ name: String, _ context: JobContext, _ transaction: TenantTransaction
    ) async throws -> WriteContext {
        WriteContext(
            tenant: transaction.tenant, job: name, defaults: try await TenantDefaults(transaction),
            requestID: "job:\(context.jobID.lowercased)", traceparent: context.envelope.traceparent,
            changeSet: changeSet)
    }
}

import Database
import Foundation
import Jobs
import Tenancy

/// Two records of another service, or of this one, that have become one, or two again.
package struct MergeNote: Sendable {
    /// The merge's id; what it moves belongs to the change set of the same id, in each service.
    package let merge: UUID
    package let merged: UUID
    package let survivor: UUID
    /// Of two notes of a merge the higher one holds, in whatever order they come.
    package let version: Int

    package init(merge: UUID, merged: UUID, survivor: UUID, version: Int) {
        self.merge = merge
        self.merged = merged
        self.survivor = survivor
        self.version = version
    }
}

/// Moves what refers to one record to another, after two have become one; and back.
///
/// Notes come by events: late, twice, in any order, and while others run. Each is written down first, under a lock that
/// the moving of each batch shares: a batch therefore knows every note that came before it, and follows a chain of merges
/// to its end, so that none leaves anything with a record that has itself been merged since.
package struct Repointing: Sendable {
    private let store: RecordStore
    private let target: String
    private var schema: String { store.outbox.schema }
    private static let batchSize = 200

    /// For references to records of the type named `target`, in this service or another.
    package init(store: RecordStore, target: String) {
        self.store = store
        self.target = target
    }

    /// Takes the note of a merge and moves everything, some hundred records a transaction. What a killed run has moved
    /// is no longer there to be moved by the next.
    package func move(_ note: MergeNote, _ context: JobContext) async throws {
        try await take(note, isUndone: false, context)
        for type in store.catalogue.types {
            for field in type.fields where field.target == target && field.name != "merged_into" {
                var last = UUID.beforeAll
                while let next = try await moveSome(type, field, note, after: last, context) { last = next }
            }
        }
        try await context.once { _ in }
    }

    /// Takes the note that a merge was undone, and puts back what it has moved, save what has changed since.
    package func undo(_ note: MergeNote, _ context: JobContext) async throws {
        try await take(note, isUndone: true, context)
        let holds = try await context.step { transaction in try await isUndone(note, in: transaction) }
        guard holds else { return try await context.once { _ in } }
        // The set's id is fixed by the job, so that a killed run goes on with the same.
        try await UndoRunner(store: store).run(
            RunUndo(
                changeSet: note.merge, undoing: context.jobID, policy: .skip, records: 0, actor: "job:unmerge",
                // Whether the two are one again is said by their own service, which may have said so anew by now.
                sparing: target), context
        )
    }

    /// Writes the note down unless a newer one of the merge is here. No batch is being moved meanwhile.
    private func take(_ note: MergeNote, isUndone: Bool, _ context: JobContext) async throws {
        try await context.step { (transaction: TenantTransaction) -> Void in
            var statements = [Statement("select pg_advisory_xact_lock(hashtextextended($1, 0))", [lock(transaction)])]
            if !isUndone {
                // A merge that was undone and is in effect again can be undone again.
                statements.append(
                    Statement(
                        """
                        delete from \(schema).undone where tenant_id = $1 and change_set = $2
                        and exists (select 1 from \(schema).merge_note n
                            where n.tenant_id = $1 and n.merge_id = $2 and n.is_undone and n.version < $3)
                        """, [transaction.tenant.parameter, .uuid(note.merge), .int(note.version)]))
            }
            statements.append(
                Statement(
                    """
                    insert into \(schema).merge_note as n (tenant_id, merge_id, merged_id, survivor_id, version, is_undone)
                    values ($1, $2, $3, $4, $5, $6)
                    on conflict (tenant_id, merge_id) do update
                    set version = excluded.version, is_undone = excluded.is_undone where n.version < excluded.version
                    """,
                    [
                        transaction.tenant.parameter, .uuid(note.merge), .uuid(note.merged), .uuid(note.survivor),
                        .int(note.version), .bool(isUndone),
                    ]))
            _ = try await transaction.batch(statements)
        }
    }

    private func isUndone(_ note: MergeNote, in transaction: TenantTransaction) async throws -> Bool {
        let rows = try await transaction.query(
            "select is_undone from \(schema).merge_note where tenant_id = $1 and merge_id = $2",
            [transaction.tenant.parameter, .uuid(note.merge)])
        return rows.bool(0, 0) == true
    }

    /// Moves the next records after `last`, deleted ones too since they may be restored; gives the last one's id, or nil
    /// when none is left.
    private func moveSome(
        _ type: RecordType, _ field: Field, _ note: MergeNote, after last: String, _ context: JobContext
    ) async throws -> String? {
        try await context.step { transaction in
            _ = try await transaction.query(
                "select pg_advisory_xact_lock_shared(hashtextextended($1, 0))", [lock(transaction)])
            guard try await !isUndone(note, in: transaction) else { return nil }
            let end = try await end(of: note, in: transaction)
            let rows = try await transaction.query(
                """
                select \(type.selectList) from \(type.table) r
                where r.tenant_id = $1 and r.\(field.columns[0]) = $2 and r.id > $3::uuid
                order by r.id limit \(Self.batchSize) for update
                """, [transaction.tenant.parameter, .uuid(note.merged), .text(last)])
            let write = WriteContext(
                tenant: transaction.tenant, job: "merge", defaults: try await TenantDefaults(transaction),
                requestID: "job:\(context.jobID.lowercased)", traceparent: context.traceparent,
                changeSet: note.merge)
            for row in 0..<rows.count {
                try await store.change(
                    type, Record(rows, row, type: type), setting: [field.name: [end.lowercased]], write,
                    in: transaction)
            }
            return rows.isEmpty ? nil : rows.text(rows.count - 1, 0)
        }
    }

    /// Where the chain of merges that begins with `note` ends.
    private func end(of note: MergeNote, in transaction: TenantTransaction) async throws -> UUID {
        let rows = try await transaction.query(
            """
            with recursive chain (id, depth) as (
                select $2::uuid, 0
                union all
                select n.survivor_id, c.depth + 1 from chain c
                join \(schema).merge_note n on n.tenant_id = $1 and n.merged_id = c.id and not n.is_undone
                where c.depth < 50)
            select id from chain order by depth desc limit 1
            """, [transaction.tenant.parameter, .uuid(note.survivor)])
        return rows.uuid(0, 0)!
    }

    private func lock(_ transaction: TenantTransaction) -> Parameter {
        .text("guanxi.merge.\(schema).\(transaction.tenant)")
    }
}

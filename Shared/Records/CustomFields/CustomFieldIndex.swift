import Database
import Foundation
import Jobs

/// A tenant wants to find records by a custom field: the service that has them writes its index of those that are there.
package struct CustomFieldIndexWanted: Event {
    package static let name = "accounts.custom_field.index_wanted"
    package let type: String
    package let field: String

    package init(type: String, field: String) {
        self.type = type
        self.field = field
    }
}

/// Completes the index of a custom field. From the wish on every record that is written has its values in it; here
/// those come in that were written before. Only then do filters ask it.
package struct CustomFieldIndex: Sendable {
    private let store: RecordStore
    private static let pageSize = 1000

    package init(store: RecordStore) { self.store = store }

    /// Does the service's part of `event`: nothing, where the type is another's.
    package func complete(_ event: CustomFieldIndexWanted, _ context: JobContext) async throws {
        guard let type = store.catalogue.type(named: event.type) else { return }
        guard try await hasSettled(event, context) else {
            // Whoever began before the wish may still write a record without it.
            throw WritersStillRun()
        }
        var last: UUID? = .init(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        while let after = last {
            try Task.checkCancellation()
            last = try await context.database.withTenant(context.tenant) { transaction in
                let rows = try await transaction.query(
                    CustomValuesSchema.backfill(type),
                    [transaction.tenant.parameter, .text(event.field), .uuid(after), .int(Self.pageSize)])
                return rows.isEmpty || rows.int(0, 1)! < Self.pageSize ? nil : rows.uuid(0, 0)
            }
        }
        try await context.once { transaction in
            _ = try await transaction.query(
                "select platform.note_custom_field_indexed($1, $2)", [.text(event.type), .text(event.field)])
        }
    }

    /// A transaction that began before the wish has not ended; tried again after the usual wait.
    private struct WritersStillRun: Error {}

    private func hasSettled(_ event: CustomFieldIndexWanted, _ context: JobContext) async throws -> Bool {
        let rows = try await context.database.query(
            tenant: context.tenant,
            Statement(
                """
                select pg_snapshot_xmin(pg_current_snapshot()) > f.wanted_at from platform.custom_field f
                where f.tenant_id = $1 and f.record_type = $2 and f.name = $3 and f.wants_index
                """, [context.tenant.parameter, .text(event.type), .text(event.field)]), readOnly: true)
        return rows.isEmpty || rows.bool(0, 0) == true
    }
}

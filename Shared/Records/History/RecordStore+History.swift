import Database
import Foundation

extension RecordStore {
    /// A page of the changes of one record, newest first: `{"items": […], "next_cursor": …}`. A deleted record's too: 404
    /// only for what never was, or lies outside the bearer's scope.
    package func history(
        _ type: RecordType, _ id: UUID, limit: Int = 200, after text: String? = nil, _ context: WriteContext
    ) async throws -> [UInt8] {
        let cursor = self.cursor("\(context.tenant)/\(type.name)/\(id.lowercased)/history")
        let before = try text.map { try cursor.decode($0, count: 1)[0] }
        _ = try await standing(type, id, context)
        let hidden = context.hidden(type)
        // A digest is of all that changed: whoever knew it and the rest could try the hidden values one by one.
        let shown =
            hidden.isEmpty ? "changes, 'digest', encode(digest, 'hex')" : "changes::jsonb - $6::text[]"
        var parameters: [Parameter] = [
            context.tenant.parameter, .text(type.name), .uuid(id), .optional(before ?? nil), .int(limit + 1),
        ]
        if !hidden.isEmpty { parameters.append(.array(hidden.sorted())) }
        let rows = try await database.query(
            tenant: context.tenant,
            Statement(
                """
                select json_build_object('version', version, 'at', to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                    'actor', actor, 'request_id', request_id, 'change_set', change_set, 'operation', operation,
                    'changes', \(shown)), version
                from \(type.schema).history
                where tenant_id = $1 and record_type = $2 and record_id = $3
                and version < coalesce($4::bigint, 9223372036854775807)
                order by version desc limit $5::bigint
                """, parameters), readOnly: true)
        var body = Array(#"{"items":["#.utf8)
        for row in 0..<min(rows.count, limit) {
            if row > 0 { body.append(UInt8(ascii: ",")) }
            rows.withBytes(row, 0) { body.append(contentsOf: $0!) }
        }
        body.append(contentsOf: #"],"next_cursor":"#.utf8)
        JSONValue(rows.count > limit ? cursor.encode([rows.text(limit - 1, 1)]) : nil).write(to: &body)
        body.append(UInt8(ascii: "}"))
        return body
    }

    /// The record as it was at `moment`, folded from its history; what it referred to then is expanded as it is now.
    /// Throws 404 where it was not there yet or was deleted.
    package func get(
        _ type: RecordType, _ id: UUID, asOf moment: Date, fields: Set<String>? = nil,
        expanding expansions: [Expansion] = [], _ context: WriteContext
    ) async throws -> (body: [UInt8], version: Int) {
        try requireExpandable(expansions, type, context)
        _ = try await standing(type, id, context)
        let fields = try context.shown(type, asking: fields)
        let rows = try await database.query(
            tenant: context.tenant,
            Statement(
                """
                select \(HistoryEntry.columns) from \(type.schema).history
                where tenant_id = $1 and record_type = $2 and record_id = $3 and at <= $4 order by version
                """, [context.tenant.parameter, .text(type.name), .uuid(id), .time(moment)]), readOnly: true)
        let entries = try (0..<rows.count).map { try HistoryEntry(rows, $0) }
        guard let record = Self.folded(entries, type), record.deletedAt == nil else {
            throw Problem.notFound(type.name)
        }
        var body: [UInt8] = []
        RecordJSON.append(record, type: type, only: fields, to: &body)
        if !expansions.isEmpty {
            let ids = expansions.map { record.text($0.field.name) }
            try await expanded(expansions, [ids], context).append(to: &body, ids)
        }
        return (body, record.version)
    }

    /// A record, living or deleted, that the bearer may read; throws 404. Its values are all there, hidden ones too: show
    /// it by `WriteContext.json`.
    package func record(_ type: RecordType, _ id: UUID, _ context: WriteContext) async throws -> Record {
        try await standing(type, id, context)
    }

    /// A record, living or deleted, within the bearer's scope; throws 404.
    func standing(_ type: RecordType, _ id: UUID, _ context: WriteContext) async throws -> Record {
        let scope = try context.scope(of: .read, on: type)
        var builder = SQLBuilder([context.tenant.parameter, .uuid(id)])
        let condition = context.condition(scope, type, &builder)
        let rows = try await database.query(
            tenant: context.tenant,
            Statement(
                "select \(type.selectList) from \(type.table) r where r.tenant_id = $1 and r.id = $2\(condition)",
                builder.parameters), readOnly: true)
        guard rows.count == 1 else { throw Problem.notFound(type.name) }
        return Record(rows, 0, type: type)
    }

    /// What a record's entries, from the first on, amount to; nil without any.
    static func folded(_ entries: [HistoryEntry], _ type: RecordType) -> Record? {
        guard let first = entries.first, let last = entries.last else { return nil }
        var record = Record(
            id: first.key.id, version: last.version, createdAt: first.at, updatedAt: last.at, deletedAt: nil,
            values: type.fields.reduce(into: [:]) { $0[$1.name] = $1.columns.map { _ in nil } })
        for entry in entries {
            for (name, change) in entry.changes {
                guard let field = type.field(name) else { continue }
                record.values[name] = RecordJSON.columns(of: field, change.to)
            }
            switch entry.kind {
            case .delete: record.deletedAt = entry.at
            case .restore, .create: record.deletedAt = nil
            case .update, .erase: break
            }
        }
        return record
    }
}

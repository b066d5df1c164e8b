import Database
import Foundation
import Tenancy

/// The SQL of changes to records of one type: columns from the description, values as parameters.
struct RecordStatements {
    let type: RecordType

    /// What happens to a record whose source and external id a living one has already.
    enum Twin {
        /// The statement gives the ids of those that went in.
        case leftOut
        /// The statement gives id, source and external id of each: its own, or the other record's, whose row it locks.
        case found
    }

    func insert(_ records: [Record], tenant: TenantID) -> Statement {
        records.count == 1 ? insertOne(records[0], tenant: tenant) : insertAll(records, tenant: tenant)
    }

    /// Inserts records and finds their twins in one go, by the unique index itself: no plan made while the table was
    /// nearly empty, when any index looks as good as another, can make it read all of a tenant's rows for each record.
    func insert(_ records: [Record], twin: Twin, tenant: TenantID) -> Statement {
        var statement = insertAll(records, tenant: tenant)
        statement.sql += """
             on conflict (tenant_id, external_id, source) where deleted_at is null and external_id is not null
            """
        switch twin {
        case .leftOut: statement.sql += " do nothing returning id"
        case .found: statement.sql += " do update set version = present.version returning id, source, external_id"
        }
        return statement
    }

    private func insertAll(_ records: [Record], tenant: TenantID) -> Statement {
        // A column that none of them has a value for is left out: a file fills a few of a type's many.
        let values = type.fields.flatMap { field in
            field.columns.indices.map { column in records.map { $0.values[field.name]?[column] } }
        }
        let filled = values.indices.filter { index in values[index].contains { $0 != nil } }
        let types = ["uuid", "bigint", "timestamptz", "timestamptz"] + filled.map { type.columnTypes[$0] }
        // Arrays travel as text and are cast in the select: an array of jsonb has no simple literal.
        let arrays = types.indices.map { "$\($0 + 2)::text[]" }.joined(separator: ", ")
        let names = types.indices.map { "c\($0)" }
        let casts = zip(names, types).map { "\($0)::\($1)" }.joined(separator: ", ")
        var parameters: [Parameter] = [tenant.parameter]
        parameters.append(.array(records.map(\.id.lowercased)))
        parameters.append(.array(records.map { String($0.version) }))
        parameters.append(.array(records.map { Timestamp.sqlText($0.createdAt) }))
        parameters.append(.array(records.map { Timestamp.sqlText($0.updatedAt) }))
        parameters += filled.map { .array(values[$0]) }
        var (target, words, source) = ("", "", "")
        if !type.searchFields.isEmpty {
            parameters.append(.array(records.map { SearchWords.array(of: $0, type, tenant: tenant) }))
            (target, words, source) = (", words", ", array_to_tsvector(w::text[])", ", $\(parameters.count)::text[]")
        }
        let columns = filled.map { ", \(type.columns[$0])" }.joined()
        return Statement(
            """
            insert into \(type.table) as present (tenant_id, id, version, created_at, updated_at\(columns)\(target))
            select $1, \(casts)\(words)
            from unnest(\(arrays)\(source)) as t (\(names.joined(separator: ", "))\(source.isEmpty ? "" : ", w"))
            """, parameters)
    }

    private func insertOne(_ record: Record, tenant: TenantID) -> Statement {
        var parameters: [Parameter] = [
            tenant.parameter, .uuid(record.id), .int(record.version), .time(record.createdAt), .time(record.updatedAt),
        ]
        parameters += columnTexts(record).map(Parameter.optional)
        if !type.searchFields.isEmpty { parameters.append(.text(SearchWords.array(of: record, type, tenant: tenant))) }
        return Statement(type.insertOneSQL, parameters)
    }

    private func columnTexts(_ record: Record) -> [String?] {
        type.fields.flatMap { field in
            record.values[field.name] ?? field.columns.map { _ in nil }
        }
    }

    /// Writes the changed fields; expects `version - 1` in the table, whose row the transaction holds locked.
    func update(_ record: Record, changed: [Field], tenant: TenantID) -> Statement {
        var parameters: [Parameter] = [
            tenant.parameter, .uuid(record.id), .int(record.version), .time(record.updatedAt),
            record.deletedAt.map(Parameter.time) ?? .null,
        ]
        var assignments: [String] = []
        for field in changed {
            let columns = record.values[field.name] ?? []
            for (index, column) in field.columns.enumerated() {
                parameters.append(.optional(index < columns.count ? columns[index] : nil))
                assignments.append("\(column) = $\(parameters.count)::\(field.columnTypes[index])")
            }
        }
        if changed.contains(where: \.isSearchable) {
            parameters.append(.text(SearchWords.array(of: record, type, tenant: tenant)))
            assignments.append("words = array_to_tsvector($\(parameters.count)::text[])")
        }
        let list = assignments.map { ", \($0)" }.joined()
        return Statement(
            """
            update \(type.table) set version = $3, updated_at = $4, deleted_at = $5\(list)
            where tenant_id = $1 and id = $2
            """, parameters)
    }

    /// The history's entry of a change, chained to the record's one before.
    func history(_ change: Change, context: WriteContext) -> Statement {
        let previous = """
            (select p.digest from \(type.schema).history p where p.tenant_id = e.tenant_id
                and p.record_type = e.record_type and p.record_id = e.record_id and p.version = e.version - 1)
            """
        return Statement(
            """
            insert into \(type.schema).history (\(Self.historyColumns), salt, digest)
            select \(Self.historyColumns), salt,
                \(HistoryChain.digest(previous: change.after.version == 1 ? "null::bytea" : previous))
            from (values ($1::bigint, $2::text, $3::uuid, $4::bigint, $5::timestamptz, $6::text, $7::text, $8::uuid,
                $9::text, $10::json, uuid_send(gen_random_uuid()))) as e (\(Self.historyColumns), salt)
            """,
            [
                context.tenant.parameter, .text(type.name), .uuid(change.after.id), .int(change.after.version),
                .time(change.now), .text(context.actor), .text(context.requestID), .uuid(context.changeSet),
                .text(change.kind.rawValue), .text(difference(change)),
            ])
    }

    /// The history's entries of new records, in one statement. Their salts are made from one secret, which is kept
    /// nowhere: a random number for each would make the statement dearer by a fifth.
    func history(creating changes: [Change], context: WriteContext) -> Statement {
        precondition(changes.allSatisfy { $0.kind == .create })
        return Statement(
            """
            insert into \(type.schema).history (\(Self.historyColumns), salt, digest)
            select \(Self.historyColumns), salt, \(HistoryChain.digest(previous: "null::bytea"))
            from (
                select $1::bigint, $2::text, t.id::uuid, 1::bigint, $3::timestamptz, $4::text, $5::text, $6::uuid,
                    'create', t.changes::json, substr(sha256($9::bytea || uuid_send(t.id::uuid)), 1, 16)
                from unnest($7::text[], $8::text[]) as t (id, changes)
            ) as e (\(Self.historyColumns), salt)
            """,
            [
                context.tenant.parameter, .text(type.name), .time(changes[0].now), .text(context.actor),
                .text(context.requestID), .uuid(context.changeSet), .array(changes.map(\.after.id.lowercased)),
                .array(changes.map { difference($0) }), .bytes(Sodium.random(32)),
            ])
    }

    private static let historyColumns =
        "tenant_id, record_type, record_id, version, at, actor, request_id, change_set, operation, changes"

    /// `{"field": {"from": …, "to": …}}` of every field that changed; for a creation of every field that is set.
    func difference(_ change: Change) -> String {
        var out: [UInt8] = [UInt8(ascii: "{")]
        for field in type.fields where !field.isDerived {
            let old = change.before?.values[field.name]
            let new = change.after.values[field.name]
            let isSame = change.before == nil ? new?.allSatisfy { $0 == nil } ?? true : old == new
            if isSame { continue }
            if out.count > 1 { out.append(UInt8(ascii: ",")) }
            JSONText.append(field.name.utf8, to: &out)
            out.append(contentsOf: #":{"from":"#.utf8)
            RecordJSON.append(columns: old ?? [nil], of: field, to: &out)
            out.append(contentsOf: #","to":"#.utf8)
            RecordJSON.append(columns: new ?? [nil], of: field, to: &out)
            out.append(UInt8(ascii: "}"))
        }
        out.append(UInt8(ascii: "}"))
        return String(decoding: out, as: UTF8.self)
    }
}

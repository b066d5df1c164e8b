import Database
import Foundation
import Jobs
import Tenancy

/// One erasure, as every service is told of it.
package struct ErasureNote: Sendable {
    package let erasure: UUID
    /// The person's own records: the one that was asked for, and those merged into it.
    package let subjects: [UUID]
    package let actor: String
    package let traces: PersonTraces

    package init(erasure: UUID, subjects: [UUID], actor: String, traces: PersonTraces) {
        self.erasure = erasure
        self.subjects = subjects
        self.actor = actor
        self.traces = traces
    }
}

/// What a service has erased.
package struct ErasureReport: Codable, Sendable, Equatable {
    package let service: String
    /// By table, from how many rows something went.
    package var tables: [String: Int]
    /// Records of others whose text still holds one of the person's names, addresses or numbers, as `task/<id>`; at
    /// most a hundred. A text may mean somebody else: people decide.
    package var mentions: [String]
    /// By table, how many rows besides records still hold one; counted up to a thousand.
    package var left: [String: Int] = [:]
    /// Over all redactions of the history; empty without any.
    package var root: String

    package init(service: String, tables: [String: Int], mentions: [String], root: String) {
        self.service = service
        self.tables = tables
        self.mentions = mentions
        self.root = root
    }
}

/// Takes a person out of a service: out of its records, their history, and whatever else it keeps for a while.
///
/// Works in batches, each a transaction; what is erased carries the erasure's own entry in the history, so that a killed
/// run goes on with the rest. While files or jobs are under way that may hold the person, it fails and is tried again.
package struct PersonErasure: Sendable {
    private let store: RecordStore
    private let data: PersonalData
    private var schema: String { store.outbox.schema }
    private static let batchSize = 200
    /// Looking for a person in all texts of a large tenant takes longer than a request may.
    private static let patience = Statement("set local statement_timeout = '15min'")

    /// For a person who is a record of the type named `target`, in this service or another.
    package init(store: RecordStore, target: String) {
        self.store = store
        data = PersonalData(store.catalogue, target: target)
    }

    /// How many records of each type hold the persons: what an erasure would take from.
    package func count(_ note: ErasureNote, in transaction: TenantTransaction) async throws -> [String: Int] {
        var counts: [String: Int] = [:]
        for place in data.places {
            var builder = SQLBuilder([transaction.tenant.parameter])
            let condition = condition(place, note, &builder)
            let rows = try await transaction.query(
                "select count(*) from \(place.type.table) r where r.tenant_id = $1 and \(condition)",
                builder.parameters)
            counts[place.type.table, default: 0] += rows.int(0, 0) ?? 0
        }
        return counts.filter { $0.value > 0 }
    }

    /// Erases everything. `ending` runs in the last transaction with the report, to which it may add its own.
    package func run(
        _ note: ErasureNote, spared: String, _ context: JobContext,
        ending: @Sendable (inout ErasureReport, TenantTransaction) async throws -> Void
    ) async throws {
        // Twice, for what others add while the first round lasts: until the person's own record has ended they can.
        for place in data.places + data.places {
            while try await eraseSome(place, note, context) == Self.batchSize {}
        }
        let mentions = try await context.step { transaction in
            transaction.later(Self.patience)
            return try await self.mentions(note, in: transaction)
        }
        let sweep = ErasureSweep(schema: schema, note: note, spared: spared)
        try await context.step { transaction in
            transaction.later(Self.patience)
            try await sweep.requireQuiet(in: transaction)
        }
        let tables: @Sendable (ErasureReport) -> String? = { report in
            JSONValue.object(report.tables.mapValues { JSONValue($0) }).encoded
        }
        let left = try await context.step { transaction in
            transaction.later(Self.patience)
            // As it will be, once the sweep is done.
            return try await transaction.savepoint(undoing: true) {
                _ = try await sweep.run(in: transaction)
                return try await self.left(note, in: transaction)
            }
        }
        try await context.once(result: tables) { transaction in
            transaction.later(Self.patience)
            var report = ErasureReport(
                service: schema, tables: try await sweep.run(in: transaction), mentions: mentions, root: "")
            report.left = left
            try await addRecords(&report, note, in: transaction)
            try await ending(&report, transaction)
            return report
        }
    }

    private func condition(_ place: PersonalData.Place, _ note: ErasureNote, _ builder: inout SQLBuilder) -> String {
        let subjects = builder.bind(.array(note.subjects.map(\.lowercased)), "uuid[]")
        let emails = builder.bind(.array(note.traces.emails.map { $0.lowercased() }), "text[]")
        let erasure = builder.bind(.uuid(note.erasure), "uuid")
        // A parameter that stands nowhere has no type.
        let all = "(\(subjects), \(emails), \(erasure)) is not null"
        return place.condition(schema: schema, subjects: subjects, emails: emails, erasure: erasure) + " and \(all)"
    }

    /// Erases some records that are not erased yet, and gives how many.
    private func eraseSome(
        _ place: PersonalData.Place, _ note: ErasureNote, _ context: JobContext
    ) async throws -> Int {
        try await context.step { transaction in
            let type = place.type
            var builder = SQLBuilder([transaction.tenant.parameter])
            let condition = condition(place, note, &builder)
            let erasure = builder.bind(.uuid(note.erasure), "uuid")
            let rows = try await transaction.query(
                """
                select \(type.selectList) from \(type.table) r where r.tenant_id = $1 and \(condition)
                and not exists (
                    select 1 from \(schema).history h where h.tenant_id = $1 and h.record_type = '\(type.name)'
                    and h.record_id = r.id and h.change_set = \(erasure) and h.operation = 'erase')
                order by r.id limit \(Self.batchSize) for update
                """, builder.parameters)
            if rows.isEmpty { return 0 }
            let records = (0..<rows.count).map { Record(rows, $0, type: type) }
            let write = WriteContext(
                tenant: transaction.tenant, job: "erase", actor: note.actor, defaults: .neutral,
                requestID: "job:\(context.jobID.lowercased)", traceparent: context.traceparent,
                changeSet: note.erasure)
            transaction.later(
                Statement(
                    "select \(schema).redact_history($1, $2, $3, $4, $5::uuid[], $6::jsonb)",
                    [
                        .uuid(note.erasure), .text(write.actor), .text(write.requestID), .text(type.name),
                        .array(records.map(\.id.lowercased)), .text(JSONValue.object(place.pseudonyms).encoded),
                    ]))
            for record in records {
                for statement in statements(record, place, write) { transaction.later(statement) }
            }
            context.progress(done: records.count, total: nil, note: type.plural, in: transaction)
            return records.count
        }
    }

    /// The record with pseudonyms, a version further; a person's own ends as well. No rule is asked: nothing of what
    /// rules would make of it is wanted, least of all a refusal.
    private func statements(_ before: Record, _ place: PersonalData.Place, _ context: WriteContext) -> [Statement] {
        let type = place.type
        let writer = RecordStatements(type: type)
        var emptied = before
        for field in place.fields where before.values[field.name]?.contains(where: { $0 != nil }) == true {
            emptied.values[field.name] = RecordJSON.columns(of: field, field.pseudonym(in: type))
        }
        var draft = Draft(before: emptied, record: emptied, defaults: .neutral, user: nil, now: Date())
        var changed = place.fields
        draft.record.version += 1
        draft.record.updatedAt = draft.now
        if let field = type.field("erased_at"), place.isSubject {
            draft["erased_at"] = Timestamp.sqlText(draft.now)
            changed.append(field)
        }
        var statements = [writer.history(change(.erase, draft, context), context: context)]
        if place.isSubject && before.deletedAt == nil {
            var end = Draft(before: draft.record, record: draft.record, defaults: .neutral, user: nil, now: draft.now)
            end.record.version += 1
            end.record.deletedAt = end.now
            statements.append(writer.history(change(.delete, end, context), context: context))
            draft.record = end.record
        }
        return [writer.update(draft.record, changed: changed, tenant: context.tenant)] + statements
    }

    private func change(_ kind: Change.Kind, _ draft: Draft, _ context: WriteContext) -> Change {
        store.change(kind, draft, context)
    }

    /// Where the person is still spoken of: texts of records that are not theirs.
    private func mentions(_ note: ErasureNote, in transaction: TenantTransaction) async throws -> [String] {
        let patterns = note.traces.patterns
        if patterns.isEmpty { return [] }
        var mentions: [String] = []
        for type in store.catalogue.types {
            let texts = type.fields.filter(\.isPersonal).flatMap { field in field.columns.map { "r.\($0)" } }
            if texts.isEmpty { continue }
            let rows = try await transaction.query(
                """
                select r.id from \(type.table) r where r.tenant_id = $1
                and lower(concat_ws(e'\\n', \(texts.joined(separator: ", ")))) like any($2::text[]) order by r.id limit 100
                """, [transaction.tenant.parameter, .array(patterns)])
            mentions += (0..<rows.count).map { "\(type.name)/\(rows.text($0, 0)!)" }
        }
        return Array(mentions.prefix(100))
    }

    /// What the service's other tables still hold, whatever they are: nothing is passed over in silence.
    private func left(_ note: ErasureNote, in transaction: TenantTransaction) async throws -> [String: Int] {
        let patterns = note.traces.patterns
        if patterns.isEmpty { return [:] }
        // The erasure's own row and jobs hold what is looked for until the end.
        let tables = try await transaction.query(
            """
            select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
            where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition
            and c.relname not in ('outbox', 'inbox', 'erasure') and has_table_privilege(c.oid, 'select') order by 1
            """, [.text(schema)])
        let records = Set(store.catalogue.types.map(\.table))
        var left: [String: Int] = [:]
        for row in 0..<tables.count {
            let table = "\(schema).\(tables.text(row, 0)!)"
            if records.contains(table) { continue }
            let found = try await transaction.query(
                """
                select count(*) from (
                    select 1 from \(table) t where t.tenant_id = $1 and lower(t::text) like any($2::text[]) limit 1000) m
                """, [transaction.tenant.parameter, .array(patterns)])
            if let count = found.int(0, 0), count > 0 { left[table] = count }
        }
        return left
    }

    /// Counts from what the erasure has left in the history, whichever run it was.
    private func addRecords(
        _ report: inout ErasureReport, _ note: ErasureNote, in transaction: TenantTransaction
    ) async throws {
        let parameters: [Parameter] = [transaction.tenant.parameter, .uuid(note.erasure)]
        let erased = try await transaction.query(
            """
            select record_type, count(*) from \(schema).history
            where tenant_id = $1 and change_set = $2 and operation = 'erase' group by 1
            """, parameters)
        for row in 0..<erased.count {
            guard let type = store.catalogue.type(named: erased.text(row, 0)!) else { continue }
            report.tables[type.table, default: 0] += erased.int(row, 1)!
        }
        let redacted = try await transaction.query(
            "select count(*) from \(schema).history_redaction where tenant_id = $1 and erasure_id = $2", parameters)
        report.tables["\(schema).history", default: 0] += redacted.int(0, 0)!
        report.tables = report.tables.filter { $0.value > 0 }
        report.root = try await Self.root(note.erasure, schema: schema, in: transaction)
    }

    /// Empties the erasure's own jobs in a service's outbox, those that are done.
    package static func forget(_ erasure: UUID, schema: String) -> Statement {
        Statement(
            "select redacted from \(schema).redact_payloads($1::text[], '')", [.array(["%\(erasure.lowercased)%"])])
    }

    /// Over the erasure's own entries in a service's history, which cover its redactions; empty without any.
    package static func root(_ erasure: UUID, schema: String, in transaction: TenantTransaction) async throws -> String
    {
        let rows = try await transaction.query(
            """
            select \(ErasureSchema.root) from \(schema).history
            where tenant_id = $1 and record_type = '\(ErasureSchema.recordType)' and record_id = $2
            """, [transaction.tenant.parameter, .uuid(erasure)])
        return rows.text(0, 0) ?? ""
    }
}

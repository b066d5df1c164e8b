import Database
import Foundation
import Jobs

/// Some hundred rows of an import: read, checked, and written in one transaction.
struct ImportBatch: Sendable {
    /// What became of the rows before the database was asked.
    struct Prepared: Sendable {
        var drafts: [(row: DelimitedText.Row, json: JSONValue, draft: Draft)] = []
        var errors: [RowError] = []
    }

    struct RowError: Sendable {
        let row: DelimitedText.Row
        let column: String
        let code: String
        let message: String
    }

    /// What a batch came to.
    struct Tally: Sendable {
        var rows = 0
        var created = 0
        var updated = 0
        var skipped = 0
        var errors: [RowError] = []

        func statements(_ plan: ImportPlan, tenant: TenantID) -> [Statement] {
            let failed = Set(errors.map(\.row.number)).count
            var statements = [
                Statement(
                    """
                    update \(plan.schema).import set rows_done = rows_done + $3, created = created + $4,
                        updated = updated + $5, skipped = skipped + $6, failed = failed + $7
                    where tenant_id = $1 and id = $2
                    """,
                    [
                        tenant.parameter, .uuid(plan.id), .int(rows), .int(created), .int(updated), .int(skipped),
                        .int(failed),
                    ])
            ]
            if !errors.isEmpty {
                statements.append(
                    Statement(
                        """
                        insert into \(plan.schema).import_error (tenant_id, import_id, row_number, column_name, code,
                            message, row_text)
                        select $1, $2, n::bigint, c, k, m, t
                        from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) as e (n, c, k, m, t)
                        on conflict do nothing
                        """,
                        [
                            tenant.parameter, .uuid(plan.id), .array(errors.map { String($0.row.number) }),
                            .array(errors.map { String($0.column.prefix(100)) }), .array(errors.map(\.code)),
                            .array(errors.map { String($0.message.prefix(500)) }),
                            .array(
                                errors.map {
                                    String(decoding: $0.row.raw.filter { $0 != 0 }.prefix(4000), as: UTF8.self)
                                }),
                        ]))
            }
            return statements
        }
    }

    let store: RecordStore
    let plan: ImportPlan
    let header: [String]
    let rows: [DelimitedText.Row]

    private var type: RecordType { plan.options.type }

    // MARK: Reading

    /// Every row as a draft or as errors; touches no database.
    func prepared() -> Prepared {
        var prepared = Prepared()
        let mapping = try? plan.mapping(header: header)
        let columns = Dictionary(
            header.enumerated().map { ($0.element, $0.offset) }, uniquingKeysWith: { first, _ in first })
        for row in rows {
            if let error = row.error {
                prepared.errors.append(RowError(row: row, column: "", code: error.code, message: error.message))
                continue
            }
            do {
                let json = try read(row, mapping, columns)
                prepared.drafts.append((row, json, try store.draft(type, creating: json, plan.context)))
            } catch let problem as Problem {
                let fields = problem.fields.isEmpty ? [FieldError("", problem.code, problem.detail)] : problem.fields
                for field in fields {
                    let column = mapping?.column(of: field.pointer) ?? String(field.pointer.drop { $0 == "/" })
                    prepared.errors.append(RowError(row: row, column: column, code: field.code, message: field.message))
                }
            } catch {
                prepared.errors.append(
                    RowError(row: row, column: "", code: "unreadable", message: "The row can't be read."))
            }
        }
        return prepared
    }

    private func read(_ row: DelimitedText.Row, _ mapping: ImportMapping?, _ columns: [String: Int]) throws -> JSONValue
    {
        var constants: [String: JSONValue] = [:]
        if let source = plan.options.source, type.field("source") != nil { constants["source"] = .string(source) }
        if plan.options.format == .ndjson {
            let value: JSONValue
            do { value = try JSONParser.parse(row.raw) } catch {
                throw Problem.invalid("", "not_json", "The line is not JSON: \(error).")
            }
            guard let members = value.object else { throw Problem.invalid("", "not_an_object", "A line is an object.") }
            // What an export adds and a creation does not take.
            let own = members.filter { name, _ in
                !RecordType.systemColumns.contains(name) && type.field(name)?.isReadOnly != true
            }
            return .object(constants.merging(own) { $1 })
        }
        guard row.fields.count == header.count else {
            let code = row.fields.count < header.count ? "too_few_columns" : "too_many_columns"
            throw Problem.invalid("", code, "\(row.fields.count) columns, the header has \(header.count).")
        }
        guard let mapping else { throw Problem.invalid("", "nothing_mapped", "No column could be matched.") }
        return try mapping.record(header: columns, fields: row.fields, constants: constants)
    }

    // MARK: Writing

    /// Writes the drafts in `transaction`. Set by set where the type's rules allow, otherwise (or with `oneByOne`) each
    /// in a savepoint, so that a row that is refused does not take the others with it.
    func write(
        _ prepared: Prepared, oneByOne: Bool, in transaction: TenantTransaction
    ) async throws -> Tally {
        var tally = Tally(rows: rows.count, errors: prepared.errors)
        let known = try await existing(prepared, in: transaction)
        var fresh: [(row: DelimitedText.Row, draft: Draft)] = []
        var seen = Set<String>()
        for (row, json, draft) in prepared.drafts {
            let key = Self.key(draft.record)
            let twin = key.flatMap { known[$0] }
            let isRepeated = key.map { !seen.insert($0).inserted } ?? false
            if twin == nil && !isRepeated {
                fresh.append((row, draft))
                continue
            }
            switch plan.options.duplicates {
            case .skip: tally.skipped += 1
            case .ask, .create:
                tally.errors.append(
                    RowError(
                        row: row, column: "external_id", code: "duplicate",
                        message: "A record with this source and external id exists."))
            case .update:
                guard let twin else {
                    tally.skipped += 1
                    continue
                }
                if try await update(twin, json, row, &tally, in: transaction) { tally.updated += 1 }
            }
        }
        if oneByOne || type.rules.check != nil || type.rules.after != nil {
            for (row, draft) in fresh {
                try await attempt(row, &tally, in: transaction) {
                    try await store.insert(type, draft, plan.context, in: transaction)
                }
            }
        } else if !fresh.isEmpty {
            let undo = plan.options.dryRun
            try await transaction.savepoint(undoing: undo) { [fresh] in
                try insertAll(fresh.map(\.draft), in: transaction)
            }
            tally.created += fresh.count
        }
        return tally
    }

    private func insertAll(_ drafts: [Draft], in transaction: TenantTransaction) throws {
        let context = plan.context
        let changes = drafts.map { store.change(.create, $0, context) }
        let writer = RecordStatements(type: type)
        transaction.later(writer.insert(drafts.map(\.record), tenant: context.tenant))
        transaction.later(writer.history(changes, context: context))
        var together = Effects()
        for change in changes {
            let effects = try type.rules.effects(change)
            together.events += effects.events
            together.jobs += effects.jobs
            together.statements += effects.statements
        }
        for statement in together.statements { transaction.later(statement) }
        store.outbox.enqueue(try store.jobs(of: together, context), in: transaction)
    }

    private func update(
        _ id: UUID, _ json: JSONValue, _ row: DelimitedText.Row, _ tally: inout Tally,
        in transaction: TenantTransaction
    ) async throws -> Bool {
        let created = tally.created
        try await attempt(row, &tally, in: transaction) {
            guard let before = try await store.lock(type, id, in: transaction) else { return }
            var draft = Draft(
                before: before, record: before, defaults: plan.context.defaults, user: nil, now: Date())
            try store.apply(json.object ?? [:], to: &draft, type)
            try await store.change(type, before, setting: draft.record.values, plan.context, in: transaction)
        }
        let succeeded = tally.created > created
        tally.created = created
        return succeeded
    }

    /// Runs one row's write in a savepoint and notes what became of it.
    private func attempt(
        _ row: DelimitedText.Row, _ tally: inout Tally, in transaction: TenantTransaction,
        _ body: @Sendable () async throws -> Void
    ) async throws {
        do {
            try await transaction.savepoint(undoing: plan.options.dryRun, body)
            tally.created += 1
        } catch {
            let problem = (error as? Problem) ?? (error as? DatabaseError).flatMap { RecordStore.problem($0, type) }
            guard let problem, problem.status < 500 else { throw error }
            let field = problem.fields.first
            let column = field.map { String($0.pointer.drop { $0 == "/" }) } ?? ""
            tally.errors.append(
                RowError(row: row, column: column, code: field?.code ?? problem.code, message: problem.detail))
        }
    }

    /// The living records with the drafts' sources and external ids.
    private func existing(_ prepared: Prepared, in transaction: TenantTransaction) async throws -> [String: UUID] {
        guard type.field("external_id") != nil, type.field("source") != nil else { return [:] }
        let ids = prepared.drafts.compactMap { $0.draft["external_id"] }
        if ids.isEmpty { return [:] }
        let rows = try await transaction.query(
            """
            select r.id, r.source, r.external_id from unnest($2::text[]) as wanted (external_id)
            cross join lateral (
                select id, source, external_id from \(type.table)
                where tenant_id = $1 and external_id = wanted.external_id and deleted_at is null offset 0) r
            """, [transaction.tenant.parameter, .array(ids)])
        var known: [String: UUID] = [:]
        for row in 0..<rows.count { known[Self.key(rows.text(row, 1), rows.text(row, 2))!] = rows.uuid(row, 0)! }
        return known
    }

    private static func key(_ record: Record) -> String? { key(record.text("source"), record.text("external_id")) }

    private static func key(_ source: String?, _ id: String?) -> String? { id.map { "\(source ?? "")\u{0}\($0)" } }
}

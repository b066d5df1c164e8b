import Database
import Foundation
import Jobs

/// Some hundred rows of an import: read, checked, and written in one transaction.
struct ImportBatch: Sendable {
    /// What became of the rows before the database was asked.
    struct Prepared: Sendable {
        struct Item: Sendable {
            let row: DelimitedText.Row
            var json: JSONValue
            var draft: Draft
        }

        var unrepeated: [Item] = []
        /// Rows of a source and external id that an earlier row of the batch has.
        var repeated: [Item] = []
        var errors: [RowError] = []
        /// What writes all drafts at once; nil where each needs the database's word first.
        var together: (insert: Statement, following: Together)?
    }

    /// What follows the insert of many drafts: history, effects and jobs.
    struct Together: Sendable {
        let statements: [Statement]
        let jobs: [PendingJob]
    }

    struct RowError: Sendable {
        let row: DelimitedText.Row
        let column: String
        let code: String
        let message: String
        /// The row went in all the same, without the value.
        var isLeftOut = false
    }

    /// What a batch came to.
    struct Tally: Sendable {
        var rows = 0
        var created = 0
        var updated = 0
        var skipped = 0
        var errors: [RowError] = []

        func statements(_ plan: ImportPlan, tenant: TenantID) -> [Statement] {
            let failed = Set(errors.filter { !$0.isLeftOut }.map(\.row.number)).count
            var statements = [
                Statement(
                    """
                    update \(plan.schema).import set rows_done = rows_done + $3, created = created + $4,
                        updated = updated + $5, skipped = skipped + $6, failed = failed + $7,
                        values_left_out = values_left_out + $8
                    where tenant_id = $1 and id = $2
                    """,
                    [
                        tenant.parameter, .uuid(plan.id), .int(rows), .int(created), .int(updated), .int(skipped),
                        .int(failed), .int(errors.filter(\.isLeftOut).count),
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
                                    String(
                                        decoding: plan.text(of: $0.row).filter { $0 != 0 }.prefix(4000), as: UTF8.self)
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
    func prepared() throws -> Prepared {
        var prepared = Prepared()
        var seen = Set<String>()
        let mapping = try? plan.mapping(header: header)
        let columns = Dictionary(
            header.enumerated().map { ($0.element, $0.offset) }, uniquingKeysWith: { first, _ in first })
        for row in rows {
            if let error = row.error {
                prepared.errors.append(RowError(row: row, column: "", code: error.code, message: error.message))
                continue
            }
            do {
                let (json, draft, leftOut) = try draft(try read(row, mapping, columns))
                let item = Prepared.Item(row: row, json: json, draft: draft)
                for unplaced in row.entry?.unplaced ?? [] {
                    prepared.errors.append(
                        RowError(
                            row: row, column: unplaced.property, code: "no_field", message: unplaced.message,
                            isLeftOut: true))
                }
                for field in leftOut {
                    prepared.errors.append(error(field, row, mapping, isLeftOut: true))
                }
                let isRepeated = Self.key(item.draft.record).map { !seen.insert($0).inserted } ?? false
                if isRepeated { prepared.repeated.append(item) } else { prepared.unrepeated.append(item) }
            } catch let problem as Problem {
                let fields = problem.fields.isEmpty ? [FieldError("", problem.code, problem.detail)] : problem.fields
                for field in fields { prepared.errors.append(error(field, row, mapping)) }
            } catch {
                prepared.errors.append(
                    RowError(row: row, column: "", code: "unreadable", message: "The row can't be read."))
            }
        }
        if type.rules.check == nil && type.rules.after == nil {
            prepared.together = try together(prepared.unrepeated)
        }
        return prepared
    }

    /// The row as a draft. Where values may be left out, those that are refused go one field after the other, as long
    /// as something is left; what they were refused for is given with the draft.
    private func draft(_ json: JSONValue) throws -> (json: JSONValue, draft: Draft, leftOut: [FieldError]) {
        var json = json
        var leftOut: [FieldError] = []
        while true {
            do {
                return (json, try store.draft(type, creating: json, plan.context), leftOut)
            } catch let problem as Problem where plan.options.badValues == .leaveOut {
                // From the last on: an entry that goes moves those behind it.
                let rest = problem.fields.reversed().reduce(json) { $0.removing(pointer: $1.pointer) }
                // Without a key the row would come again with the next import; without what is required it can't go in.
                let isNeeded = problem.fields.contains { field in
                    ["/source", "/external_id"].contains(field.pointer) || field.code == "required"
                }
                guard rest != json, !problem.fields.isEmpty, !isNeeded else {
                    var problem = problem
                    problem.fields = leftOut + problem.fields
                    throw problem
                }
                json = rest
                leftOut += problem.fields
            }
        }
    }

    private func error(
        _ field: FieldError, _ row: DelimitedText.Row, _ mapping: ImportMapping?, isLeftOut: Bool = false
    ) -> RowError {
        let column =
            plan.options.format.own?.property(field.pointer) ?? mapping?.column(of: field.pointer)
            ?? String(field.pointer.drop { $0 == "/" })
        return RowError(row: row, column: column, code: field.code, message: field.message, isLeftOut: isLeftOut)
    }

    private func read(_ row: DelimitedText.Row, _ mapping: ImportMapping?, _ columns: [String: Int]) throws -> JSONValue
    {
        var constants: [String: JSONValue] = [:]
        if let source = plan.options.source, type.field("source") != nil { constants["source"] = .string(source) }
        if let entry = row.entry { return .object(constants.merging(entry.record) { $1 }) }
        if case .ndjson = plan.options.format {
            let value: JSONValue
            do { value = try JSONParser.parse(row.raw) } catch {
                throw Problem.invalid("", "not_json", "The line is not JSON: \(error).")
            }
            guard let members = value.object else { throw Problem.invalid("", "not_an_object", "A line is an object.") }
            // What an export adds and a creation does not take.
            let own = members.filter { name, _ in
                !RecordType.systemColumns.contains(name) && type.field(name)?.isReadOnly != true
            }
            let forbidden = plan.unwritable.intersection(own.keys).sorted()
            guard forbidden.isEmpty else {
                throw Problem.invalid(
                    forbidden.map {
                        FieldError("/\($0)", "forbidden_field", "Your roles do not let you set this field.")
                    })
            }
            return .object(constants.merging(own) { $1 })
        }
        guard row.fields.count == header.count else {
            let code = row.fields.count < header.count ? "too_few_columns" : "too_many_columns"
            throw Problem.invalid("", code, "\(row.fields.count) columns, the header has \(header.count).")
        }
        guard let mapping else { throw Problem.invalid("", "nothing_mapped", "No column could be matched.") }
        return try mapping.record(
            header: columns, fields: row.fields, constants: constants,
            custom: plan.context.defaults.customFields[type.name])
    }

    // MARK: Writing

    /// Writes the drafts in `transaction`. Set by set where the type's rules allow, otherwise (or with `oneByOne`) each
    /// in a savepoint, so that a row that is refused does not take the others with it.
    func write(
        _ prepared: Prepared, oneByOne: Bool, in transaction: TenantTransaction
    ) async throws -> Tally {
        let prepared = try await finding(prepared, in: transaction)
        // For practice all of it is undone at once: until then a row meets what earlier ones wrote, as it will in earnest.
        if plan.options.dryRun {
            return try await transaction.savepoint(undoing: true) {
                try await write(prepared, oneByOne || prepared.together == nil, in: transaction)
            }
        }
        return try await write(prepared, oneByOne || prepared.together == nil, in: transaction)
    }

    private func write(
        _ prepared: Prepared, _ isEach: Bool, in transaction: TenantTransaction
    ) async throws -> Tally {
        var tally = Tally(rows: rows.count, errors: prepared.errors)
        let ids =
            isEach
            ? try await writeEach(prepared, &tally, in: transaction)
            : try await writeAll(prepared, &tally, in: transaction)
        // A later row of the same record meets what the earlier one made of it.
        for item in prepared.repeated {
            try await meet(Self.key(item.draft.record).flatMap { ids[$0] }, item, &tally, in: transaction)
        }
        return tally
    }

    /// The same with those records found that the rows know by name alone.
    private func finding(_ prepared: Prepared, in transaction: TenantTransaction) async throws -> Prepared {
        if plan.options.format.own == nil { return prepared }
        var prepared = prepared
        let rows = (prepared.unrepeated + prepared.repeated).map(\.row)
        var found: [String: [String: String]] = [:]
        for name in Set(rows.flatMap { $0.entry?.named.keys.map { $0 } ?? [] }).sorted() {
            let names = Set(rows.compactMap { $0.entry?.named[name]?.lowercased() })
            found[name] = try await records(of: name, named: names.sorted(), in: transaction)
        }
        if found.isEmpty { return prepared }
        func complete(_ item: Prepared.Item, _ errors: inout [RowError]) -> Prepared.Item {
            var item = item
            for (field, name) in (item.row.entry?.named ?? [:]).sorted(by: { $0.key < $1.key })
            where item.draft[field] == nil {
                if let id = found[field]?[name.lowercased()] {
                    item.draft[field] = id
                    if case .object(var members) = item.json {
                        members[field] = .string(id)
                        item.json = .object(members)
                    }
                } else {
                    errors.append(
                        RowError(
                            row: item.row, column: plan.options.format.own?.property("/\(field)") ?? field,
                            code: "no_such_record", message: "There is none of this name: \(name.prefix(100)).",
                            isLeftOut: true))
                }
            }
            return item
        }
        prepared.unrepeated = prepared.unrepeated.map { complete($0, &prepared.errors) }
        prepared.repeated = prepared.repeated.map { complete($0, &prepared.errors) }
        if prepared.together != nil { prepared.together = try together(prepared.unrepeated) }
        return prepared
    }

    /// The oldest living record of each name, of the type that `field` refers to.
    private func records(
        of field: String, named names: [String], in transaction: TenantTransaction
    ) async throws -> [String: String] {
        guard case .reference(let name) = type.field(field)?.kind, let target = store.catalogue.type(named: name),
            let title = target.title?.name
        else { return [:] }
        let rows = try await transaction.query(
            """
            select lower(r.\(title)), r.id from unnest($2::text[]) as wanted (name)
            cross join lateral (
                select id, \(title) from \(target.table)
                where tenant_id = $1 and lower(\(title)) = wanted.name and deleted_at is null
                order by created_at, id limit 1) r
            """, [transaction.tenant.parameter, .array(names)])
        var ids: [String: String] = [:]
        for row in 0..<rows.count { ids[rows.text(row, 0)!] = rows.text(row, 1) }
        return ids
    }

    /// Gives the ids of the records by source and external id, here and below.
    private func writeEach(
        _ prepared: Prepared, _ tally: inout Tally, in transaction: TenantTransaction
    ) async throws -> [String: UUID] {
        var ids = try await existing(prepared, in: transaction)
        for item in prepared.unrepeated {
            let key = Self.key(item.draft.record)
            if let twin = key.flatMap({ ids[$0] }) {
                try await meet(twin, item, &tally, in: transaction)
                continue
            }
            let isIn = try await attempt(item.row, &tally, in: transaction) {
                try await store.insert(type, item.draft, plan.context, in: transaction)
            }
            if isIn {
                tally.created += 1
                if let key { ids[key] = item.draft.record.id }
            }
        }
        return ids
    }

    private func writeAll(
        _ prepared: Prepared, _ tally: inout Tally, in transaction: TenantTransaction
    ) async throws -> [String: UUID] {
        let items = prepared.unrepeated
        guard let together = prepared.together, !items.isEmpty else { return [:] }
        guard hasOrigin else {
            transaction.later(together.insert)
            follow(together.following, in: transaction)
            tally.created += items.count
            return [:]
        }
        let rows = try await transaction.query(together.insert)
        var present = Set<UUID>()
        var ids: [String: UUID] = [:]
        for row in 0..<rows.count {
            present.insert(rows.uuid(row, 0)!)
            if isUpdating, let key = Self.key(rows.text(row, 1), rows.text(row, 2)) { ids[key] = rows.uuid(row, 0) }
        }
        let fresh = items.filter { present.contains($0.draft.record.id) }
        tally.created += fresh.count
        if fresh.count == items.count {
            follow(together.following, in: transaction)
            return ids
        }
        if !fresh.isEmpty { follow(try following(fresh.map(\.draft)), in: transaction) }
        for item in items where !present.contains(item.draft.record.id) {
            try await meet(Self.key(item.draft.record).flatMap { ids[$0] }, item, &tally, in: transaction)
        }
        return ids
    }

    private func follow(_ together: Together, in transaction: TenantTransaction) {
        for statement in together.statements { transaction.later(statement) }
        store.outbox.enqueue(together.jobs, in: transaction)
    }

    private func together(_ items: [Prepared.Item]) throws -> (insert: Statement, following: Together)? {
        let drafts = items.map(\.draft)
        return drafts.isEmpty ? nil : (insert(drafts), try following(drafts))
    }

    private func insert(_ drafts: [Draft]) -> Statement {
        let (writer, records) = (RecordStatements(type: type), drafts.map(\.record))
        return hasOrigin
            ? writer.insert(records, twin: isUpdating ? .found : .leftOut, tenant: plan.context.tenant)
            : writer.insert(records, tenant: plan.context.tenant)
    }

    private func following(_ drafts: [Draft]) throws -> Together {
        let context = plan.context
        let changes = drafts.map { store.change(.create, $0, context) }
        var effects = Effects()
        for change in changes {
            let own = try type.rules.effects(change)
            effects.events += own.events
            effects.jobs += own.jobs
            effects.statements += own.statements
        }
        return Together(
            statements: [RecordStatements(type: type).history(creating: changes, context: context)]
                + effects.statements,
            jobs: try store.jobs(of: effects, context))
    }

    /// A row whose record is there already.
    private func meet(
        _ twin: UUID?, _ item: Prepared.Item, _ tally: inout Tally, in transaction: TenantTransaction
    ) async throws {
        guard isUpdating, let twin else { return repeats(item, &tally) }
        if try await update(twin, item.json, item.row, &tally, in: transaction) { tally.updated += 1 }
    }

    /// A row that says again what the file or the tenant has already.
    private func repeats(_ item: Prepared.Item, _ tally: inout Tally) {
        switch plan.options.duplicates {
        case .skip, .update: tally.skipped += 1
        case .ask, .create:
            tally.errors.append(
                RowError(
                    row: item.row, column: "external_id", code: "duplicate",
                    message: "A record with this source and external id exists."))
        }
    }

    private var isUpdating: Bool { plan.options.duplicates == .update }

    private var hasOrigin: Bool { type.field("external_id") != nil && type.field("source") != nil }

    private func update(
        _ id: UUID, _ json: JSONValue, _ row: DelimitedText.Row, _ tally: inout Tally,
        in transaction: TenantTransaction
    ) async throws -> Bool {
        try await attempt(row, &tally, in: transaction) {
            guard let before = try await store.lock(type, id, in: transaction) else { return }
            var draft = Draft(
                before: before, record: before, defaults: plan.context.defaults, user: nil, now: Date())
            try store.apply(json.object ?? [:], to: &draft, type)
            try await store.change(type, before, setting: draft.record.values, plan.context, in: transaction)
        }
    }

    /// Runs one row's write in a savepoint; when it is refused, notes why and gives false.
    private func attempt(
        _ row: DelimitedText.Row, _ tally: inout Tally, in transaction: TenantTransaction,
        _ body: @Sendable () async throws -> Void
    ) async throws -> Bool {
        do {
            try await transaction.savepoint(undoing: false, body)
            return true
        } catch {
            let problem = (error as? Problem) ?? (error as? DatabaseError).flatMap { RecordStore.problem($0, type) }
            guard let problem, problem.status < 500 else { throw error }
            let field = problem.fields.first
            let column = field.map { String($0.pointer.drop { $0 == "/" }) } ?? ""
            tally.errors.append(
                RowError(row: row, column: column, code: field?.code ?? problem.code, message: problem.detail))
            return false
        }
    }

    /// The living records with the drafts' sources and external ids.
    private func existing(_ prepared: Prepared, in transaction: TenantTransaction) async throws -> [String: UUID] {
        guard hasOrigin else { return [:] }
        let ids = prepared.unrepeated.compactMap { $0.draft["external_id"] }
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

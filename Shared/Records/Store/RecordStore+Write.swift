import Database
import Foundation
import Jobs
import Tenancy

extension RecordStore {
    // MARK: Over HTTP

    /// Creates a record from `body`, or with `dryRun` says what would be created and rolls back.
    ///
    /// Where the type can tell likely duplicates, they are refused with 409 and the records in question, unless they are
    /// allowed; a dry run lists them.
    package func create(
        _ type: RecordType, _ body: JSONValue, dryRun: Bool = false, allowingDuplicates: Bool = false,
        _ context: WriteContext
    ) async throws -> WriteResult {
        guard type.operations.contains(.create) else {
            throw Problem(405, "not_allowed", "These records are not created here.")
        }
        let scope = try context.scope(of: .create, on: type)
        let draft = try self.draft(type, creating: body, context)
        try context.require(draft.record, within: scope, type)
        return try await mapping(type, context) {
            let looks = looksForDuplicates(of: type, allowing: allowingDuplicates, context)
            if type.rules.check == nil && type.rules.after == nil && !dryRun {
                let likeness = type.rules.likeness?.likeness(draft, context.tenant)
                if looks, let likeness {
                    let rows = try await database.batch(tenant: context.tenant, likeness.reads, readOnly: true)
                    try refuse(likes(rows, likeness, type, context), type)
                }
                return try await createAtOnce(type, draft, likeness, context)
            }
            return try await inTransaction(context, dryRun: dryRun) { transaction in
                let record = try await admit(
                    type, draft, lookingForDuplicates: looks, dryRun: dryRun, context, in: transaction)
                // A prediction has no id: the record it speaks of does not exist, and the real one will have another.
                return WriteResult(
                    status: 201, id: dryRun ? nil : record.id, version: dryRun ? nil : record.version,
                    body: context.json(record, type, isPrediction: dryRun))
            }
        }
    }

    /// Inserts a draft that came over HTTP: refuses it where it is likely here already, if that is asked.
    func admit(
        _ type: RecordType, _ draft: Draft, lookingForDuplicates looks: Bool, dryRun: Bool, _ context: WriteContext,
        in transaction: TenantTransaction
    ) async throws -> Record {
        let likeness = type.rules.likeness?.likeness(draft, context.tenant)
        if looks, let likeness {
            let found = likes(try await transaction.batch(likeness.reads), likeness, type, context)
            if dryRun { transaction.note(LikelyDuplicates(matches: found)) } else { try refuse(found, type) }
        }
        for statement in likeness?.index ?? [] { transaction.later(statement) }
        return try await insert(type, draft, context, in: transaction)
    }

    /// Whether likely duplicates of a creation are looked for: only those are told of them who may read all.
    func looksForDuplicates(of type: RecordType, allowing: Bool, _ context: WriteContext) -> Bool {
        !allowing && type.rules.likeness != nil && (try? context.scope(of: .read, on: type)) == .all
    }

    private func likes(
        _ rows: [Rows], _ likeness: Likeness, _ type: RecordType, _ context: WriteContext
    ) -> [JSONValue] {
        likeness.judge(rows).map { context.visible(duplicate: $0, type) }
    }

    private func refuse(_ duplicates: [JSONValue], _ type: RecordType) throws(Problem) {
        if duplicates.isEmpty { return }
        throw Problem(
            409, "duplicates", "This \(type.name) is likely here already; allow_duplicates=true goes on.",
            extra: ["duplicates": .array(duplicates)])
    }

    /// Everything is known beforehand: one round trip, one implicit transaction.
    private func createAtOnce(
        _ type: RecordType, _ draft: Draft, _ likeness: Likeness?, _ context: WriteContext
    ) async throws -> WriteResult {
        let change = self.change(.create, draft, context)
        let effects = try type.rules.effects(change)
        let jobs = try self.jobs(of: effects, context)
        let result = WriteResult(status: 201, id: draft.record.id, version: 1, body: context.json(draft.record, type))
        var statements = context.idempotency.map { [remember(result, $0, context)] } ?? []
        let writer = RecordStatements(type: type)
        statements += referenceChecks(type, draft, context)
        statements += likeness?.index ?? []
        statements += [
            writer.insert([draft.record], tenant: context.tenant), writer.history(change, context: context),
        ]
        statements += effects.statements + outbox.statements(for: jobs, tenant: context.tenant)
        _ = try await database.batch(tenant: context.tenant, statements)
        outbox.push(jobs, tenant: context.tenant)
        outbox.live.tell([change.hint(type)], context.tenant)
        return result
    }

    /// Merges `patch` (RFC 7396) into a record.
    ///
    /// A stale `precondition` is 412 with the conflicting fields. With `merging`, changes to other fields than those
    /// that changed meanwhile go through.
    package func update(
        _ type: RecordType, _ id: UUID, _ patch: JSONValue, precondition: Precondition, merging: Bool = false,
        dryRun: Bool = false, _ context: WriteContext
    ) async throws -> WriteResult {
        guard type.operations.contains(.update) else {
            throw Problem(405, "not_allowed", "These records are not changed.")
        }
        guard let members = patch.object else { throw Problem.invalid("", "not_an_object", "A patch is an object.") }
        _ = try context.scope(of: .update, on: type)
        return try await mapping(type, context) {
            try await inTransaction(context, dryRun: dryRun) { transaction in
                let after = try await revise(
                    type, id, members, precondition: precondition, merging: merging, context, in: transaction)
                return WriteResult(status: 200, id: id, version: after.version, body: context.json(after, type))
            }
        }
    }

    /// Merges members that came over HTTP into a record.
    func revise(
        _ type: RecordType, _ id: UUID, _ members: [String: JSONValue], precondition: Precondition,
        merging: Bool = false, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> Record {
        let scope = try context.scope(of: .update, on: type)
        let before = try await found(type, id, scope, context, in: transaction)
        try context.requireWritable(members.keys, type, in: .update)
        if case .version(let version) = precondition, version != before.version {
            try await refuseStale(
                type, before, base: version, submitted: members, merging: merging, context, in: transaction)
        }
        var draft = Draft(
            before: before, record: before, defaults: context.defaults, user: context.user, now: Date())
        draft.reach = FilterReach(context)
        try apply(members, to: &draft, type)
        try context.require(draft.record, within: scope, type)
        return try await update(type, draft, context, in: transaction)
    }

    /// Deletes a record softly: it can be restored for thirty days, and no longer counts for uniqueness.
    package func delete(
        _ type: RecordType, _ id: UUID, precondition: Precondition, dryRun: Bool = false, _ context: WriteContext
    ) async throws -> WriteResult {
        guard type.operations.contains(.delete) else {
            throw Problem(405, "not_allowed", "These records are not deleted.")
        }
        _ = try context.scope(of: .delete, on: type)
        return try await mapping(type, context) {
            try await inTransaction(context, dryRun: dryRun) { transaction in
                try await discard(type, id, precondition: precondition, context, in: transaction)
                return WriteResult(status: 204, id: id, version: nil, body: [])
            }
        }
    }

    /// Deletes a record that a request over HTTP names.
    func discard(
        _ type: RecordType, _ id: UUID, precondition: Precondition, _ context: WriteContext,
        in transaction: TenantTransaction
    ) async throws {
        let scope = try context.scope(of: .delete, on: type)
        let before = try await found(type, id, scope, context, in: transaction)
        if case .version(let version) = precondition, version != before.version {
            try await refuseStale(
                type, before, base: version, submitted: [:], merging: false, context, in: transaction)
        }
        _ = try await mark(type, before, .delete, context, in: transaction)
    }

    /// Brings a deleted record back within thirty days.
    package func restore(
        _ type: RecordType, _ id: UUID, dryRun: Bool = false, _ context: WriteContext
    ) async throws -> WriteResult {
        let scope = try context.scope(of: .delete, on: type)
        return try await mapping(type, context) {
            try await inTransaction(context, dryRun: dryRun) { transaction in
                var builder = SQLBuilder([context.tenant.parameter, .uuid(id)])
                let condition = context.condition(scope, type, &builder)
                guard
                    let before = try await lock(
                        type, id, scope: condition, builder: builder, includingDeleted: true, in: transaction)
                else { throw Problem.notFound(type.name) }
                if before.text("erased_at") != nil { throw Problem.erased(type) }
                if let survivor = before.text("merged_into") {
                    throw Problem(
                        409, "merged", "This \(type.name) has become part of another one: undo the merge.",
                        extra: ["merged_into": .string(survivor)])
                }
                guard let deleted = before.deletedAt else {
                    throw Problem(409, "not_deleted", "This \(type.name) is not deleted.")
                }
                guard deleted > Date(timeIntervalSinceNow: -30 * 86_400) else {
                    throw Problem(409, "too_late", "Records can be restored for thirty days.")
                }
                let after = try await mark(type, before, .restore, context, in: transaction)
                return WriteResult(status: 200, id: id, version: after.version, body: context.json(after, type))
            }
        }
    }

    // MARK: Within a transaction

    /// A draft of a new record from its JSON. Throws every wrong field at once.
    package func draft(_ type: RecordType, creating body: JSONValue, _ context: WriteContext) throws -> Draft {
        guard let members = body.object else { throw Problem.invalid("", "not_an_object", "A record is an object.") }
        try context.requireWritable(members.keys, type, in: .create)
        let now = Date()
        let record = Record(
            id: .v7(at: now), version: 1, createdAt: now, updatedAt: now, deletedAt: nil, values: type.blank)
        var draft = Draft(before: nil, record: record, defaults: context.defaults, user: context.user, now: now)
        draft.reach = FilterReach(context)
        try apply(members, to: &draft, type, requiringCustom: context.isAsked)
        return draft
    }

    /// Merges `members` into the draft, then lets the type's rules complete it. With `requiringCustom` a new record has
    /// all custom fields that the tenant requires.
    package func apply(
        _ members: [String: JSONValue], to draft: inout Draft, _ type: RecordType, requiringCustom: Bool = false
    ) throws {
        let reader = FieldReader(defaults: draft.defaults)
        var errors: [FieldError] = []
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            guard let field = type.field(name) else {
                errors.append(FieldError("/\(name)", "unknown_field", "There is no such field."))
                continue
            }
            if field.isReadOnly {
                errors.append(FieldError("/\(name)", "read_only", "\(field.label.en) is set by the service."))
                continue
            }
            if case .custom(let type) = field.kind {
                let read = reader.custom(value, of: type, over: draft.record.json(name), at: "/\(name)")
                draft.record.values[name] = read.columns
                errors += read.errors
                continue
            }
            do throws(FieldError) {
                let columns = try reader.read(value, as: field, at: "/\(name)")
                if field.isImmutable && !draft.isCreation && draft.before?.values[name] != columns {
                    throw FieldError("/\(name)", "immutable", "\(field.label.en) can't be changed any more.")
                }
                draft.record.values[name] = columns
            } catch {
                errors.append(error)
            }
        }
        if draft.isCreation, draft["owner_id"] == nil, let user = draft.user { draft["owner_id"] = user.lowercased }
        if errors.isEmpty {
            do { try type.rules.prepare(&draft) } catch let error as FieldError { errors.append(error) }
        }
        for field in type.fields where field.isRequired && !field.isReadOnly && draft[field.name] == nil {
            if !errors.contains(where: { $0.pointer == "/\(field.name)" }) {
                errors.append(FieldError("/\(field.name)", "required", "\(field.label.en) is required."))
            }
        }
        if requiringCustom {
            let missing = reader.missing(of: type.name, in: draft.record.json("custom"))
            errors += missing.filter { lack in !errors.contains { $0.pointer == lack.pointer } }
        }
        if !errors.isEmpty { throw Problem.invalid(errors) }
    }

    /// Inserts a prepared draft with its history, effects and jobs.
    @discardableResult
    package func insert(
        _ type: RecordType, _ draft: Draft, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> Record {
        var draft = draft
        try await type.rules.check?(&draft, transaction)
        for check in referenceChecks(type, draft, context) { transaction.later(check) }
        transaction.later(RecordStatements(type: type).insert([draft.record], tenant: context.tenant))
        try await follow(change(.create, draft, context), type, context, in: transaction)
        return draft.record
    }

    /// Creates a record from JSON within a transaction: for rules and jobs.
    @discardableResult
    package func create(
        _ type: RecordType, _ body: JSONValue, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> Record {
        try await insert(type, try draft(type, creating: body, context), context, in: transaction)
    }

    /// Changes fields of a record whose row the transaction holds: for rules and jobs. Read-only fields may be set,
    /// by their column texts in `setting`.
    @discardableResult
    package func change(
        _ type: RecordType, _ before: Record, setting values: [String: [String?]], _ context: WriteContext,
        in transaction: TenantTransaction
    ) async throws -> Record {
        var draft = Draft(before: before, record: before, defaults: context.defaults, user: context.user, now: Date())
        draft.record.values.merge(values) { $1 }
        return try await update(type, draft, context, in: transaction)
    }

    func update(
        _ type: RecordType, _ draft: Draft, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> Record {
        var draft = draft
        try await type.rules.check?(&draft, transaction)
        let changed = type.fields.filter { draft.changes($0.name) }
        // A patch that changes nothing leaves no trace: no version, no history, no event.
        if changed.isEmpty { return draft.record }
        draft.record.version += 1
        draft.record.updatedAt = draft.now
        for check in referenceChecks(type, draft, context) { transaction.later(check) }
        transaction.later(
            RecordStatements(type: type).update(draft.record, changed: changed, tenant: context.tenant))
        try await follow(change(.update, draft, context), type, context, in: transaction)
        return draft.record
    }

    /// Changes fields as `change` does, and lets the type's rules complete what follows from them.
    @discardableResult
    package func change(
        _ type: RecordType, _ before: Record, completing values: [String: [String?]], _ context: WriteContext,
        in transaction: TenantTransaction
    ) async throws -> Record {
        var draft = Draft(before: before, record: before, defaults: context.defaults, user: context.user, now: Date())
        draft.record.values.merge(values) { $1 }
        if !values.isEmpty { try type.rules.prepare(&draft) }
        return try await update(type, draft, context, in: transaction)
    }

    /// Deletes, softly, a record whose row the transaction holds: for rules and jobs.
    package func remove(
        _ type: RecordType, _ before: Record, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws {
        _ = try await mark(type, before, .delete, context, in: transaction)
    }

    /// Runs a write of several records as one: with the context's idempotency, its prediction instead with `dryRun`, and
    /// the database's refusals in the words of the HTTP surface.
    package func writing(
        _ type: RecordType, dryRun: Bool, _ context: WriteContext,
        _ body: @Sendable (TenantTransaction) async throws -> WriteResult
    ) async throws -> WriteResult {
        try await mapping(type, context) { try await inTransaction(context, dryRun: dryRun, body) }
    }

    func mark(
        _ type: RecordType, _ before: Record, _ kind: Change.Kind, _ context: WriteContext,
        in transaction: TenantTransaction
    ) async throws -> Record {
        var draft = Draft(before: before, record: before, defaults: context.defaults, user: context.user, now: Date())
        // The history says the same moment.
        draft.record.deletedAt = kind == .delete ? draft.now : nil
        draft.record.version += 1
        draft.record.updatedAt = draft.now
        transaction.later(RecordStatements(type: type).update(draft.record, changed: [], tenant: context.tenant))
        try await follow(change(kind, draft, context), type, context, in: transaction)
        return draft.record
    }

    private func follow(
        _ change: Change, _ type: RecordType, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws {
        transaction.note(NotedChange(type: type, change: change))
        transaction.afterCommit { [outbox] in outbox.live.tell([change.hint(type)], context.tenant) }
        transaction.later(RecordStatements(type: type).history(change, context: context))
        let effects = try type.rules.effects(change)
        for statement in effects.statements { transaction.later(statement) }
        outbox.enqueue(try jobs(of: effects, context), in: transaction)
        try await type.rules.after?(change, transaction, outbox)
    }

    /// Statements that refuse the transaction when the draft refers to a record that is deleted, or that the bearer may
    /// not read: to them it is not there. The foreign key alone knows neither.
    private func referenceChecks(_ type: RecordType, _ draft: Draft, _ context: WriteContext) -> [Statement] {
        guard context.permissions != nil else { return [] }
        return type.fields.compactMap { field in
            guard case .reference(let name) = field.kind, let id = draft[field.name], draft.changes(field.name),
                let target = catalogue.type(named: name)
            else { return nil }
            var builder = SQLBuilder([context.tenant.parameter, .text(id)])
            let scope = try? context.scope(of: .read, on: target)
            let condition = scope.map { context.condition($0, target, &builder) } ?? " and false"
            return Statement(
                """
                select platform.require_record(exists (
                    select 1 from \(target.table) r
                    where r.tenant_id = $1 and r.id = $2 and r.deleted_at is null\(condition)), '_\(field.name)_')
                """, builder.parameters)
        }
    }

    func change(_ kind: Change.Kind, _ draft: Draft, _ context: WriteContext) -> Change {
        Change(
            kind: kind, before: draft.before, after: draft.record, tenant: context.tenant, defaults: draft.defaults,
            user: context.user, now: draft.now)
    }

    func jobs(of effects: Effects, _ context: WriteContext) throws -> [PendingJob] {
        var jobs = effects.jobs
        for event in Self.coalesced(effects.events) {
            jobs += try outbox.jobs(for: event, traceparent: context.traceparent)
        }
        return jobs
    }

    /// Events of one kind put together as their type says; the kinds keep the order of their first.
    private static func coalesced(_ events: [any Event]) -> [any Event] {
        if events.count < 2 { return events }
        var names: [String] = []
        var groups: [String: [any Event]] = [:]
        for event in events {
            let name = type(of: event).name
            if groups[name] == nil { names.append(name) }
            groups[name, default: []].append(event)
        }
        func merge<E: Event>(_ first: E, _ all: [any Event]) -> [any Event] {
            E.coalesced(all.compactMap { $0 as? E })
        }
        return names.flatMap { merge(groups[$0]![0], groups[$0]!) }
    }

    /// The record, locked, within the scope; 404 for whoever may not even read it, 403 for whoever may.
    package func found(
        _ type: RecordType, _ id: UUID, _ scope: Scope, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> Record {
        var builder = SQLBuilder([context.tenant.parameter, .uuid(id)])
        let condition = context.condition(scope, type, &builder)
        if let record = try await lock(type, id, scope: condition, builder: builder, in: transaction) { return record }
        // Whoever may read it is told that changing it is not theirs; to everybody else it does not exist.
        let standing = try await get(type, id, context)
        if standing.id != id {
            throw Problem(
                409, "merged", "This \(type.name) has become part of another one.",
                extra: ["merged_into": .string(standing.id.lowercased)])
        }
        // It answers though it can't be locked as a living one: an erased one, or somebody else's.
        let held = try await lock(type, id, includingDeleted: true, in: transaction)
        if held?.text("erased_at") != nil { throw Problem.erased(type) }
        // Restored since it was looked for: now it can be.
        if held?.deletedAt == nil,
            let record = try await lock(type, id, scope: condition, builder: builder, in: transaction)
        {
            return record
        }
        throw Problem(403, "forbidden", "This \(type.name) belongs to somebody else.")
    }
}

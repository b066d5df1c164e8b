import Database
import Foundation
import Jobs
import Tenancy

/// What happens where something has changed since.
package enum ConflictPolicy: String, Codable, Sendable, CaseIterable {
    /// Nothing is undone: all or nothing.
    case refuse
    /// Everything else is undone.
    case skip
}

extension RecordStore {
    /// Sets of more records than this are undone by a job.
    package static let largestUndoAtOnce = 1000

    /// One change set: who made it and when, how many records it changed, and its first 200 changes.
    ///
    /// Throws 404 where there is none, or one of others' records is in it that the bearer may not read.
    package func changeSet(_ id: UUID, _ context: WriteContext) async throws -> [UInt8] {
        let schema = outbox.schema
        let parameters: [Parameter] = [context.tenant.parameter, .uuid(id)]
        let results = try await database.batch(
            tenant: context.tenant,
            [
                Statement(
                    """
                    select record_type, operation, count(*), min(at), min(actor), min(request_id) from \(schema).history
                    where tenant_id = $1 and change_set = $2 group by record_type, operation order by 1, 2
                    """, parameters),
                Statement(
                    """
                    select json_build_object('record_type', record_type, 'record_id', record_id, 'version', version,
                        'operation', operation, 'changes', changes)
                    from \(schema).history where tenant_id = $1 and change_set = $2
                    order by record_type, record_id, version limit 200
                    """, parameters),
                Statement(
                    "select undone_by from \(schema).undone where tenant_id = $1 and change_set = $2", parameters),
            ], readOnly: true)
        let groups = results[0]
        guard !groups.isEmpty else { throw Problem.notFound("change set") }
        try requireReadable(
            types: (0..<groups.count).map { groups.text($0, 0)! },
            isOwn: (0..<groups.count).contains { groups.text($0, 4) == context.actor }, context)
        let counts = (0..<groups.count).map { row -> JSONValue in
            [
                "record_type": .string(groups.text(row, 0)!), "operation": .string(groups.text(row, 1)!),
                "count": JSONValue(groups.int(row, 2)!),
            ]
        }
        let changes = try (0..<results[1].count).map { row -> JSONValue in
            let entry = try JSONParser.parse(results[1].text(row, 0)!.utf8)
            guard var members = entry.object, let type = members["record_type"]?.text.flatMap(catalogue.type(named:))
            else { return entry }
            members["changes"] = context.visible(members["changes"] ?? .null, type)
            return .object(members)
        }
        let answer: JSONValue = [
            "id": .string(id.lowercased), "at": .string(Timestamp.rfc3339(groups.time(0, 3)!)),
            "actor": .string(groups.text(0, 4)!), "request_id": .string(groups.text(0, 5)!),
            "counts": .array(counts), "changes": .array(changes),
            "undone_by": JSONValue(results[2].isEmpty ? nil : results[2].uuid(0, 0)!.lowercased),
        ]
        return answer.encodedBytes
    }

    /// Undoes a change set: every record is as it was before it, and the undoing is a change set itself.
    ///
    /// Where something has changed since, the answer is 409 with every conflict (`refuse`), or the rest is undone and
    /// the conflicts are listed (`skip`). More than a thousand records are a job's work: 202 with its id.
    package func undo(
        _ id: UUID, policy: ConflictPolicy, dryRun: Bool, _ context: WriteContext
    ) async throws -> WriteResult {
        let schema = outbox.schema
        let rows = try await database.query(
            tenant: context.tenant,
            Statement(
                """
                select record_type, bool_or(actor = $3), count(distinct record_id) from \(schema).history
                where tenant_id = $1 and change_set = $2 group by record_type
                """, [context.tenant.parameter, .uuid(id), .text(context.actor)]), readOnly: true)
        guard !rows.isEmpty else { throw Problem.notFound("change set") }
        let types = (0..<rows.count).map { rows.text($0, 0)! }
        try requireReadable(types: types, isOwn: (0..<rows.count).contains { rows.bool($0, 1) == true }, context)
        let records = (0..<rows.count).reduce(0) { $0 + rows.int($1, 2)! }
        if records > Self.largestUndoAtOnce && dryRun {
            throw Problem(
                409, "too_many_records",
                "More than \(Self.largestUndoAtOnce) records: with on_conflict refuse the job looks at all before it changes one."
            )
        }
        if records > Self.largestUndoAtOnce {
            return try await startUndo(id, policy: policy, records: records, types: types, context)
        }
        return try await writing(catalogue.types[0], dryRun: dryRun, context) { transaction in
            try await beginUndoing(id, by: context.changeSet, in: transaction)
            let records = try await self.records(of: id, after: nil, limit: Int(Int32.max), in: transaction)
            let reversals = try await self.reversals(of: id, records, undoing: context.changeSet, in: transaction)
            let outcome = try await reverse(reversals, context, in: transaction).visible(to: context, catalogue)
            if policy == .refuse && !outcome.conflicts.isEmpty { throw outcome.refusal }
            endUndoing(id, by: context.changeSet, isWhole: outcome.conflicts.isEmpty, in: transaction)
            return WriteResult(
                status: 200, id: nil, version: nil, body: outcome.json(changeSet: context.changeSet).encodedBytes)
        }
    }

    /// Notes that `id` is being undone by `set`: whoever else wants to undo it waits for this transaction and is then
    /// refused with 409, as for a set that has been undone already or is still growing.
    func beginUndoing(_ id: UUID, by set: UUID, in transaction: TenantTransaction) async throws {
        let schema = outbox.schema
        let parameters: [Parameter] = [transaction.tenant.parameter, .uuid(id)]
        let results = try await transaction.batch([
            Statement(
                """
                insert into \(schema).undone (tenant_id, change_set, undone_by) values ($1, $2, $3)
                on conflict do nothing returning 1
                """, parameters + [.uuid(set)]),
            Statement(
                "select undone_by from \(schema).undone where tenant_id = $1 and change_set = $2", parameters),
            Statement(
                """
                select 1 from \(schema).import i join \(schema).job_status s on s.tenant_id = i.tenant_id and s.id = i.job_id
                where i.tenant_id = $1 and i.change_set = $2 and s.state in ('waiting', 'running', 'failed')
                """, parameters),
        ])
        if results[0].isEmpty {
            throw Problem(
                409, "already_undone", "This change set has been undone, or is being undone.",
                extra: ["undone_by": JSONValue(results[1].isEmpty ? nil : results[1].uuid(0, 0)!.lowercased)])
        }
        if !results[2].isEmpty {
            throw Problem(
                409, "still_running", "The import still runs: cancel it, or wait.", headers: [("Retry-After", "5")])
        }
    }

    /// Ends what `beginUndoing` began. A set of which something could not be undone stays in effect; a set that the
    /// undone one had undone itself is in effect again.
    func endUndoing(_ id: UUID, by set: UUID, isWhole: Bool, in transaction: TenantTransaction) {
        let schema = outbox.schema
        let parameters: [Parameter] = [transaction.tenant.parameter, .uuid(id), .uuid(set)]
        guard isWhole else {
            return transaction.later(
                Statement(
                    "delete from \(schema).undone where tenant_id = $1 and change_set = $2 and undone_by = $3",
                    parameters))
        }
        transaction.later(
            Statement(
                """
                insert into \(schema).undone (tenant_id, change_set, undone_by) values ($1, $2, $3)
                on conflict do nothing
                """, parameters))
        transaction.later(
            Statement(
                "delete from \(schema).undone where tenant_id = $1 and undone_by = $2", Array(parameters.prefix(2))))
    }

    /// The records of the set beyond `after`, in the order of types and ids.
    func records(
        of id: UUID, after: RecordKey?, limit: Int, in transaction: TenantTransaction
    ) async throws -> [RecordKey] {
        let rows = try await transaction.query(
            """
            select record_type, record_id from \(outbox.schema).history
            where tenant_id = $1 and change_set = $2 and (record_type, record_id) > ($3, $4::uuid)
            group by 1, 2 order by 1, 2 limit $5
            """,
            [
                transaction.tenant.parameter, .uuid(id), .text(after?.type ?? ""),
                .text(after?.id.lowercased ?? UUID.beforeAll), .int(limit),
            ])
        return (0..<rows.count).map { RecordKey(type: rows.text($0, 0)!, id: rows.uuid($0, 1)!) }
    }

    /// What the set did with each of `records`, except those that `undoing` has changed already.
    func reversals(
        of id: UUID, _ records: [RecordKey], undoing: UUID, in transaction: TenantTransaction
    ) async throws -> [RecordReversal] {
        let rows = try await transaction.query(
            """
            select \(HistoryEntry.columns) from \(outbox.schema).history h
            where tenant_id = $1 and (record_type, record_id) in (
                select t.record_type, t.record_id::uuid from unnest($3::text[], $4::text[]) as t (record_type, record_id))
            and change_set = $2 and not exists (
                select 1 from \(outbox.schema).history d where d.tenant_id = h.tenant_id
                and d.record_type = h.record_type and d.record_id = h.record_id and d.change_set = $5)
            order by record_type, record_id, version
            """,
            [
                transaction.tenant.parameter, .uuid(id), .array(records.map(\.type)),
                .array(records.map(\.id.lowercased)), .uuid(undoing),
            ])
        let since = try await changes(since: id, records, in: transaction)
        var groups: [[HistoryEntry]] = []
        for row in 0..<rows.count {
            let entry = try HistoryEntry(rows, row)
            if let last = groups.last?.last, last.key == entry.key {
                groups[groups.count - 1].append(entry)
            } else {
                groups.append([entry])
            }
        }
        return groups.compactMap { entries in
            let key = entries[0].key
            let later = (since[key] ?? []).filter { $0.version > entries[0].version }
            return catalogue.type(named: key.type).map { RecordReversal(type: $0, entries: entries, since: later) }
        }
    }

    /// What other sets did with the records, except those that were undone, and their undoings.
    private func changes(
        since id: UUID, _ records: [RecordKey], in transaction: TenantTransaction
    ) async throws -> [RecordKey: [HistoryEntry]] {
        let schema = outbox.schema
        let rows = try await transaction.query(
            """
            select \(HistoryEntry.columns) from \(schema).history h
            where tenant_id = $1 and (record_type, record_id) in (
                select t.record_type, t.record_id::uuid from unnest($3::text[], $4::text[]) as t (record_type, record_id))
            and version > 1 and change_set <> $2
            and not exists (
                select 1 from \(schema).undone u where u.tenant_id = h.tenant_id and u.change_set = h.change_set)
            and not exists (
                select 1 from \(schema).undone u where u.tenant_id = h.tenant_id and u.undone_by = h.change_set)
            """,
            [
                transaction.tenant.parameter, .uuid(id), .array(records.map(\.type)),
                .array(records.map(\.id.lowercased)),
            ])
        return Dictionary(grouping: try (0..<rows.count).map { try HistoryEntry(rows, $0) }, by: \.key)
    }

    /// Puts records back. What a rule or a constraint refuses is a conflict of its record, and the others go on.
    func reverse(
        _ reversals: [RecordReversal], _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> UndoOutcome {
        // The last change first: what it took from an earlier one is free again when that one's turn comes.
        let ordered = reversals.sorted { $0.entries.last!.at > $1.entries.last!.at }
        if let outcome = try await attempt(ordered, context, in: transaction).outcome { return outcome }
        var outcome = UndoOutcome()
        var waiting = ordered
        var refusals: [RecordReversal.Conflict] = []
        // One that is refused may only wait for another to be put back, which its own refers to.
        repeat {
            refusals = []
            var refused: [RecordReversal] = []
            for reversal in waiting {
                let tried = try await attempt([reversal], context, in: transaction)
                if let done = tried.outcome {
                    outcome.add(done)
                } else {
                    refused.append(reversal)
                    refusals.append(reversal.conflict(tried.refusal!.code, message: tried.refusal!.detail))
                }
            }
            if refused.count == waiting.count { break }
            waiting = refused
        } while !waiting.isEmpty
        outcome.add(refusals)
        return outcome
    }

    /// Puts records back in a savepoint, all or none: what came of it, or what a rule or a constraint had against it.
    private func attempt(
        _ reversals: [RecordReversal], _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> (outcome: UndoOutcome?, refusal: Problem?) {
        do {
            let outcome = try await transaction.savepoint {
                try await reverseAll(reversals, context, in: transaction)
            }
            return (outcome, nil)
        } catch {
            guard let problem = reversals.first.flatMap({ Self.refusal(error, $0.type) }) else { throw error }
            return (nil, problem)
        }
    }

    /// What `error` says to whoever asked for the undoing; nil when it is no fault of a record.
    private static func refusal(_ error: any Error, _ type: RecordType) -> Problem? {
        let problem =
            (error as? Problem) ?? (error as? FieldError).map { .invalid([$0]) }
            ?? (error as? DatabaseError).flatMap { Self.problem($0, type) }
        // What only was in the way is tried again with the whole transaction.
        return problem.flatMap { $0.status < 500 && $0.status != 403 && $0.code != "busy" ? $0 : nil }
    }

    private func reverseAll(
        _ reversals: [RecordReversal], _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> UndoOutcome {
        var outcome = UndoOutcome()
        let current = try await standing(reversals, locked: true, in: transaction)
        for reversal in reversals {
            let type = reversal.type
            let record = current[reversal.key]
            switch reversal.decide(current: record) {
            case .nothing: outcome.undone += 1
            case .conflicts(let conflicts): outcome.add(conflicts)
            case .change(let values, let life, let conflicts):
                outcome.add(conflicts)
                guard type.operations.contains(life == .stays ? .update : .delete) else {
                    outcome.add([reversal.conflict("not_undoable")])
                    continue
                }
                let scope = try context.scope(of: life == .stays ? .update : .delete, on: type)
                try context.require(record!, within: scope, type)
                if values.isEmpty && life == .stays { continue }
                let set = values.keys.filter { type.field($0)?.isReadOnly == false }
                try context.requireWritable(set, type, in: .update)
                try await put(record!, type, values, life, context, in: transaction)
                outcome.undone += 1
            }
        }
        return outcome
    }

    /// The records as they stand, living or deleted.
    func standing(
        _ reversals: [RecordReversal], locked: Bool, in transaction: TenantTransaction
    ) async throws -> [RecordKey: Record] {
        var standing: [RecordKey: Record] = [:]
        for (name, group) in Dictionary(grouping: reversals, by: \.type.name).sorted(by: { $0.key < $1.key }) {
            let type = group[0].type
            let rows = try await transaction.query(
                """
                select \(type.selectList) from \(type.table) r where r.tenant_id = $1 and r.id = any($2::uuid[])
                order by r.id\(locked ? " for update" : "")
                """, [transaction.tenant.parameter, .array(group.map(\.key.id.lowercased))])
            for row in 0..<rows.count {
                let record = Record(rows, row, type: type)
                standing[RecordKey(type: name, id: record.id)] = record
            }
        }
        return standing
    }

    private func put(
        _ current: Record, _ type: RecordType, _ values: [String: [String?]], _ life: RecordReversal.Life,
        _ context: WriteContext, in transaction: TenantTransaction
    ) async throws {
        var record = current
        if life == .returns {
            record = try await mark(type, record, .restore, context, in: transaction)
        }
        // What follows from other fields follows from them as they are now.
        record = try await change(type, record, completing: values, context, in: transaction)
        if life == .ends {
            _ = try await mark(type, record, .delete, context, in: transaction)
        }
    }

    /// A set is shown to whoever may read all records of its types, and to who made it.
    private func requireReadable(types: [String], isOwn: Bool, _ context: WriteContext) throws {
        for type in Set(types).compactMap(catalogue.type(named:)) {
            guard let scope = try? context.scope(of: .read, on: type),
                (scope == .all && type.rules.visibility == nil) || isOwn
            else {
                throw Problem.notFound("change set")
            }
        }
    }
}

/// What an undoing came to.
struct UndoOutcome: Sendable {
    /// Of the conflicts this many are listed; all are counted.
    static let listed = 200

    var undone = 0
    private(set) var conflicts: [RecordReversal.Conflict] = []
    private(set) var conflictCount = 0

    mutating func add(_ other: UndoOutcome) {
        undone += other.undone
        conflictCount += other.conflictCount
        conflicts += other.conflicts.prefix(Self.listed - conflicts.count)
    }

    mutating func add(_ found: [RecordReversal.Conflict]) {
        conflictCount += found.count
        conflicts += found.prefix(Self.listed - conflicts.count)
    }

    /// The outcome without values that the bearer may not see.
    func visible(to context: WriteContext, _ catalogue: Catalogue) -> UndoOutcome {
        var copy = self
        copy.conflicts = conflicts.map { conflict in
            guard let name = conflict.field, let type = catalogue.type(named: conflict.type),
                context.hidden(type).contains(name)
            else { return conflict }
            var blank = conflict
            blank.expected = .null
            blank.current = .null
            return blank
        }
        return copy
    }

    func json(changeSet: UUID) -> JSONValue {
        [
            "change_set": .string(changeSet.lowercased), "undone": JSONValue(undone),
            "conflict_count": JSONValue(conflictCount), "conflicts": .array(conflicts.map(\.json)),
        ]
    }

    var refusal: Problem {
        Problem(
            409, "conflicts", "Something has changed since: nothing was undone.",
            extra: ["conflict_count": JSONValue(conflictCount), "conflicts": .array(conflicts.map(\.json))])
    }
}

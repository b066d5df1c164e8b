import Database
import Foundation
import Jobs
import Records
import ServiceKit

/// `POST /v1/calls`: a telephone system tells of a call. It pops up at its agent's, and is logged once it is over.
struct CallEndpoint {
    let store: RecordStore
    /// For how long a call that rings is worth telling to whoever begins to listen.
    private static let popLife: TimeInterval = 120

    var endpoint: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = RecordDocumentation.body(CallEvent.fields)
            $0.response = RecordDocumentation.record
            $0.refusals = [409]
        }
        return Endpoint(
            .post, "/v1/calls", "Tell of a call: it pops up at its agent's, and is logged once it is over",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            guard try request.context.scope(of: .create, on: Call.type) == .all else { throw Problem.forbidden }
            let event = try CallEvent(try await request.json(), request.context.defaults, now: Date())
            let dryRun = try request.flag("dry_run")
            let result = try await store.writing(Call.type, dryRun: dryRun, request.context) { transaction in
                try await take(event, dryRun: dryRun, request.context, transaction)
            }
            return EndpointResponse(result, to: request, dryRun: dryRun)
        }
    }

    private func take(
        _ event: CallEvent, dryRun: Bool, _ context: WriteContext, _ transaction: TenantTransaction
    ) async throws -> WriteResult {
        // The telephone system is a machine: what follows from a call is not limited by what it may read.
        let write = WriteContext(
            tenant: context.tenant, job: "call", actor: context.actor, defaults: context.defaults,
            requestID: context.requestID, traceparent: context.traceparent, changeSet: context.changeSet)
        let number = event.customerNumber.map { Normaliser.phone($0, country: context.defaults.country) ?? $0 }
        let found = try await look(event, number, transaction)
        var progress = found.call.map(CallProgress.init) ?? CallProgress()
        let (before, wasOver) = (progress, found.call.map { CallProgress($0).isOver } ?? false)
        progress.take(
            CallProgress.Told(
                state: event.state, at: event.at, user: event.user ?? found.agent, duration: event.duration))
        var values = progress.values
        values["call_id"] = [event.callID]
        values["direction"] = [found.call?.text("direction") ?? event.direction]
        values["caller"] = [found.call?.text("caller") ?? event.caller]
        values["callee"] = [found.call?.text("callee") ?? event.callee]
        values["number"] = [found.call?.text("number") ?? number]
        let contact = found.call?.uuid("contact_id") ?? found.contacts.first?.id
        values["contact_id"] = [contact?.lowercased]
        values["owner_id"] = [progress.agent?.user.lowercased]
        if progress.isOver, let contact = try await living(contact, transaction) {
            let activity = try await log(
                progress, values, contact, known: found.call?.uuid("activity_id"), write, transaction)
            values["activity_id"] = [activity.lowercased]
        }
        let isNew = found.call == nil
        let record = try await keep(values, found.call, write, transaction)
        tell(
            event, progress, before: before, isNew: isNew, wasOver: wasOver, record, found.contacts,
            transaction)
        // A call that is only predicted has no id: the real one will have another.
        return WriteResult(
            status: 200, id: record.id, version: record.version,
            body: write.json(record, Call.type, isPrediction: dryRun && isNew))
    }

    /// The contact, or the one that it has become part of; nil for one that was deleted.
    private func living(_ id: UUID?, _ transaction: TenantTransaction) async throws -> UUID? {
        guard let id else { return nil }
        let rows = try await transaction.query(
            """
            with recursive chain (id, merged_into, is_living, depth) as (
                select id, merged_into, deleted_at is null, 0 from contacts.contact where tenant_id = $1 and id = $2
                union all
                select c.id, c.merged_into, c.deleted_at is null, depth + 1 from chain
                join contacts.contact c on c.tenant_id = $1 and c.id = chain.merged_into
                where not chain.is_living and depth < 20)
            select id from chain where is_living limit 1
            """, [transaction.tenant.parameter, .uuid(id)])
        return rows.isEmpty ? nil : rows.uuid(0, 0)
    }

    private struct Found {
        let call: Record?
        let contacts: [Record]
        let agent: UUID?
    }

    /// Everything known of the call, its customer and its agent, in one round trip; events of one call wait for each
    /// other.
    private func look(
        _ event: CallEvent, _ number: String?, _ transaction: TenantTransaction
    ) async throws -> Found {
        let tenant = transaction.tenant.parameter
        let results = try await transaction.batch([
            Statement(
                "select pg_advisory_xact_lock(hashtextextended($1, 0))",
                [.text("guanxi.call.\(transaction.tenant).\(event.callID)")]),
            Statement(
                """
                select \(Call.type.selectList) from contacts.call r
                where r.tenant_id = $1 and r.call_id = $2 and r.deleted_at is null for update
                """, [tenant, .text(event.callID)]),
            Statement(
                """
                select l.user_id from contacts.call_line l join unnest($2::text[]) with ordinality w (line, place)
                on l.extension = w.line
                where l.tenant_id = $1 and l.deleted_at is null and l.user_id is not null order by w.place limit 1
                """, [tenant, .array(event.lines.map { $0 })]),
            store.holders(of: number ?? "", in: "phones", Contact.type, tenant: transaction.tenant),
        ])
        return Found(
            call: results[1].isEmpty ? nil : Record(results[1], 0, type: Call.type),
            contacts: number?.hasPrefix("+") == true
                ? (0..<results[3].count).map { Record(results[3], $0, type: Contact.type) } : [],
            agent: results[2].isEmpty ? nil : results[2].uuid(0, 0))
    }

    private func keep(
        _ values: [String: [String?]], _ call: Record?, _ write: WriteContext, _ transaction: TenantTransaction
    ) async throws -> Record {
        if let call {
            return try await store.change(Call.type, call, setting: values, write, in: transaction)
        }
        var draft = try store.draft(Call.type, creating: [:], write)
        draft.record.values.merge(values) { $1 }
        return try await store.insert(Call.type, draft, write, in: transaction)
    }

    /// One activity per call, known by the call's id: made when the call is over, mended by what is told late.
    private func log(
        _ progress: CallProgress, _ values: [String: [String?]], _ contact: UUID, known: UUID?, _ write: WriteContext,
        _ transaction: TenantTransaction
    ) async throws -> UUID {
        let outcome = progress.state == .ended ? "answered" : "missed"
        if let known {
            if let activity = try await store.lock(Activity.type, known, in: transaction) {
                try await store.change(
                    Activity.type, activity,
                    setting: [
                        "outcome": [outcome], "duration_seconds": [progress.length.map(String.init)],
                        "occurred_at": [progress.startedAt.map(Timestamp.sqlText)],
                        "owner_id": [progress.agent?.user.lowercased],
                    ], write, in: transaction)
            }
            return known
        }
        return try await store.create(
            Activity.type,
            [
                "contact_id": .string(contact.lowercased), "kind": "call",
                "direction": JSONValue(values["direction"]?.first ?? nil), "outcome": .string(outcome),
                "occurred_at": JSONValue(progress.startedAt.map(Timestamp.rfc3339)),
                "duration_seconds": progress.length.map { JSONValue($0) } ?? .null, "source": "call",
                "external_id": JSONValue(values["call_id"]?.first ?? nil),
                "owner_id": JSONValue(progress.agent?.user.lowercased),
            ], write, in: transaction
        ).id
    }

    /// A ring at an agent is told once; so is what becomes of the call.
    private func tell(
        _ event: CallEvent, _ progress: CallProgress, before: CallProgress, isNew: Bool, wasOver: Bool,
        _ record: Record, _ contacts: [Record], _ transaction: TenantTransaction
    ) {
        guard let agent = progress.agent?.user else { return }
        let isNews = isNew || progress.state != before.state || agent != before.agent?.user
        guard isNews, !wasOver || progress.state != before.state else { return }
        let data: JSONValue = [
            "call_id": JSONValue(record.text("call_id")), "id": .string(record.id.lowercased),
            "state": .string(progress.state.rawValue), "direction": JSONValue(record.text("direction")),
            "number": JSONValue(record.text("number")), "at": .string(Timestamp.rfc3339(event.at)),
            "contacts": .array(contacts.map { ["id": .string($0.id.lowercased)] }),
        ]
        store.outbox.tell(
            agent, "call.\(progress.state.rawValue)", json: data.encoded,
            until: Date(timeIntervalSinceNow: Self.popLife), in: transaction)
    }

    /// How a pop is shown: with the names of those contacts that its reader may read, and no others.
    static let views: [String: LiveView] = Dictionary(
        uniqueKeysWithValues: CallProgress.State.allCases.map { ("call.\($0.rawValue)", view) })

    private static let view: LiveView = { data, store, context in
        var members = data.object ?? [:]
        let ids = (data["contacts"]?.array ?? []).compactMap { $0["id"]?.text.flatMap(UUID.init(uuidString:)) }
        let titles = try await store.titles(Contact.type, ids, context)
        members["contacts"] = .array(titles.map { ["id": .string($0.id.lowercased), "name": .string($0.title)] })
        return .object(members)
    }
}

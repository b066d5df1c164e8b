import Contracts
import Database
import Foundation
import Jobs
import Records

/// Erases a person whose erasure was asked for.
struct EraseContactJob: Job {
    static let name = "contacts.erase-contact"
    static let options = JobOptions.long
    let erasure: UUID
}

/// The course of an erasure: the other services are told, Contacts does its own part, and when all have reported the
/// certificate is signed.
struct ContactErasure: Sendable {
    let store: RecordStore

    private static let columns =
        "id, contact_id, array_to_json(contacts)::text, actor, reason, requested_at, finished_at, traces::text, array_to_json(services)::text"

    // MARK: Contacts' own part

    func run(_ job: EraseContactJob, _ context: JobContext) async throws {
        let note = try await context.step { try await begin(job.erasure, context, $0) }
        guard let note else { return try await context.once { _ in } }
        let erasure = PersonErasure(store: store, target: "contact")
        try await erasure.run(note, spared: ErasureRequested.name, context) { report, transaction in
            let subjects = Parameter.array(note.subjects.map(\.lowercased))
            for (table, condition) in [
                ("match_key", "contact_id = any($2::uuid[])"),
                ("timeline_entry", "contact_id = any($2::uuid[])"),
                ("duplicate_pair", "(left_id = any($2::uuid[]) or right_id = any($2::uuid[]))"),
                // What agents were told of calls and reminders, kept for a day for those who were away.
                (
                    "live_event",
                    "exists (select 1 from unnest($2::uuid[]) as s (id) where data::text like '%' || s.id || '%')"
                ),
            ] {
                let rows = try await transaction.query(
                    "delete from contacts.\(table) where tenant_id = $1 and \(condition)",
                    [transaction.tenant.parameter, subjects])
                if rows.affected > 0 { report.tables["contacts.\(table)"] = rows.affected }
            }
            try store.outbox.publish(
                ContactErased(erasure: note.erasure, contacts: note.subjects), in: transaction,
                traceparent: context.traceparent)
            try await take(report, of: note.erasure, transaction)
        }
    }

    /// Notes what the person is known by, while it is still there to be read, and tells the other services; the second
    /// run of a job that was killed finds the note. Nil when nothing is left to do.
    private func begin(
        _ id: UUID, _ context: JobContext, _ transaction: TenantTransaction
    ) async throws -> ErasureNote? {
        guard let erasure = try await load(id, locked: true, transaction), erasure.finishedAt == nil else { return nil }
        if let traces = erasure.traces {
            return ErasureNote(erasure: id, subjects: erasure.contacts, actor: erasure.actor, traces: traces)
        }
        let subjects = try await Self.subjects(of: erasure.contact, transaction)
        let traces = try await traces(of: subjects, transaction)
        let note = ErasureNote(erasure: id, subjects: subjects, actor: erasure.actor, traces: traces)
        try store.outbox.publish(
            ErasureRequested(note), in: transaction, traceparent: context.traceparent)
        transaction.later(
            Statement(
                """
                update contacts.erasure set contacts = $3::uuid[], traces = $4::jsonb, services = $5::text[]
                where tenant_id = $1 and id = $2
                """,
                [
                    transaction.tenant.parameter, .uuid(id), .array(subjects.map(\.lowercased)),
                    .text(String(decoding: try JobCoding.encode(traces), as: UTF8.self)), .array(asked),
                ]))
        return note
    }

    /// The services that an erasure asks: this one, and whoever subscribed.
    var asked: [String] {
        let others = store.outbox.subscriptions.queues(for: ErasureRequested.name).map { queue in
            String(queue.prefix { $0 != "." })
        }
        return Set(others + ["contacts"]).sorted()
    }

    /// The contact and whoever was merged into it, near or far.
    static func subjects(of contact: UUID, _ transaction: TenantTransaction) async throws -> [UUID] {
        let rows = try await transaction.query(
            """
            with recursive person (id) as (
                select $2::uuid
                union
                select c.id from contacts.contact c join person p on c.merged_into = p.id where c.tenant_id = $1)
            select id from person order by id
            """, [transaction.tenant.parameter, .uuid(contact)])
        return (0..<rows.count).map { rows.uuid($0, 0)! }
    }

    /// What the contacts are known by, now and in what the history keeps of them.
    func traces(of subjects: [UUID], _ transaction: TenantTransaction) async throws -> PersonTraces {
        let ids = Parameter.array(subjects.map(\.lowercased))
        let rows = try await transaction.query(
            """
            select given_name, family_name, display_name, emails::text, phones::text, socials::text, identifiers::text
            from contacts.contact where tenant_id = $1 and id = any($2::uuid[])
            """, [transaction.tenant.parameter, ids])
        let past = try await transaction.query(
            """
            select distinct c.key, v.value #>> '{}' from contacts.history h, jsonb_each(h.changes::jsonb) c,
                jsonb_each(c.value) v
            where h.tenant_id = $1 and h.record_type = 'contact' and h.record_id = any($2::uuid[])
            and c.key in ('display_name', 'emails', 'phones', 'socials', 'identifiers')
            and jsonb_typeof(v.value) <> 'null' limit 2000
            """, [transaction.tenant.parameter, ids])
        var found = FoundTraces()
        for row in 0..<rows.count {
            if let given = rows.text(row, 0), let family = rows.text(row, 1) {
                found.names.insert(PersonTraces.Name(given: given, family: family))
            }
            for (index, field) in ["display_name", "emails", "phones", "socials", "identifiers"].enumerated() {
                found.add(rows.text(row, index + 2), of: field)
            }
        }
        for row in 0..<past.count { found.add(past.text(row, 1), of: past.text(row, 0)!) }
        return found.traces
    }

    // MARK: Reports

    func take(_ job: RecordErasureJob, _ context: JobContext) async throws {
        try await context.once { try await take(job.report, of: job.erasure, $0) }
    }

    /// Writes a report down, and ends the erasure with the last one.
    private func take(_ report: ErasureReport, of id: UUID, _ transaction: TenantTransaction) async throws {
        guard let erasure = try await load(id, locked: true, transaction), erasure.finishedAt == nil else { return }
        try await transaction.query(
            """
            insert into contacts.erasure_report (tenant_id, erasure_id, service, reported_at, report)
            values ($1, $2, $3, now(), $4::jsonb) on conflict do nothing
            """,
            [
                transaction.tenant.parameter, .uuid(id), .text(report.service),
                .text(String(decoding: try JobCoding.encode(report), as: UTF8.self)),
            ])
        let certificate = try await certificate(erasure, finishedAt: Date(), transaction)
        guard Set(certificate.parts.map(\.report.service)).isSuperset(of: erasure.services) else { return }
        let json = certificate.json
        let signed = ErasureCertificate.sign(json, secret: store.certificateSecret)
        transaction.later(
            Statement(
                """
                update contacts.erasure set traces = null, finished_at = $3, certificate = $4::jsonb, signature = $5,
                    public_key = $6
                where tenant_id = $1 and id = $2
                """,
                [
                    transaction.tenant.parameter, .uuid(id), .time(certificate.finishedAt!), .text(json.encoded),
                    .bytes(signed.signature), .bytes(signed.publicKey),
                ]))
        // The last place where the person's values stand: the jobs that went out to look for them.
        transaction.later(PersonErasure.forget(id, schema: "contacts"))
    }

    // MARK: The row

    struct Standing: Sendable {
        let id: UUID
        let contact: UUID
        let contacts: [UUID]
        let actor: String
        let reason: String
        let requestedAt: Date
        let finishedAt: Date?
        let traces: PersonTraces?
        let services: [String]
    }

    func load(_ id: UUID, locked: Bool = false, _ transaction: TenantTransaction) async throws -> Standing? {
        let rows = try await transaction.query(
            "select \(Self.columns) from contacts.erasure where tenant_id = $1 and id = $2\(locked ? " for update" : "")",
            [transaction.tenant.parameter, .uuid(id)])
        if rows.isEmpty { return nil }
        func list(_ column: Int) -> [String] {
            let json = rows.text(0, column).flatMap { try? JSONParser.parse($0.utf8) }
            return json?.array?.compactMap(\.text) ?? []
        }
        return Standing(
            id: id, contact: rows.uuid(0, 1)!, contacts: list(2).compactMap(UUID.init(uuidString:)),
            actor: rows.text(0, 3)!, reason: rows.text(0, 4)!, requestedAt: rows.time(0, 5)!,
            finishedAt: rows.time(0, 6),
            traces: try rows.text(0, 7).map { try JobCoding.decode(PersonTraces.self, from: Array($0.utf8)) },
            services: list(8))
    }

    /// The certificate as the reports so far make it.
    func certificate(
        _ erasure: Standing, finishedAt: Date? = nil, _ transaction: TenantTransaction
    ) async throws -> ErasureCertificate {
        let rows = try await transaction.query(
            "select report::text, reported_at from contacts.erasure_report where tenant_id = $1 and erasure_id = $2",
            [transaction.tenant.parameter, .uuid(erasure.id)])
        let parts = try (0..<rows.count).map { row in
            ErasureCertificate.Part(
                report: try JobCoding.decode(ErasureReport.self, from: Array(rows.text(row, 0)!.utf8)),
                at: rows.time(row, 1)!)
        }
        return ErasureCertificate(
            id: erasure.id, contact: erasure.contact, contacts: erasure.contacts, actor: erasure.actor,
            reason: erasure.reason, requestedAt: erasure.requestedAt, finishedAt: finishedAt,
            services: erasure.services, parts: parts)
    }
}

/// Gathers what a person is known by.
private struct FoundTraces {
    var names: Set<PersonTraces.Name> = []
    private var emails: Set<String> = []
    private var phones: Set<String> = []
    private var others: Set<String> = []

    /// A field's text: a name, or a list of entries with values.
    mutating func add(_ text: String?, of field: String) {
        guard let text else { return }
        guard field != "display_name" else {
            // What only says that there is no name is no name.
            if text != "—" && text != "erased" { others.insert(text) }
            return
        }
        let values = (try? JSONParser.parse(text.utf8))?.array?.compactMap { $0["value"]?.text } ?? []
        switch field {
        case "emails": emails.formUnion(values)
        case "phones": phones.formUnion(values)
        default: others.formUnion(values)
        }
    }

    var traces: PersonTraces {
        PersonTraces(
            emails: emails.sorted(), phones: phones.sorted(),
            names: names.sorted { ($0.family, $0.given) < ($1.family, $1.given) }, others: others.sorted())
    }
}

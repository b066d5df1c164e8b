import Contracts
import Database
import Foundation
import Jobs
import Records

/// Keeps customers' timelines: each moment once, as the newest version of its record tells, in whatever order it comes.
struct TimelineStore {
    let store: RecordStore

    // MARK: Stories

    /// Takes in what records of any service tell.
    func take(_ stories: [CustomerStory], _ context: JobContext) async throws {
        // Of several versions of a record the newest counts, but what happened in each stays; in the order of ids, so
        // that two jobs lock rows in the same order.
        let ordered = stories.sorted { ($0.record.lowercased, $0.version) < ($1.record.lowercased, $1.version) }
        try await context.once { transaction in
            for story in ordered where story.moments.count > 1 { transaction.later(lock(story.record, transaction)) }
            for statement in Self.statements(ordered, transaction.tenant) { transaction.later(statement) }
        }
    }

    /// Two versions of one record are taken in one after the other: what follows the first moment must see it.
    private func lock(_ record: UUID, _ transaction: TenantTransaction) -> Statement {
        Statement(
            "select pg_advisory_xact_lock(hashtextextended($1, 0))",
            [.text("guanxi.timeline.\(transaction.tenant).\(record.lowercased)")])
    }

    private struct Line {
        let story: CustomerStory
        let moment: Moment
    }

    private static func statements(_ stories: [CustomerStory], _ tenant: TenantID) -> [Statement] {
        var newest: [String: Line] = [:]
        for story in stories {
            for moment in story.moments {
                // The first version of a record has nothing to take back.
                if moment.at == nil && story.version == 1 { continue }
                newest["\(story.record.lowercased)/\(moment.key)"] = Line(story: story, moment: moment)
            }
        }
        if newest.isEmpty { return [] }
        let lines = newest.sorted { $0.key < $1.key }.map(\.value)
        let write = Statement(
            """
            insert into contacts.timeline_entry as e (\(columns))
            select $1, case when t.key = '' then t.record_id else md5(t.record_id || '/' || t.key)::uuid end,
                t.contact_id, coalesce(t.at, 'epoch'), t.kind, t.service, t.record_type, t.record_id, t.version, t.title,
                t.detail::jsonb, t.owner_id, t.team_id, t.is_open, t.is_deleted, t.at is null
            from unnest($2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[], $8::text[],
                $9::bigint[], $10::text[], $11::text[], $12::uuid[], $13::uuid[], $14::boolean[], $15::boolean[])
                as t (record_id, key, contact_id, at, kind, service, record_type, version, title, detail, owner_id,
                    team_id, is_open, is_deleted)
            on conflict (tenant_id, id) do update set \(assignments) where e.version < excluded.version
            """,
            [
                tenant.parameter, .array(lines.map(\.story.record.lowercased)), .array(lines.map(\.moment.key)),
                .array(lines.map { $0.story.contact?.lowercased }),
                .array(lines.map { $0.moment.at.map(Timestamp.sqlText) }), .array(lines.map(\.moment.kind)),
                .array(lines.map(\.story.service)), .array(lines.map(\.story.type)),
                .array(lines.map { "\($0.story.version)" }), .array(lines.map(\.moment.title)),
                .array(lines.map { Self.detail($0.moment).encoded }),
                .array(lines.map { $0.story.owner?.lowercased }), .array(lines.map { $0.story.team?.lowercased }),
                .array(lines.map { $0.story.isOpen && $0.moment.key.isEmpty ? "t" : "f" }),
                .array(lines.map { $0.story.isDeleted ? "t" : "f" }),
            ])
        let several = Set(stories.filter { $0.moments.count > 1 }.map(\.record.lowercased)).sorted()
        return several.isEmpty ? [write] : [write, follow(several, tenant)]
    }

    /// All of a record's moments belong to whom the newest version says, and are gone when that is.
    private static func follow(_ records: [String], _ tenant: TenantID) -> Statement {
        Statement(
            """
            update contacts.timeline_entry e
            set contact_id = first.contact_id, is_deleted = first.is_deleted, owner_id = first.owner_id,
                team_id = first.team_id
            from contacts.timeline_entry first
            where first.tenant_id = $1 and first.id = any($2::uuid[]) and e.tenant_id = $1
            and e.record_id = first.id and e.id <> e.record_id
            and (e.contact_id, e.is_deleted, e.owner_id, e.team_id)
                is distinct from (first.contact_id, first.is_deleted, first.owner_id, first.team_id)
            """, [tenant.parameter, .array(records.map { $0 })])
    }

    private static func detail(_ moment: Moment) -> JSONValue {
        var members = moment.detail.mapValues { JSONValue.string($0) }
        if let amount = moment.amount {
            members["amount"] = ["amount": JSONValue(amount), "currency": JSONValue(moment.currency)]
        }
        return .object(members)
    }

    private static let columns = """
        tenant_id, id, contact_id, at, kind, service, record_type, record_id, version, title, detail, owner_id, team_id,
        is_open, is_deleted, is_void
        """

    private static let assignments = [
        "contact_id", "at", "kind", "version", "title", "detail", "owner_id", "team_id", "is_open", "is_deleted",
        "is_void",
    ].map { "\($0) = excluded.\($0)" }.joined(separator: ", ")

    // MARK: Records of this service

    /// Takes in records of this service as they stand now.
    func take(_ source: TimelineSource, _ ids: [UUID], _ context: JobContext) async throws {
        try await context.once { transaction in transaction.later(Self.copy(source, ids, transaction)) }
    }

    /// Puts records on the timelines, as they stand at the statement's turn.
    static func copy(_ source: TimelineSource, _ ids: [UUID], _ transaction: TenantTransaction) -> Statement {
        copy(source, "r.id = any($2::uuid[])", [.array(Set(ids.map(\.lowercased)).sorted())], transaction)
    }

    private static func copy(
        _ source: TimelineSource, _ condition: String, _ parameters: [Parameter], _ transaction: TenantTransaction
    ) -> Statement {
        Statement(
            """
            insert into contacts.timeline_entry as e (\(columns))
            select r.tenant_id, r.id, r.contact_id, \(source.select)
            from contacts.\(source.rawValue) r
            where r.tenant_id = $1 and \(condition)
            order by r.id
            on conflict (tenant_id, id) do update set \(assignments) where e.version < excluded.version
            """, [transaction.tenant.parameter] + parameters)
    }

    // MARK: All of them

    private static let batchSize = 2000

    /// Takes in everything that this service had before it kept timelines, some thousand records a transaction. A killed
    /// run begins again: what is there already stays as it is.
    func backfill(_ context: JobContext) async throws {
        var done = 0
        for source in TimelineSource.allCases {
            var last = UUID.beforeAll
            while true {
                let (after, before) = (last, done)
                let next: (last: String?, count: Int) = try await context.step { transaction in
                    let rows = try await transaction.query(
                        """
                        select max(id::text), count(*) from (
                            select id from contacts.\(source.rawValue) where tenant_id = $1 and id > $2::uuid
                            order by id limit \(Self.batchSize)) s
                        """, [transaction.tenant.parameter, .text(after)])
                    guard let end = rows.text(0, 0) else { return (nil, 0) }
                    transaction.later(
                        Self.copy(
                            source, "r.id > $2::uuid and r.id <= $3::uuid", [.text(after), .text(end)], transaction))
                    context.progress(done: before + rows.int(0, 1)!, total: nil, in: transaction)
                    return (end, rows.int(0, 1)!)
                }
                guard let end = next.last else { break }
                last = end
                done += next.count
            }
        }
        let total = done
        try await context.once(result: { (count: Int) in #"{"records": \#(count)}"# }) { _ in total }
    }

    // MARK: Merges

    /// Notes a merge on the survivor's timeline, or that it was undone, and moves with it what only this service knows
    /// of the merged contact. Records move by their own new versions.
    func note(_ merge: MergeNote, isUndone: Bool, _ context: JobContext) async throws {
        try await context.step { transaction in
            let tenant = transaction.tenant.parameter
            let rows = try await transaction.query(
                """
                insert into contacts.timeline_entry as e (\(Self.columns))
                values ($1, $2, $3, now(), 'merge', 'contacts', 'contact', $2, $4, null,
                    jsonb_build_object('merged', $5::uuid, 'survivor', $3::uuid), null, null, false, $6, false)
                on conflict (tenant_id, id) do update set version = excluded.version, is_deleted = excluded.is_deleted
                where e.version < excluded.version
                returning id
                """,
                [
                    tenant, .uuid(merge.merge), .uuid(merge.survivor), .int(merge.version), .uuid(merge.merged),
                    .bool(isUndone),
                ])
            if rows.isEmpty { return }
            let (from, to) = isUndone ? (merge.survivor, merge.merged) : (merge.merged, merge.survivor)
            let mine =
                isUndone
                ? "and (record_id = $4::uuid or (detail ->> 'survivor')::uuid = $4::uuid)" : "and $4::uuid is not null"
            transaction.later(
                Statement(
                    """
                    update contacts.timeline_entry set contact_id = $3
                    where tenant_id = $1 and contact_id = $2 and record_type = 'contact' \(mine)
                    """, [tenant, .uuid(from), .uuid(to), .uuid(merge.merged)]))
        }
    }
}

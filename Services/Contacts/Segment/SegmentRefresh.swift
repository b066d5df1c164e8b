import Contracts
import Database
import Foundation
import Jobs
import Records
import Tenancy

/// Refreshes segments: compares who matches with who is a member, some thousand contacts at a time, writes down who came
/// and who went, and says so.
///
/// A killed run begins again, and finds no difference where it has been.
struct SegmentRefresh {
    let store: RecordStore
    private static let batchSize = 2_000
    private static let pageSize = 500

    /// Starts a refresh of every segment.
    func start(_ job: RefreshSegmentsJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            let rows = try await transaction.query(
                """
                select id from contacts.segment where tenant_id = $1 and id > $2::uuid and deleted_at is null
                order by id limit \(Self.pageSize)
                """, [transaction.tenant.parameter, .text(job.after?.lowercased ?? UUID.beforeAll)])
            var jobs = try (0..<rows.count).map { try PendingJob(RefreshSegmentJob(segment: rows.uuid($0, 0)!)) }
            if rows.count == Self.pageSize {
                jobs.append(try PendingJob(RefreshSegmentsJob(after: rows.uuid(rows.count - 1, 0)!)))
            }
            if !jobs.isEmpty { store.outbox.enqueue(jobs, in: transaction) }
        }
    }

    /// Refreshes one. Gives up quietly when its filter changes meanwhile: that change has started another run.
    func run(_ job: RefreshSegmentJob, _ context: JobContext) async throws {
        let moment = Date()
        let first = try await context.step { transaction in
            try await store.find(Segment.type, job.segment, in: transaction)
        }
        guard let first else { return try await context.once { _ in } }
        var figures = Figures()
        if first.text("kind") == "filter" {
            var after = UUID.beforeAll
            var isOver = false
            while !isOver {
                let from = after
                let seen = figures
                let outcome = try await context.step { transaction in
                    try await step(first, after: from, moment, seen, context, in: transaction)
                }
                switch outcome {
                case .upTo(let last, let counted):
                    after = last
                    figures = counted
                case .end(let counted):
                    figures = counted
                    isOver = true
                case .superseded: return try await context.once { _ in }
                case .broken(let reason): return try await fail(first, reason, context)
                }
            }
        }
        let report = figures
        try await context.once(result: { (_: Void) in report.json }) { transaction in
            transaction.later(Self.count(job.segment, at: moment, tenant: transaction.tenant))
        }
    }

    /// What a run has done so far.
    private struct Figures: Sendable {
        var contacts = 0
        var joined = 0
        var left = 0

        var json: String { #"{"contacts":\#(contacts),"joined":\#(joined),"left":\#(left)}"# }
    }

    private enum Outcome: Sendable {
        case upTo(String, Figures)
        case end(Figures)
        case superseded
        case broken(String)
    }

    /// Compares the next contacts after an id. The segment's row is locked: nobody else changes its members meanwhile.
    private func step(
        _ first: Record, after: String, _ moment: Date, _ seen: Figures, _ context: JobContext,
        in transaction: TenantTransaction
    ) async throws -> Outcome {
        guard let segment = try await store.lock(Segment.type, first.id, in: transaction),
            segment.values["filter"] == first.values["filter"]
        else { return .superseded }
        let slice = try await transaction.query(
            """
            select count(*), (array_agg(id order by id desc))[1] from (
                select id from contacts.contact where tenant_id = $1 and id > $2::uuid
                order by id limit \(Self.batchSize)) as c
            """, [transaction.tenant.parameter, .text(after)])
        let size = slice.int(0, 0)!
        guard size > 0, let last = slice.text(0, 1) else { return .end(seen) }
        let now = Date()
        var builder = SQLBuilder([
            transaction.tenant.parameter, .text(after), .text(last), .uuid(segment.id), .time(now),
            .int(segment.version),
        ])
        let defaults = try await TenantDefaults(transaction)
        let condition: String
        do throws(Problem) { condition = try Segment.condition(of: segment, defaults, now: moment, &builder) } catch {
            return .broken(error.detail)
        }
        let rows = try await transaction.query(
            """
            with matching as (
                select r.id from contacts.contact r
                where r.tenant_id = $1 and r.deleted_at is null and r.id > $2::uuid and r.id <= $3::uuid
                and \(condition)
            ), present as (
                select m.contact_id as id from contacts.segment_member m
                where m.tenant_id = $1 and m.segment_id = $4::uuid and m.left_at is null
                and m.contact_id > $2::uuid and m.contact_id <= $3::uuid
            ), gone as (
                update contacts.segment_member m set left_at = $5::timestamptz, left_why = 'filter', left_by = 'refresh'
                where m.tenant_id = $1 and m.segment_id = $4::uuid and m.left_at is null
                and m.contact_id in (select id from present except select id from matching)
                returning m.contact_id
            ), come as (
                insert into contacts.segment_member
                    (tenant_id, segment_id, contact_id, joined_at, joined_why, joined_by, segment_version)
                select $1, $4::uuid, n.id, $5::timestamptz, 'filter', 'refresh', $6::bigint
                from (select id from matching except select id from present) n
                returning contact_id
            )
            select contact_id, true from come union all select contact_id, false from gone order by 1
            """, builder.parameters)
        let changes = (0..<rows.count).map { row in
            SegmentChange(
                segment: segment.id, contact: rows.uuid(row, 0)!,
                direction: rows.bool(row, 1) == true ? .joined : .left, at: now)
        }
        try Self.publish(changes, store, context.traceparent, in: transaction)
        var figures = seen
        figures.contacts += size
        figures.joined += changes.count { $0.direction == .joined }
        figures.left += changes.count { $0.direction == .left }
        context.progress(done: figures.contacts, total: nil, note: "contacts", in: transaction)
        return size < Self.batchSize ? .end(figures) : .upTo(last, figures)
    }

    /// The members stay as they are: a filter that can't be asked has not said that nobody belongs.
    private func fail(_ segment: Record, _ reason: String, _ context: JobContext) async throws {
        try await context.once { transaction in
            transaction.later(
                Statement(
                    """
                    update contacts.segment set state = 'broken', broken_because = $3
                    where tenant_id = $1 and id = $2 and filter is not distinct from $4::jsonb
                    """,
                    [
                        transaction.tenant.parameter, .uuid(segment.id), .text(String(reason.prefix(1_000))),
                        .optional(segment.text("filter")),
                    ]))
        }
    }

    /// Tells of changes of members, in the transaction that made them.
    static func publish(
        _ changes: [SegmentChange], _ store: RecordStore, _ traceparent: String?, in transaction: TenantTransaction
    ) throws {
        if changes.isEmpty { return }
        for event in SegmentChanged.coalesced([SegmentChanged(changes: changes)]) {
            try store.outbox.publish(event, in: transaction, traceparent: traceparent)
        }
    }

    /// The statement that brings a segment's own figures up to date: they are no change of the record.
    static func count(_ segment: UUID, at moment: Date, tenant: TenantID) -> Statement {
        Statement(
            """
            update contacts.segment set refreshed_at = $3, state = 'ready', broken_because = null, member_count = (
                select count(*) from contacts.segment_member m
                join contacts.contact c on c.tenant_id = m.tenant_id and c.id = m.contact_id and c.deleted_at is null
                where m.tenant_id = $1 and m.segment_id = $2 and m.left_at is null)
            where tenant_id = $1 and id = $2
            """, [tenant.parameter, .uuid(segment), .time(moment)])
    }

    /// A contact that became part of another takes it along into the static segments it was in. The merged one stays on
    /// the list, unseen, so that undoing needs nothing but to take the survivor out again.
    func follow(_ merge: UUID, merged: UUID, _ context: JobContext) async throws {
        try await context.step { (transaction: TenantTransaction) -> Void in
            let segments = try await transaction.query(
                """
                select s.id from contacts.segment s
                where s.tenant_id = $1 and s.kind = 'static' and s.deleted_at is null and s.id in (
                    select m.segment_id from contacts.segment_member m
                    where m.tenant_id = $1 and m.left_at is null and (m.contact_id = $2 or m.merge_id = $3))
                order by s.id for update
                """, [transaction.tenant.parameter, .uuid(merged), .uuid(merge)])
            guard !segments.isEmpty else { return }
            // The contacts themselves say whether the merge stands now and where it leads, whatever the order of events.
            let chain = try await transaction.query(
                """
                with recursive chain (id, depth, stands) as (
                    select c.id, 0, c.merge_id is not distinct from $3::uuid from contacts.contact c
                    where c.tenant_id = $1 and c.id = $2
                    union all
                    select n.id, c.depth + 1, c.stands from chain c
                    join contacts.contact o on o.tenant_id = $1 and o.id = c.id and o.deleted_at is not null
                    join contacts.contact n on n.tenant_id = $1 and n.id = o.merged_into
                    where c.depth < 50)
                select id, stands from chain order by depth desc limit 1
                """, [transaction.tenant.parameter, .uuid(merged), .uuid(merge)])
            guard !chain.isEmpty, let survivor = chain.uuid(0, 0) else { return }
            let isMerged = chain.bool(0, 1) == true
            let now = Date()
            var changes: [SegmentChange] = []
            for row in 0..<segments.count {
                let segment = segments.uuid(row, 0)!
                let parameters: [Parameter] = [
                    transaction.tenant.parameter, .uuid(segment), .uuid(merge), .time(now),
                ]
                let touched = try await transaction.query(
                    isMerged
                        ? Statement(
                            """
                            insert into contacts.segment_member
                                (tenant_id, segment_id, contact_id, joined_at, joined_why, joined_by, merge_id)
                            select $1, $2::uuid, $5::uuid, $4::timestamptz, 'merge', 'merge', $3::uuid
                            on conflict (tenant_id, segment_id, contact_id) where left_at is null do nothing
                            returning contact_id
                            """, parameters + [.uuid(survivor)])
                        : Statement(
                            """
                            update contacts.segment_member
                            set left_at = $4::timestamptz, left_why = 'unmerge', left_by = 'merge'
                            where tenant_id = $1 and segment_id = $2 and merge_id = $3 and left_at is null
                            returning contact_id
                            """, parameters))
                changes += (0..<touched.count).map {
                    SegmentChange(
                        segment: segment, contact: touched.uuid($0, 0)!, direction: isMerged ? .joined : .left, at: now)
                }
                transaction.later(Self.count(segment, at: now, tenant: transaction.tenant))
            }
            try Self.publish(changes, store, context.traceparent, in: transaction)
        }
    }
}

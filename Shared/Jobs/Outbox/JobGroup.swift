import Database
import Foundation

/// Jobs of which another waits to be the last: fanned out, they count themselves down in PostgreSQL as each commits, and
/// the one that ends last enqueues the group's completion in its own transaction. A crash can neither lose the
/// completion nor start it twice.
///
/// A member that dies, is cancelled or expires keeps the completion from starting until an operator has replayed it.
package struct JobGroup: Sendable {
    /// The group's id.
    package let id: UUID
    /// The members, each of which names the group.
    package let members: [PendingJob]
    let completion: PendingJob

    /// A group of `members` that is completed by `completion`. Without members the completion is due at once. A member is
    /// enqueued whatever its `uniqueness` says: the group counts on it.
    package init(_ members: [PendingJob], completion: PendingJob) {
        let id = UUID.v7()
        self.id = id
        self.completion = completion
        self.members = members.map { member in
            var member = member
            member.group = id
            member.uniqueness = nil
            return member
        }
    }

    /// Each of `jobs` begins when the one before has ended well: a chain, which is a group of one within another.
    package static func chain(_ jobs: [PendingJob]) -> (first: PendingJob, groups: [JobGroup])? {
        guard var next = jobs.last else { return nil }
        var groups: [JobGroup] = []
        for job in jobs.dropLast().reversed() {
            let group = JobGroup([job], completion: next)
            groups.append(group)
            next = group.members[0]
        }
        return (next, groups)
    }

    /// Writes the group down, in the transaction that enqueues its members.
    func statement(tenant: TenantID) -> Statement {
        Statement(
            """
            insert into platform.job_group (tenant_id, id, remaining, queue, name, payload, priority, max_attempts,
                timeout_seconds, cost, is_tracked, traceparent, next_group, job_id, run_at, expiry, serial_key)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
            """,
            [
                tenant.parameter, .uuid(id), .int(members.count), .text(completion.queue), .text(completion.name),
                .text(String(decoding: completion.payload, as: UTF8.self)),
                .int(Int(completion.options.priority.rawValue)), .int(completion.options.maxAttempts),
                .int(completion.options.timeout), .double(Double(completion.options.cost)),
                .bool(completion.options.isTracked), .optional(completion.traceparent),
                completion.group.map(Parameter.uuid) ?? .null, .uuid(completion.id),
                completion.runAt.map(Parameter.time) ?? .null, .double(completion.options.expiry),
                .optional(completion.serialKey),
            ])
    }

    /// Counts one member as ended well; gives the completion's row when it was the last.
    static func ended(_ group: UUID, tenant: TenantID) -> Statement {
        Statement("select * from platform.end_in_group($1, $2)", [tenant.parameter, .uuid(group)])
    }

    /// Counts one member as one that will not end well.
    static func failed(_ group: UUID, tenant: TenantID) -> Statement {
        Statement("select platform.fail_in_group($1, $2)", [tenant.parameter, .uuid(group)])
    }

    /// The completion, from what `ended` gave; nil while members are outstanding.
    static func completion(in rows: Rows) -> PendingJob? {
        guard rows.count == 1, let row = OutboxRow.all(in: rows, origin: "platform").first else { return nil }
        return row.job
    }
}

extension Outbox {
    /// Counts a job that was cancelled as one that will not end well, where a group waits for it.
    package func leaveGroup(_ job: UUID, tenant: TenantID) -> Statement {
        Statement(
            """
            select platform.fail_in_group(o.tenant_id, o.group_id) from \(schema).outbox o
            where o.tenant_id = $1 and o.id = $2 and o.group_id is not null
            """, [tenant.parameter, .uuid(job)])
    }

    /// Enqueues a group's members in the caller's transaction: its completion runs once, when all of them are done.
    package func enqueue(_ group: JobGroup, in transaction: TenantTransaction) {
        // Nobody would be there to be the last.
        if group.members.isEmpty { return enqueue([group.completion], in: transaction) }
        transaction.later(group.statement(tenant: transaction.tenant))
        enqueue(group.members, in: transaction)
    }

    /// Enqueues jobs of which each begins when the one before has ended well.
    package func enqueueChain(_ jobs: [PendingJob], in transaction: TenantTransaction) {
        guard let (first, groups) = JobGroup.chain(jobs) else { return }
        for group in groups { transaction.later(group.statement(tenant: transaction.tenant)) }
        enqueue([first], in: transaction)
    }
}

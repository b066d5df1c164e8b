import Database
import Foundation

/// A look through every outbox for a queue's jobs that are not over, in the order of their ids, by statements of which
/// each ends soon: millions of jobs that are done may lie between two that are not.
struct UnfinishedLook {
    let queue: String
    /// Of this tenant alone, where there is one.
    let tenant: TenantID?
    /// What it has seen everything up to.
    private(set) var reached: UUID
    private let end: UUID
    /// Seconds of enqueueing that the next statement reads: a minute of the fullest queue can be read.
    private var span: TimeInterval = 60

    /// Begins behind `after`.
    init(queue: String, of tenant: TenantID? = nil, after: UUID, until end: UUID) {
        self.queue = queue
        self.tenant = tenant
        self.end = end
        reached = after
    }

    var isOver: Bool { reached == end }

    /// The jobs that one statement finds, `limit` at most: none may mean that there are some further on.
    mutating func next(
        _ limit: Int, except spilled: Set<TenantID> = [], query: (Statement) async throws -> Rows
    ) async throws -> [OutboxRow] {
        let time = reached.v7Time.addingTimeInterval(span)
        // Little lies in the future, by clocks that run ahead.
        let bound = time < min(Date(), end.v7Time) ? UUID.v7LowerBound(at: time) : end
        let clock = ContinuousClock.now
        let rows = try await query(
            Statement(
                "select * from platform.unfinished_jobs($1, $2, $3, $4, $5, $6::bigint[])",
                [
                    .text(queue), .uuid(reached), .uuid(bound), .int(limit), tenant?.parameter ?? .null,
                    .array(spilled.map(\.description)),
                ]))
        let jobs = OutboxRow.all(in: rows, queue: queue)
        if jobs.count == limit {
            reached = jobs[limit - 1].envelope.id
            return jobs
        }
        reached = bound
        let took = ContinuousClock.now - clock
        if took < .milliseconds(100) { span *= 2 }
        if took > .seconds(1) { span /= 2 }
        return jobs
    }
}

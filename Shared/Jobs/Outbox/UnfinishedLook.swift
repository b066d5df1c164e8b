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
        let rows = try await query(
            Statement(
                """
                select bound, u.* from platform.look_bound($2, $3, $7) as bound
                left join lateral platform.unfinished_jobs($1, $2, bound, $4, $5, $6::bigint[]) u on true
                """,
                [
                    .text(queue), .uuid(reached), .uuid(end), .int(limit), tenant?.parameter ?? .null,
                    .array(spilled.map(\.description)), .int(Self.rowsPerLook),
                ]))
        // The bound stands in each row: without a job, in one that has nothing else.
        let jobs = rows.isNull(0, 1) ? [] : OutboxRow.all(in: rows, queue: queue)
        reached = jobs.count == limit ? jobs[limit - 1].envelope.id : rows.uuid(0, 0)!
        return jobs
    }

    /// A tenth of a second where each has its row in the inbox and both tables are in memory.
    private static let rowsPerLook = 100_000
}

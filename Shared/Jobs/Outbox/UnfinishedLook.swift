import Database
import Foundation
import Synchronization

/// A look through every outbox for a queue's jobs that are not over, in the order of their ids, by statements of which
/// each ends soon: millions of jobs that are done may lie between two that are not.
struct UnfinishedLook {
    /// How many seconds of enqueueing a statement reads: a minute of the fullest queue at first, then as it goes.
    final class Pace: Sendable {
        private let span = Mutex<TimeInterval>(60)
        var seconds: TimeInterval { span.withLock { $0 } }

        fileprivate func change(by factor: Double) {
            span.withLock { $0 = min(max($0 * factor, 1), 86_400) }
        }
    }

    let queue: String
    /// Of this tenant alone, where there is one.
    let tenant: TenantID?
    /// What it has seen everything up to.
    private(set) var reached: UUID
    private let end: UUID
    private let pace: Pace

    /// Begins behind `after`. Who looks again and again keeps the `pace`.
    init(queue: String, of tenant: TenantID? = nil, after: UUID, until end: UUID, pace: Pace) {
        self.queue = queue
        self.tenant = tenant
        self.end = end
        self.pace = pace
        reached = after
    }

    var isOver: Bool { reached == end }

    /// The jobs that one statement finds, `limit` at most: none may mean that there are some further on.
    mutating func next(
        _ limit: Int, except spilled: Set<TenantID> = [], query: (Statement) async throws -> Rows
    ) async throws -> [OutboxRow] {
        let time = reached.v7Time.addingTimeInterval(pace.seconds)
        // Little lies in the future, by clocks that run ahead.
        let bound = time < min(Date(), end.v7Time) ? UUID.v7LowerBound(at: time) : end
        let clock = ContinuousClock.now
        let rows: Rows
        do {
            rows = try await query(
                Statement(
                    "select * from platform.unfinished_jobs($1, $2, $3, $4, $5, $6::bigint[])",
                    [
                        .text(queue), .uuid(reached), .uuid(bound), .int(limit), tenant?.parameter ?? .null,
                        .array(spilled.map(\.description)),
                    ]))
        } catch {
            // It may have taken longer than a statement may: the next try is for less.
            pace.change(by: 1 / 8)
            throw error
        }
        let jobs = OutboxRow.all(in: rows, queue: queue)
        if jobs.count == limit {
            reached = jobs[limit - 1].envelope.id
            return jobs
        }
        reached = bound
        let took = ContinuousClock.now - clock
        if took < .milliseconds(100) { pace.change(by: 2) }
        if took > .seconds(1) { pace.change(by: 1 / 2) }
        return jobs
    }
}

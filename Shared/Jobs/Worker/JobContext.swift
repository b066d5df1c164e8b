import Database
import Foundation
import Logging
import Synchronization

/// A failure that trying again can't mend: the job is dead at once.
package struct PermanentFailure: Error, CustomStringConvertible {
    package let code: String
    package let message: String

    package init(code: String, message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }
}

/// Thrown from a job's transactions when its inbox row stands already: done by another worker, or cancelled. The
/// handler lets it pass; nothing is left to do.
package struct JobIsSettled: Error {
    package init() {}
}

/// What a handler has besides its job: its tenant's transactions, its progress, and further jobs.
package struct JobContext: Sendable {
    package let envelope: JobEnvelope
    /// Where jobs and events of the handler go.
    package let outbox: Outbox
    package let database: Database
    private let base: Logger
    /// Set once the inbox row is committed.
    private let settled = Settled()

    private final class Settled: Sendable {
        let value = Mutex(false)
    }

    package init(envelope: JobEnvelope, logger: Logger, outbox: Outbox, database: Database) {
        self.envelope = envelope
        self.outbox = outbox
        self.database = database
        base = logger
    }

    package var tenant: TenantID { envelope.tenant }
    package var jobID: UUID { envelope.id }
    /// The span of this run, which what it causes hangs below; nil where nobody traces.
    package var traceparent: String? { envelope.traceparent.isEmpty ? nil : envelope.traceparent }
    package var isSettled: Bool { settled.value.withLock { $0 } }
    /// Names the job on each line. Made when asked for: most jobs have nothing to say.
    package var logger: Logger { base.with(envelope) }

    /// The transaction in which the job is done: its inbox row, `body`'s effects and the jobs it enqueues commit
    /// together, once. A second worker with the same job waits for the first and then gets `JobIsSettled`.
    ///
    /// Call it once, as the handler's last act. A tracked job's state becomes `done`, with what `result` gives.
    @discardableResult
    package func once<Result: Sendable>(
        result: (@Sendable (Result) -> String?)? = nil,
        _ body: @Sendable (TenantTransaction) async throws -> Result
    ) async throws -> Result {
        do {
            let value = try await database.withTenant(tenant) { transaction in
                if !envelope.isEphemeral { transaction.later(claim(.done)) }
                let value = try await body(transaction)
                if envelope.isTracked {
                    let ended = try await transaction.query(
                        outbox.end(
                            "state = 'done', finished_at = now(), result = $3::jsonb, error = null",
                            [tenant.parameter, .uuid(jobID), .optional(result.flatMap { $0(value) })]))
                    if let user = ended.firstUser {
                        let tenant = transaction.tenant
                        transaction.afterCommit { [outbox] in outbox.live.tell(user, tenant) }
                    }
                }
                if let group = envelope.group {
                    let ended = try await transaction.query(JobGroup.ended(group, tenant: tenant))
                    if let last = JobGroup.completion(in: ended) {
                        if last.options.isTracked {
                            outbox.enqueueTracked(last, in: transaction)
                        } else {
                            outbox.enqueue([last], in: transaction)
                        }
                    }
                }
                if envelope.isSerial {
                    let next = try await transaction.query(outbox.turnEnded(jobID, tenant: tenant))
                    transaction.afterCommit { [outbox] in outbox.pushNext(in: next) }
                }
                return value
            }
            settled.value.withLock { $0 = true }
            return value
        } catch let error as DatabaseError where error.isInboxDuplicate {
            throw JobIsSettled()
        }
    }

    /// Settles a job that has no effects in the database, together with others that end now.
    func settle() async throws {
        if envelope.isAwaited {
            try await once { _ in }
            return
        }
        do {
            try await outbox.settle(jobID, tenant)
        } catch {
            if error.isInboxDuplicate { throw JobIsSettled() }
            throw error
        }
    }

    /// The same for effects that are known beforehand: claim and `statements` travel in one round trip, beside those of
    /// other jobs, and none holds a connection of its own.
    package func once(_ statements: [Statement]) async throws {
        if envelope.isAwaited || envelope.isEphemeral {
            try await once { transaction in for statement in statements { transaction.later(statement) } }
            return
        }
        do {
            _ = try await database.batch(tenant: tenant, [claim(.done)] + statements)
            settled.value.withLock { $0 = true }
        } catch {
            if error.isInboxDuplicate { throw JobIsSettled() }
            throw error
        }
    }

    /// One committed step of a long job, before its last (`once`). The body must guard itself against being done twice
    /// (by comparing what it left behind at the step before), because a step is not claimed: a killed job begins again.
    ///
    /// Throws `JobIsSettled` when the job was cancelled or done elsewhere.
    package func step<Result: Sendable>(
        _ body: @Sendable (TenantTransaction) async throws -> Result
    ) async throws -> Result {
        try Task.checkCancellation()
        return try await database.withTenant(tenant) { transaction in
            let known = try await transaction.query(
                "select 1 from \(outbox.schema).inbox where job_id = $1 and tenant_id = $2",
                [.uuid(jobID), tenant.parameter])
            if !known.isEmpty { throw JobIsSettled() }
            return try await body(transaction)
        }
    }

    /// Notes how far a tracked job is, in the step's transaction.
    package func progress(done: Int, total: Int?, note: String? = nil, in transaction: TenantTransaction) {
        transaction.later(
            Statement(
                """
                update \(outbox.schema).job_status
                set done = $3, total = coalesce($4, total), note = coalesce($5, note)
                where tenant_id = $1 and id = $2
                """,
                [tenant.parameter, .uuid(jobID), .int(done), total.map(Parameter.int) ?? .null, .optional(note)]))
    }

    /// What an inbox row says of a job. The numbers are the table's.
    enum Settlement: Int {
        case done = 1
        case cancelled = 2
        case dead = 3
        case expired = 4
    }

    func claim(_ settlement: Settlement) -> Statement {
        Statement(
            "insert into \(outbox.schema).inbox (job_id, tenant_id, outcome) values ($1, $2, $3)",
            [.uuid(jobID), tenant.parameter, .int(settlement.rawValue)])
    }
}

extension DatabaseError {
    /// True when the row that was refused is a job's claim.
    var isInboxDuplicate: Bool { code == .uniqueViolation && constraint?.hasPrefix("inbox_") == true }
}

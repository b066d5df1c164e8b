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
    package let logger: Logger
    /// Where jobs and events of the handler go.
    package let outbox: Outbox
    package let database: Database
    /// Set once the inbox row is committed.
    private let settled = Settled()

    private final class Settled: Sendable {
        let value = Mutex(false)
    }

    package init(envelope: JobEnvelope, logger: Logger, outbox: Outbox, database: Database) {
        self.envelope = envelope
        self.logger = logger
        self.outbox = outbox
        self.database = database
    }

    package var tenant: TenantID { envelope.tenant }
    package var jobID: UUID { envelope.id }
    package var isSettled: Bool { settled.value.withLock { $0 } }

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
                if !envelope.isEphemeral { transaction.later(claim(outcome: 1)) }
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
                return value
            }
            settled.value.withLock { $0 = true }
            return value
        } catch let error as DatabaseError where error.isInboxDuplicate {
            throw JobIsSettled()
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

    func claim(outcome: Int) -> Statement {
        Statement(
            "insert into \(outbox.schema).inbox (job_id, tenant_id, outcome) values ($1, $2, $3)",
            [.uuid(jobID), tenant.parameter, .int(outcome)])
    }
}

extension DatabaseError {
    /// True when the row that was refused is a job's claim.
    var isInboxDuplicate: Bool { code == .uniqueViolation && constraint?.hasPrefix("inbox_") == true }
}

/// What a service's workers can do: a handler per job or event name.
package struct JobRegistry: Sendable {
    typealias Handler = @Sendable (JobContext) async throws -> Void

    private(set) var handlers: [String: Handler] = [:]
    /// Which events each queue wants.
    package private(set) var subscriptions: [String: [String]] = [:]
    /// Which events each queue wants for those tenants that asked for them.
    package private(set) var tenantSubscriptions: [String: [String]] = [:]
    /// Jobs that start by the clock.
    package private(set) var recurring: [RecurringJob] = []

    package init() {}

    /// The names that can be handled.
    package var names: [String] { handlers.keys.sorted() }

    /// Handles jobs of `type` with `handler`. A name can have one handler; a second one is a fault of the program.
    package mutating func handle<Value: Job>(
        _ type: Value.Type, _ handler: @escaping @Sendable (Value, JobContext) async throws -> Void
    ) {
        register(Value.name) { context in
            try await handler(try Self.decode(Value.self, context), context)
        }
    }

    /// Handles jobs known by `name` alone, whose name a service builds from its own.
    package mutating func handle<Value: Decodable & Sendable>(
        named name: String, _ type: Value.Type, _ handler: @escaping @Sendable (Value, JobContext) async throws -> Void
    ) {
        register(name) { context in try await handler(try Self.decode(type, context), context) }
    }

    /// Subscribes `queue` to events of `type` and handles them with `handler`.
    package mutating func on<Value: Event>(
        _ type: Value.Type, queue: String, _ handler: @escaping @Sendable (Value, JobContext) async throws -> Void
    ) {
        subscriptions[queue, default: []].append(Value.name)
        register(Value.name) { context in
            try await handler(try Self.decode(Value.self, context), context)
        }
    }

    /// Handles `events` with `handler`, for those tenants alone that asked for them (`platform.subscribe_tenant`): the
    /// others' changes write no job for `queue`.
    package mutating func onTenantsWish(
        _ events: [String], queue: String, _ handler: @escaping @Sendable (JobContext) async throws -> Void
    ) {
        tenantSubscriptions[queue, default: []] += events
        for event in events { register(event, handler) }
    }

    /// The statement that writes down which events `queue` wants, and no others.
    package func subscribing(_ queue: String) -> Statement {
        Statement(
            "select platform.subscribe($1, $2::text[], $3::text[])",
            [.text(queue), .array(subscriptions[queue] ?? []), .array(tenantSubscriptions[queue] ?? [])])
    }

    /// Enqueues `job` for every active tenant whenever `schedule` says so in the tenant's time zone.
    package mutating func every<Value: Job>(_ schedule: CronSchedule, _ job: Value) {
        recurring.append(RecurringJob(schedule: schedule, name: Value.name) { try PendingJob(job) })
    }

    /// Enqueues a job known by `name` alone, without content, for every active tenant whenever `schedule` says so.
    package mutating func every(_ schedule: CronSchedule, named name: String, queue: String, options: JobOptions) {
        recurring.append(
            RecurringJob(schedule: schedule, name: name) {
                PendingJob(name: name, queue: queue, payload: Array("{}".utf8), options: options)
            })
    }

    private mutating func register(_ name: String, _ handler: @escaping Handler) {
        precondition(handlers[name] == nil, "two handlers for \(name)")
        handlers[name] = handler
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, _ context: JobContext) throws -> Value {
        do {
            return try JobCoding.decode(type, from: context.envelope.payload)
        } catch {
            // Another version of the service may be able to read it: it uses up its attempts first.
            throw UnreadablePayload(message: "the payload is not a \(type): \(error)")
        }
    }
}

/// A payload that this version of the service can't read.
struct UnreadablePayload: Error, CustomStringConvertible {
    let message: String
    var description: String { message }
}

/// A job that starts by the clock.
package struct RecurringJob: Sendable {
    package let schedule: CronSchedule
    /// The name its firings are known by: one per name and time.
    package let name: String
    /// Gives the job of one firing, with an id of its own.
    package let make: @Sendable () throws -> PendingJob

    package init(schedule: CronSchedule, name: String, make: @escaping @Sendable () throws -> PendingJob) {
        self.schedule = schedule
        self.name = name
        self.make = make
    }
}

import Database
import Foundation

/// What a service's workers can do: a handler per job or event name.
package struct JobRegistry: Sendable {
    typealias Handler = @Sendable (JobContext) async throws -> Void
    typealias SetHandler = @Sendable ([JobEnvelope], Outbox, Database) async throws -> Void

    private(set) var handlers: [String: Handler] = [:]
    /// Handlers that take several jobs of one tenant at once.
    private(set) var setHandlers: [String: SetHandler] = [:]
    private var retryDelays: [String: RetryDelay] = [:]
    /// Which events each queue wants.
    package private(set) var subscriptions: [String: [String]] = [:]
    /// Which events each queue wants for those tenants that asked for them.
    package private(set) var tenantSubscriptions: [String: [String]] = [:]
    /// Jobs that start by the clock.
    package private(set) var recurring: [RecurringJob] = []

    package init() {}

    /// The names that can be handled.
    package var names: [String] { handlers.keys.sorted() }

    /// How long jobs of a name wait between their tries.
    func retryDelay(of name: String) -> RetryDelay { retryDelays[name] ?? RetryDelay() }

    /// Handles jobs of `type` with `handler`. A name can have one handler; a second one is a fault of the program.
    package mutating func handle<Value: Job>(
        _ type: Value.Type, _ handler: @escaping @Sendable (Value, JobContext) async throws -> Void
    ) {
        retryDelays[Value.name] = Value.retryDelay
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

    /// Handles several jobs of one tenant in one transaction, which does six times as many: `handler` gets those that
    /// nobody has done yet, and its effects, their inbox rows and the jobs it enqueues commit together.
    ///
    /// When a set fails, each of its jobs is tried alone, so that one bad job holds up no other.
    package mutating func handleSet<Value: Job>(
        of type: Value.Type, _ handler: @escaping @Sendable ([Value], TenantTransaction) async throws -> Void
    ) {
        retryDelays[Value.name] = Value.retryDelay
        register(Value.name) { context in
            let job = try Self.decode(Value.self, context)
            try await context.once { try await handler([job], $0) }
        }
        setHandlers[Value.name] = { envelopes, outbox, database in
            let jobs = try envelopes.map { ($0.id, try JobCoding.decode(Value.self, from: $0.payload)) }
            try await database.withTenant(envelopes[0].tenant) { transaction in
                let claimed = try await transaction.query(
                    """
                    insert into \(outbox.schema).inbox (job_id, tenant_id, outcome)
                    select id, $1, 1 from unnest($2::uuid[]) as id order by id
                    on conflict do nothing returning job_id
                    """, [transaction.tenant.parameter, .array(jobs.map(\.0.lowercased))])
                let fresh = Set((0..<claimed.count).compactMap { claimed.uuid($0, 0) })
                let mine = jobs.filter { fresh.contains($0.0) }.map(\.1)
                if !mine.isEmpty { try await handler(mine, transaction) }
            }
        }
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

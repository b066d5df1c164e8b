import Database
import Foundation
import Logging
import Redis
import ServiceLifecycle
import Synchronization

/// Where a service's jobs begin: rows written in the transaction of their cause, pushed to Redis after its commit.
///
/// Run it as a service beside whatever writes: it pushes, notes what was sent, and relays what a dead process left
/// behind. Nothing is lost while no process runs it; it is only late.
package final class Outbox: Service {
    /// The schema that holds the outbox.
    package let schema: String
    package let subscriptions: Subscriptions
    /// Where those who listen right now hear of what was committed.
    package let live: LiveFeed
    let database: Database
    /// What is sealed on its way to Redis, and opened by workers.
    package let seal: PayloadSeal
    let redis: RedisClient
    private let logger: Logger
    private let pending = Mutex<[(queue: String, envelope: JobEnvelope, runAt: Date?)]>([])
    /// Committed jobs of which only PostgreSQL knows whether they are in the outbox.
    private let unsure = Mutex<[TenantID: [UUID]]>([:])
    private let sent = Mutex<[UUID]>([])
    private let arrived = Signal()
    private let arrivals: Arrivals
    private let gatherers = Mutex<[String: EphemeralGatherer]>([:])
    let claims: Gatherer<(tenant: TenantID, job: UUID), DatabaseError>
    private let insertOne: String
    private let insert: String
    private let insertWanted: String
    private let insertScheduled: String
    private let insertUnique: String
    private let insertUniqueLater: String
    private let insertSerial: String

    /// - Parameter keyring: the tenants' keys, which what jobs carry is sealed with in Redis; without it, it lies open
    ///   there.
    package init(
        schema: String, database: Database, redis: RedisClient, keyring: (any PayloadKeyring)? = nil, logger: Logger
    ) {
        self.schema = schema
        self.database = database
        seal = PayloadSeal(keyring, logger: logger)
        self.redis = redis
        self.logger = logger
        claims = Gatherer { await Self.claim($0, schema: schema, database: database) }
        subscriptions = Subscriptions(database: database, logger: logger)
        arrivals = Arrivals(redis: redis, logger: logger)
        live = LiveFeed(schema: schema, redis: redis, logger: logger)
        let columns = """
            queue, name, payload, priority, max_attempts, timeout_seconds, cost, is_tracked, run_at, traceparent, expiry,
            group_id
            """
        let arrays = """
            $3::text[], $4::text[], $5::text[], $6::smallint[], $7::int[], $8::int[], $9::real[], $10::boolean[],
            $11::timestamptz[], $12::text[], $13::real[], $14::uuid[]
            """
        let cells = """
            $1, $2::uuid, $3, $4, $5, $6::smallint, $7::int, $8::int, $9::real, $10::boolean, $11::timestamptz, $12,
            $13::real, $14::uuid
            """
        insertOne = """
            insert into \(schema).outbox (tenant_id, id, \(columns))
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            """
        insert = """
            insert into \(schema).outbox (tenant_id, id, \(columns))
            select $1, * from unnest($2::uuid[], \(arrays))
            """
        // One statement whoever wants the events: for a tenant without subscriptions of its own it adds one look at an
        // index.
        insertWanted = """
            insert into \(schema).outbox (tenant_id, id, \(columns), by_tenant)
            select $1, * from unnest($2::uuid[], \(arrays), $15::boolean[]) as j (id, \(columns), by_tenant)
            where not j.by_tenant or exists (
                select 1 from platform.tenant_subscription s
                where s.tenant_id = $1 and s.queue = j.queue and s.event in (
                    j.name, '*', split_part(j.name, '.', 1) || '.*',
                    split_part(j.name, '.', 1) || '.' || split_part(j.name, '.', 2) || '.*'))
            """
        // The first of a key within the window writes its job; for the others no row is written at all.
        let claimed = """
            with claimed as (
                insert into \(schema).job_unique (tenant_id, key, until)
                values ($1, $15, now() + make_interval(secs => $16))
                on conflict (tenant_id, key) do update set until = excluded.until where job_unique.until < now()
                returning 1
            )
            """
        insertUnique = """
            \(claimed)
            insert into \(schema).outbox (tenant_id, id, \(columns))
            select \(cells) from claimed
            """
        insertUniqueLater = """
            \(claimed)
            insert into \(schema).scheduled_job (tenant_id, id, \(columns), key)
            select \(cells), $2::uuid::text from claimed
            """
        // The first of its key goes on; the others wait in line until its end (`Outbox.turnEnded`).
        insertSerial = """
            with turn as materialized (select platform.take_turn($1, $3, $15, $2::uuid) as position),
            waiting as (
                insert into platform.serial_job (tenant_id, id, \(columns), serial_key, position)
                select \(cells), $15, position from turn where position > 0
            )
            insert into \(schema).outbox (tenant_id, id, \(columns), serial_key)
            select \(cells), $15 from turn where position = 0
            """
        insertScheduled = """
            insert into \(schema).scheduled_job (tenant_id, id, \(columns), serial_key, key)
            select $1, * from unnest($2::uuid[], \(arrays), $15::text[], $16::text[])
            on conflict (tenant_id, key) do update set run_at = excluded.run_at, payload = excluded.payload
            """
    }

    // MARK: Enqueue

    /// How far ahead a job may lie to go to Redis at once; what is due later waits in its own table.
    package static let horizon: TimeInterval = 60

    /// The statement that writes `jobs` with the change that causes them. Push them after the commit with `push`.
    package func statements(for jobs: [PendingJob], tenant: TenantID) -> [Statement] {
        let jobs = jobs.filter { !$0.skipsOutbox }
        if jobs.isEmpty { return [] }
        let limit = Date(timeIntervalSinceNow: Self.horizon)
        let far = jobs.filter { ($0.runAt ?? .distantPast) > limit && $0.uniqueness == nil }
        let unique = jobs.filter { $0.uniqueness != nil }
        let close = jobs.filter { ($0.runAt ?? .distantPast) <= limit && $0.uniqueness == nil }
        let near = close.filter { $0.serialKey == nil }
        var statements = unique.map { job in
            Statement(
                (job.runAt ?? .distantPast) > limit ? insertUniqueLater : insertUnique,
                parameters(job, tenant) + [.text(job.uniqueness!.key), .double(job.uniqueness!.window)])
        }
        if near.contains(where: \.isByTenant) {
            let flags = Parameter.array(near.map { $0.isByTenant ? "t" : "f" })
            statements.append(Statement(insertWanted, parameters(near, tenant) + [flags]))
        } else if near.count == 1 {
            statements.append(Statement(insertOne, parameters(near[0], tenant)))
        } else if !near.isEmpty {
            statements.append(Statement(insert, parameters(near, tenant)))
        }
        if !far.isEmpty {
            statements.append(scheduling(far, keys: far.map(\.id.lowercased), tenant))
        }
        // Last, for the lines are locked until the commit, and by key, so that two who enqueue for the same do not wait
        // for each other in a ring.
        let serial = close.filter { $0.serialKey != nil }.enumerated().sorted {
            ($0.element.queue, $0.element.serialKey!, $0.offset) < ($1.element.queue, $1.element.serialKey!, $1.offset)
        }
        statements += serial.map { Statement(insertSerial, parameters($1, tenant) + [.text($1.serialKey!)]) }
        return statements
    }

    /// Enqueues jobs in the caller's transaction: they run if and only if it commits.
    package func enqueue(_ jobs: [PendingJob], in transaction: TenantTransaction) {
        for statement in statements(for: jobs, tenant: transaction.tenant) { transaction.later(statement) }
        for job in jobs where !job.isConditional { transaction.note(job) }
        let tenant = transaction.tenant
        transaction.afterCommit { [self] in push(jobs, tenant: tenant) }
    }

    /// Enqueues a job whose state, progress and result can be read from `/v1/jobs/{id}` from its commit on; `user` is told
    /// of its end.
    package func enqueueTracked(
        _ job: PendingJob, total: Int? = nil, note: String? = nil, for user: UUID? = nil,
        in transaction: TenantTransaction
    ) {
        var job = job
        job.options.isTracked = true
        transaction.later(statusStatement(job, total: total, note: note, for: user, tenant: transaction.tenant))
        enqueue([job], in: transaction)
    }

    /// The row of a tracked job's state, to be written with the job.
    package func statusStatement(
        _ job: PendingJob, total: Int?, note: String?, for user: UUID? = nil, tenant: TenantID
    ) -> Statement {
        Statement(
            "insert into \(schema).job_status (tenant_id, id, name, total, note, user_id) values ($1, $2, $3, $4, $5, $6)",
            [
                tenant.parameter, .uuid(job.id), .text(job.name), total.map(Parameter.int) ?? .null, .optional(note),
                user.map(Parameter.uuid) ?? .null,
            ])
    }

    /// Enqueues `job` to run at `time`, known by `key`: enqueuing the same key again moves it.
    ///
    /// Once it is within a minute of its time it has left for Redis and can't be moved or withdrawn any more: the
    /// handler must look whether it still applies.
    package func schedule(_ job: PendingJob, key: String, at time: Date, in transaction: TenantTransaction) {
        var job = job
        job.runAt = time
        transaction.note(job)
        transaction.later(scheduling([job], keys: [key], transaction.tenant))
    }

    private func scheduling(_ jobs: [PendingJob], keys: [String], _ tenant: TenantID) -> Statement {
        Statement(
            insertScheduled, parameters(jobs, tenant) + [.array(jobs.map(\.serialKey)), .array(keys)])
    }

    /// Withdraws scheduled jobs by key.
    package func unschedule(keys: [String], in transaction: TenantTransaction) {
        transaction.later(
            Statement(
                "delete from \(schema).scheduled_job where tenant_id = $1 and key = any($2::text[])",
                [transaction.tenant.parameter, .array(keys)]))
    }

    /// The jobs that tell `event` to everyone who subscribed to it.
    package func jobs(for event: some Event, traceparent: String? = nil) throws -> [PendingJob] {
        let subscribers = subscriptions.subscribers(of: type(of: event).name)
        if subscribers.isEmpty { return [] }
        let payload = try JobCoding.encode(event)
        return subscribers.map { subscriber in
            var job = PendingJob(
                name: type(of: event).name, queue: subscriber.queue, payload: payload, traceparent: traceparent)
            job.isByTenant = subscriber.isByTenant
            return job
        }
    }

    /// Publishes `event` in the caller's transaction.
    package func publish(
        _ event: some Event, in transaction: TenantTransaction, traceparent: String? = nil
    ) throws {
        enqueue(try jobs(for: event, traceparent: traceparent), in: transaction)
    }

    /// Hands committed jobs to the pusher. Returns at once; what this process can't push, a relay will, but for ephemeral
    /// ones.
    ///
    /// For unique jobs and those of a serial key the pusher looks first whether they were written. Events that only
    /// some tenants want are left to the relay: most are written for nobody.
    package func push(_ jobs: [PendingJob], tenant: TenantID) {
        let ephemeral = jobs.filter(\.skipsOutbox)
        if !ephemeral.isEmpty {
            Task {
                do { try await enqueueEphemeral(ephemeral, tenant: tenant) } catch {
                    logger.info(
                        "ephemeral jobs are lost", metadata: ["count": "\(ephemeral.count)", "error": "\(error)"])
                }
            }
        }
        // Well within what `statements` wrote into the outbox a while ago: one that it scheduled instead comes back under
        // another id, and would run twice. The relay sends those between.
        let limit = Date(timeIntervalSinceNow: Self.horizon / 2)
        let near = jobs.filter { ($0.runAt ?? .distantPast) <= limit && !$0.isByTenant && !$0.skipsOutbox }
        if near.isEmpty { return }
        pending.withLock { pending in
            for job in near where job.isWrittenForSure {
                pending.append((job.queue, JobEnvelope(job, tenant: tenant, origin: schema), job.runAt))
            }
        }
        let doubtful = near.filter { !$0.isWrittenForSure }.map(\.id)
        if !doubtful.isEmpty { unsure.withLock { $0[tenant, default: []] += doubtful } }
        arrived.raise()
    }

    /// Hands rows to the pusher that are committed for sure.
    func push(_ rows: [OutboxRow]) {
        if rows.isEmpty { return }
        pending.withLock { $0 += rows.map { ($0.queue, $0.envelope, $0.runAt) } }
        arrived.raise()
    }

    /// Puts jobs that may be lost straight into Redis: no row, no inbox. Jobs that several callers enqueue at the same
    /// time travel together.
    package func enqueueEphemeral(_ jobs: [PendingJob], tenant: TenantID) async throws {
        for (queue, group) in Dictionary(grouping: jobs, by: \.queue) {
            let envelopes = group.map { job in
                var job = job
                job.options.durability = .ephemeral
                return (JobEnvelope(job, tenant: tenant, origin: schema), job.runAt)
            }
            try await gatherer(for: queue).join(seal.sealed(envelopes))
            arrivals.add(envelopes.count, to: queue)
        }
    }

    private typealias EphemeralGatherer = Gatherer<[(JobEnvelope, runAt: Date?)], RedisError>

    private func gatherer(for queue: String) -> EphemeralGatherer {
        gatherers.withLock { gatherers in
            if let known = gatherers[queue] { return known }
            let queue = RedisQueue(name: queue, redis: redis)
            let gatherer = EphemeralGatherer { callers in
                let result: Result<Void, RedisError>
                do throws(RedisError) {
                    try await queue.enqueue(callers.flatMap { $0 }, window: 0)
                    result = .success(())
                } catch {
                    result = .failure(error)
                }
                return callers.map { _ in result }
            }
            gatherers[queue.name] = gatherer
            return gatherer
        }
    }

    private func parameters(_ job: PendingJob, _ tenant: TenantID) -> [Parameter] {
        [
            tenant.parameter, .uuid(job.id), .text(job.queue), .text(job.name),
            .text(String(decoding: job.payload, as: UTF8.self)), .int(Int(job.options.priority.rawValue)),
            .int(job.options.maxAttempts), .int(job.options.timeout), .double(Double(job.options.cost)),
            .bool(job.options.isTracked), job.runAt.map(Parameter.time) ?? .null, .optional(job.traceparent),
            .double(job.options.expiry), job.group.map(Parameter.uuid) ?? .null,
        ]
    }

    private func parameters(_ jobs: [PendingJob], _ tenant: TenantID) -> [Parameter] {
        [
            tenant.parameter,
            .array(jobs.map(\.id.lowercased)),
            .array(jobs.map(\.queue)),
            .array(jobs.map(\.name)),
            .array(jobs.map { String(decoding: $0.payload, as: UTF8.self) }),
            .array(jobs.map { String($0.options.priority.rawValue) }),
            .array(jobs.map { String($0.options.maxAttempts) }),
            .array(jobs.map { String($0.options.timeout) }),
            .array(jobs.map { String($0.options.cost) }),
            .array(jobs.map { $0.options.isTracked ? "t" : "f" }),
            .array(jobs.map { $0.runAt.map(Timestamp.sqlText) }),
            .array(jobs.map(\.traceparent)),
            .array(jobs.map { String($0.options.expiry) }),
            .array(jobs.map { $0.group?.lowercased }),
        ]
    }

    // MARK: Service

    /// Pushes, notes and relays until graceful shutdown; then pushes what is left.
    package func run() async throws {
        let relay = Relay(outbox: self, database: database, redis: redis, logger: logger)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.subscriptions.run() }
            group.addTask { await self.pushLoop() }
            group.addTask { await self.live.run() }
            group.addTask { await self.repeating(every: .milliseconds(200)) { await self.noteSent() } }
            group.addTask { await self.repeating(every: .seconds(1)) { await relay.tick() } }
            group.addTask { await self.repeating(every: .seconds(2)) { await self.arrivals.tell() } }
            group.addTask { await self.repeating(every: .seconds(3600)) { await self.ensurePartitions() } }
            try? await gracefulShutdown()
            group.cancelAll()
        }
        await pushPending()
        await noteSent()
        await arrivals.tell()
    }

    private func repeating(every interval: Duration, _ body: () async -> Void) async {
        while !Task.isCancelled {
            await body()
            try? await Task.sleep(for: interval)
        }
    }

    private func pushLoop() async {
        while !Task.isCancelled {
            await arrived.wait()
            await lookForUnsure()
            await pushPending()
            // A job that comes to rest goes at once. Those of a busy service wait for each other: a call for each would
            // cost Redis, and this process, as much again as the commit.
            try? await Task.sleep(for: .milliseconds(1))
        }
    }

    /// Makes sure of the jobs that may have been written. An error leaves them to the relay.
    private func lookForUnsure() async {
        let ids = unsure.withLock { unsure in
            defer { unsure = [:] }
            return unsure
        }
        for (tenant, ids) in ids {
            let written = try? await database.query(
                tenant: tenant,
                Statement(
                    "select * from \(schema).outbox where tenant_id = $1 and id = any($2::uuid[])",
                    [tenant.parameter, .array(ids.map(\.lowercased))]), readOnly: true)
            if let written { push(OutboxRow.all(in: written, origin: schema)) }
        }
    }

    private func pushPending() async {
        let jobs = pending.withLock { pending in
            defer { pending.removeAll(keepingCapacity: true) }
            return pending
        }
        for (queue, group) in Dictionary(grouping: jobs, by: \.queue) {
            do {
                try await send(group.map { ($0.envelope, $0.runAt) }, to: queue)
                sent.withLock { $0.append(contentsOf: group.map(\.envelope.id)) }
            } catch {
                // Not tried again here: the relay finds whatever was not noted as sent.
                logger.warning("jobs were not pushed", metadata: ["queue": "\(queue)", "error": "\(error)"])
            }
        }
    }

    /// Sends committed jobs to a queue; those that find no room there are left to its backlog.
    func send(_ jobs: [(JobEnvelope, runAt: Date?)], to queue: String) async throws {
        let result = try await RedisQueue(name: queue, redis: redis).enqueue(seal.sealed(jobs))
        try await Backlog.note(result.refused.map { jobs[$0].0 }, queue: queue, database: database)
        arrivals.add(result.added + result.refused.count, to: queue)
    }

    private func noteSent() async {
        let ids = sent.withLock { sent in
            defer { sent.removeAll(keepingCapacity: true) }
            return sent
        }
        await noteSent(ids)
    }

    func noteSent(_ ids: [UUID]) async {
        if ids.isEmpty { return }
        do {
            _ = try await database.query(
                tenant: nil,
                Statement(
                    "insert into \(schema).outbox_sent (id, job_ids) values ($1, $2::uuid[])",
                    [.uuid(.v7()), .array(ids.map(\.lowercased))]))
        } catch {
            logger.warning("sent jobs were not noted", metadata: ["count": "\(ids.count)", "error": "\(error)"])
        }
    }

    private func ensurePartitions() async {
        do {
            _ = try await database.query(tenant: nil, Statement("select \(schema).ensure_partitions()"))
            try await database.withoutTenant { [schema] transaction in
                // It compares days of millions of jobs.
                transaction.later(Statement("set local statement_timeout = '15min'"))
                // Longer than a tracked job's id can be kept (`lasting_id`).
                transaction.later(Statement("select \(schema).drop_finished_partitions(interval '9 days')"))
            }
            let bound = UUID.v7LowerBound(at: Date(timeIntervalSinceNow: -2 * 86_400))
            _ = try await database.query(
                tenant: nil, Statement("delete from \(schema).outbox_sent where id < $1", [.uuid(bound)]))
        } catch {
            logger.error("partitions could not be prepared", metadata: ["error": "\(error)"])
        }
    }
}

import Database
import Foundation
import Jobs
import Logging
import Records
import Redis
import ServiceLifecycle
import Synchronization
import Tenancy
import TestSupport
import Testing

/// A job of the tests: its number, and how it is to go.
struct ProbeJob: Job {
    static let name = "contacts.probe"
    static let queue = "contacts.default"
    var number: Int
    var milliseconds = 0
    var failures = 0
}

/// A queue with workers in this process, writing to a real database what they did.
final class QueueBench: Sendable {
    let test: TestDatabase
    /// Its own, unless the client goes to another.
    let redis: TestRedis?
    let client: RedisClient
    let database: Database
    let outbox: Outbox
    let keyring: TenantKeyring
    let tenants = [TenantID(1), TenantID(2)]
    private let tasks = Mutex<[Task<Void, any Error>]>([])
    private let groups = Mutex<[ServiceGroup]>([])

    init(client other: RedisClient? = nil) async throws {
        test = try await TestDatabase()
        let own = other == nil ? try await TestRedis() : nil
        redis = own
        client = try other ?? own!.client()
        let owner = test.pool(role: "postgres")
        _ = try await owner.batch(
            tenant: nil,
            [
                Statement(
                    "create table contacts.effect (tenant_id bigint not null, number int not null, at timestamptz default clock_timestamp())"
                ),
                Statement("grant all on contacts.effect to guanxi_contacts"),
                Statement("insert into platform.tenant (slug, name) values ('one-one', 'One'), ('two-two', 'Two')"),
            ])
        owner.close()
        database = test.pool(role: "guanxi_contacts", interactive: 16)
        keyring = TenantKeyring(
            database: database,
            vault: SecretVault(
                secret: Array(repeating: 1, count: 32), purpose: TenantKeyring.purpose))
        outbox = Outbox(
            schema: "contacts", database: database, redis: client,
            keyring: keyring, logger: TestServers.logger)
    }

    deinit {
        for task in tasks.withLock({ $0 }) { task.cancel() }
        database.close()
        client.close()
    }

    /// The queue as operators of the service see it.
    var desk: QueueOperator {
        QueueOperator(queues: [ProbeJob.queue], database: database, redis: client, logger: TestServers.logger)
    }

    func reconciler(_ queue: RedisQueue) -> Reconciler {
        Reconciler(queue: queue, schema: "contacts", database: database, seal: outbox.seal, logger: TestServers.logger)
    }

    /// Brings the queue up as a worker does first, and gives the epoch to fetch with.
    func repair(_ queue: RedisQueue) async throws -> Int { try await reconciler(queue).repair() }

    var registry: JobRegistry {
        var registry = JobRegistry()
        registry.handle(ProbeJob.self) { job, context in
            if job.milliseconds > 0 { try await Task.sleep(for: .milliseconds(job.milliseconds)) }
            if job.failures > Int(context.envelope.attempts) { throw TestFailure("wanted") }
            try await Self.note(job, context)
        }
        return registry
    }

    /// Jobs that run until the opener finishes.
    func gated() -> (registry: JobRegistry, opener: AsyncStream<Void>.Continuation) {
        let (gate, opener) = AsyncStream.makeStream(of: Void.self)
        var registry = JobRegistry()
        registry.handle(ProbeJob.self) { job, context in
            for await _ in gate {}
            try await Self.note(job, context)
        }
        return (registry, opener)
    }

    private static func note(_ job: ProbeJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            try await transaction.query(
                "insert into contacts.effect (tenant_id, number) values ($1, $2)",
                [transaction.tenant.parameter, .int(job.number)])
        }
    }

    /// Starts the outbox's service or a worker; `stop()` ends them in good order.
    func start(_ service: any ServiceLifecycle.Service) {
        let group = ServiceGroup(services: [service], logger: TestServers.logger)
        groups.withLock { $0.append(group) }
        tasks.withLock { $0.append(Task { try await group.run() }) }
    }

    func worker(
        concurrency: Int = 8, lease: Duration = .seconds(6), registry: JobRegistry? = nil
    ) -> QueueWorker {
        var settings = QueueWorker.Settings()
        settings.concurrency = concurrency
        settings.lease = lease
        settings.grace = .seconds(3)
        return QueueWorker(
            queue: ProbeJob.queue, registry: registry ?? self.registry, outbox: outbox, database: database,
            redis: client,
            settings: settings, logger: TestServers.logger)
    }

    func stop() async throws {
        for group in groups.withLock({ $0 }) { await group.triggerGracefulShutdown() }
        for task in tasks.withLock({ $0 }) { try await task.value }
    }

    /// Enqueues in a transaction of the tenant's; without `pushing`, as a process that dies right after its commit.
    func enqueue(_ jobs: [ProbeJob], tenant: TenantID, runAt: Date? = nil, pushing: Bool = true) async throws {
        let pending = try jobs.map { try PendingJob($0, runAt: runAt) }
        _ = try await database.batch(tenant: tenant, outbox.statements(for: pending, tenant: tenant))
        if pushing { outbox.push(pending, tenant: tenant) }
    }

    /// How often each number was done.
    func effects() async throws -> [Int: Int] {
        let rows = try await database.query(
            tenant: nil, Statement("select number, count(*) from contacts.effect group by number"))
        return Dictionary(uniqueKeysWithValues: (0..<rows.count).map { (rows.int($0, 0)!, rows.int($0, 1)!) })
    }

    func expectOnce(_ numbers: some Sequence<Int>, within seconds: Double = 60) async throws {
        let wanted = Dictionary(uniqueKeysWithValues: numbers.map { ($0, 1) })
        do {
            try await eventually(within: seconds, "\(wanted.count) jobs are done") {
                try await effects().count >= wanted.count
            }
        } catch {
            // What a failure leaves behind says where the jobs are.
            let queue = RedisQueue(name: ProbeJob.queue, redis: client)
            let done = try await effects()
            let missing = wanted.keys.filter { done[$0] == nil }.sorted()
            let epochs = try await database.query(
                tenant: nil, Statement("select epoch || '/' || is_recovered from contacts.queue_epoch"))
            throw TestFailure("\(error); missing \(missing); \(try await queue.depth()); \(epochs.text(0, 0) ?? "")")
        }
        #expect(try await effects() == wanted)
    }
}

@Suite("Queues")
struct QueueTests {
    @Test("committed jobs run once each, and nothing is left in Redis when all is done")
    func happyPath() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker())
        bench.start(bench.worker())
        try await bench.enqueue((0..<300).map { ProbeJob(number: $0) }, tenant: bench.tenants[0])
        try await bench.enqueue((300..<400).map { ProbeJob(number: $0) }, tenant: bench.tenants[1])
        try await bench.expectOnce(0..<400)
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await eventually("the queue is empty") {
            let depth = try await queue.depth()
            return depth.waiting == 0 && depth.running == 0 && depth.tenants == 0
        }
        try await bench.stop()
        let left = try await bench.client.command(key: "x", ["KEYS", "gx:*"]).array?.compactMap(\.text).sorted() ?? []
        // The shard's own state, at most a rung bell, and sums that forget themselves: no job, no worker.
        #expect(left.allSatisfy { $0.hasSuffix("}:T") || $0.hasSuffix("}:bell") || $0.contains("}:load:") }, "\(left)")
    }

    @Test("a job that was committed but never pushed is relayed")
    func relay() async throws {
        let bench = try await QueueBench()
        bench.start(bench.worker())
        try await bench.enqueue([ProbeJob(number: 1)], tenant: bench.tenants[0], pushing: false)
        bench.start(bench.outbox)
        try await bench.expectOnce([1])
        try await bench.stop()
    }

    @Test("a transaction that began before others committed is not skipped when it commits late")
    func lateCommit() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker())
        let late = try PendingJob(ProbeJob(number: 1))
        try await bench.database.withTenant(bench.tenants[0]) { [bench] transaction in
            for statement in bench.outbox.statements(for: [late], tenant: transaction.tenant) {
                try await transaction.query(statement)
            }
            try await bench.enqueue([ProbeJob(number: 2)], tenant: bench.tenants[0], pushing: false)
            try await Task.sleep(for: .seconds(4))
        }
        try await bench.expectOnce([1, 2])
        try await bench.stop()
    }

    @Test("a failing job is tried again, and a hopeless one is dead with its story")
    func retries() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker())
        try await bench.enqueue([ProbeJob(number: 1, failures: 1)], tenant: bench.tenants[0])
        var hopeless = PendingJob(name: ProbeJob.name, queue: ProbeJob.queue, payload: Array("{}".utf8))
        hopeless.options.maxAttempts = 1
        _ = try await bench.database.batch(
            tenant: bench.tenants[0], bench.outbox.statements(for: [hopeless], tenant: bench.tenants[0]))
        bench.outbox.push([hopeless], tenant: bench.tenants[0])
        try await bench.expectOnce([1])
        try await eventually("the hopeless job is dead") {
            let rows = try await bench.database.query(
                tenant: bench.tenants[0],
                Statement("select name, error from contacts.dead_job where tenant_id = $1", [1]))
            return rows.count == 1 && rows.text(0, 0) == ProbeJob.name
        }
        try await bench.stop()
    }

    @Test("the same job delivered twice has its effect once")
    func duplicates() async throws {
        let bench = try await QueueBench()
        bench.start(bench.worker())
        let job = try PendingJob(ProbeJob(number: 1, milliseconds: 300))
        _ = try await bench.database.batch(
            tenant: bench.tenants[0], bench.outbox.statements(for: [job], tenant: bench.tenants[0]))
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        let envelope = JobEnvelope(job, tenant: bench.tenants[0], origin: "contacts")
        #expect(try await queue.enqueue([(envelope, runAt: nil)]).added == 1)
        #expect(try await queue.enqueue([(envelope, runAt: nil)]).added == 0, "a known id is not taken twice")
        // As after a loss: Redis no longer knows the id, and both copies run at the same time.
        _ = try await bench.client.command(
            key: queue.prefix(0), ["SREM", .text(queue.prefix(0) + "u"), .bytes(job.id.rawBytes)])
        #expect(try await queue.enqueue([(envelope, runAt: nil)]).added == 1)
        try await bench.expectOnce([1])
        try await Task.sleep(for: .seconds(1))
        #expect(try await bench.effects() == [1: 1])
        try await bench.stop()
    }

    @Test("a worker that stops answering loses its jobs to others, and its own end is refused")
    func zombie() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        let epoch = try await bench.repair(queue)
        try await bench.enqueue([ProbeJob(number: 1)], tenant: bench.tenants[0])
        try await eventually("the job waits") { try await queue.depth().waiting == 1 }
        // A worker that fetched and then fell silent: its lease ends by itself.
        try await queue.register(worker: "silent", lease: .milliseconds(300))
        let fetched = try await queue.exchange(worker: "silent", epoch: epoch, wanted: 1, acknowledging: [])
        #expect(fetched.jobs.count == 1)
        try await Task.sleep(for: .milliseconds(400))
        bench.start(bench.worker())
        try await bench.expectOnce([1])
        // It comes back: PostgreSQL refuses the effect, and Redis the acknowledgement.
        let context = JobContext(
            envelope: fetched.jobs[0], logger: TestServers.logger, outbox: bench.outbox, database: bench.database)
        await #expect(throws: JobIsSettled.self) {
            try await context.once { transaction in
                try await transaction.query(
                    "insert into contacts.effect (tenant_id, number) values ($1, 1)", [transaction.tenant.parameter])
            }
        }
        _ = try await queue.exchange(
            worker: "silent", epoch: epoch, wanted: 0,
            acknowledging: [.init(fetched.jobs[0], .done, measured: 1)])
        #expect(try await bench.effects() == [1: 1])
        #expect(try await queue.depth().running == 0)
        try await bench.stop()
    }

    @Test("however many are enqueued at once, they keep their order")
    func order() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        try await queue.register(worker: "w", lease: .seconds(60))
        for count in [1, 99, 100, 101, 1234] {
            let jobs = try (0..<count).map {
                (
                    JobEnvelope(try PendingJob(ProbeJob(number: $0)), tenant: TenantID(1), origin: "contacts"),
                    nil as Date?
                )
            }
            #expect(try await queue.enqueue(jobs).added == count)
            #expect(try await queue.enqueue(jobs).added == 0)
            let fetched = try await queue.exchange(worker: "w", epoch: 1, wanted: 2000, acknowledging: [])
            #expect(fetched.jobs.map(\.id) == jobs.map(\.0.id))
        }
    }

    @Test("a quiet tenant's jobs do not wait behind a flood")
    func fairness() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        func jobs(_ count: Int, _ tenant: TenantID) throws -> [(JobEnvelope, runAt: Date?)] {
            try (0..<count).map {
                (JobEnvelope(try PendingJob(ProbeJob(number: $0)), tenant: tenant, origin: "contacts"), nil)
            }
        }
        try await queue.enqueue(try jobs(2000, bench.tenants[0]))
        try await queue.enqueue(try jobs(10, bench.tenants[1]))
        try await queue.register(worker: "w", lease: .seconds(60))
        let first = try await queue.exchange(worker: "w", epoch: 1, wanted: 20, acknowledging: [])
        #expect(first.jobs.filter { $0.tenant == bench.tenants[1] }.count == 10)
        // Three to one by weight.
        try await queue.setShares([TenantID(3): .init(weight: 3, cap: 0)])
        try await queue.setShares([TenantID(4): .init(weight: 1, cap: 0)])
        try await queue.enqueue(try jobs(500, TenantID(3)))
        try await queue.enqueue(try jobs(500, TenantID(4)))
        var served: [TenantID: Int] = [:]
        for _ in 0..<20 {
            let fetched = try await queue.exchange(worker: "w", epoch: 1, wanted: 20, acknowledging: [])
            for job in fetched.jobs { served[job.tenant, default: 0] += 1 }
            _ = try await queue.exchange(
                worker: "w", epoch: 1, wanted: 0,
                acknowledging: fetched.jobs.map { .init($0, .done, measured: 5) })
        }
        let ratio = Double(served[TenantID(3)]!) / Double(served[TenantID(4)]!)
        #expect((2.7...3.3).contains(ratio), "\(served)")
    }

    @Test("a tenant's cap is exact, and a capped tenant does not hold others up")
    func caps() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        try await queue.setShares([bench.tenants[0]: .init(weight: 1, cap: 3)])
        for tenant in bench.tenants {
            try await queue.enqueue(
                try (0..<50).map {
                    (JobEnvelope(try PendingJob(ProbeJob(number: $0)), tenant: tenant, origin: "contacts"), nil)
                })
        }
        try await queue.register(worker: "w", lease: .seconds(60))
        let fetched = try await queue.exchange(worker: "w", epoch: 1, wanted: 30, acknowledging: [])
        #expect(fetched.jobs.filter { $0.tenant == bench.tenants[0] }.count == 3)
        #expect(fetched.jobs.count == 30)
    }

    @Test("a queue's usual cap holds for every tenant, also when more is enqueued meanwhile")
    func usualCap() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        try await queue.register(worker: "w", lease: .seconds(60))
        func fill() async throws {
            for tenant in bench.tenants {
                try await queue.enqueue(
                    try (0..<20).map {
                        (JobEnvelope(try PendingJob(ProbeJob(number: $0)), tenant: tenant, origin: "contacts"), nil)
                    })
            }
        }
        func fetch(_ ended: [RedisQueue.Acknowledgement] = []) async throws -> RedisQueue.Fetched {
            try await queue.exchange(worker: "w", epoch: 1, wanted: 30, tenantCap: 4, acknowledging: ended)
        }
        try await fill()
        let first = try await fetch()
        #expect(Dictionary(grouping: first.jobs, by: \.tenant).values.allSatisfy { $0.count == 4 })
        #expect(Set(first.jobs.map(\.tenant)) == Set(bench.tenants))
        try await fill()
        #expect(try await fetch().jobs.isEmpty)
        let ended = first.jobs.filter { $0.tenant == bench.tenants[0] }.prefix(2)
        let next = try await fetch(
            ended.map { .init($0, .done, measured: 5) })
        #expect(next.jobs.map(\.tenant) == [bench.tenants[0], bench.tenants[0]])
    }

    @Test("delayed jobs start at their time, cancelled ones never")
    func delays() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        let due = Date(timeIntervalSinceNow: 20)
        try await bench.enqueue([ProbeJob(number: 1)], tenant: bench.tenants[0], runAt: due)
        let doomed = try PendingJob(ProbeJob(number: 2), runAt: due)
        _ = try await bench.database.batch(
            tenant: bench.tenants[0], bench.outbox.statements(for: [doomed], tenant: bench.tenants[0]))
        bench.outbox.push([doomed], tenant: bench.tenants[0])
        try await eventually("both wait") { try await queue.depth().delayed == 2 }
        // As the endpoint does: the inbox row settles it, whatever Redis or a relay still has.
        _ = try await bench.database.query(
            tenant: bench.tenants[0],
            Statement("insert into contacts.inbox (job_id, tenant_id, outcome) values ($1, 1, 2)", [.uuid(doomed.id)]))
        #expect(try await queue.cancel(doomed.id, tenant: bench.tenants[0]))
        bench.start(bench.worker())
        try await bench.expectOnce([1])
        let rows = try await bench.database.query(
            tenant: nil, Statement("select extract(epoch from at) from contacts.effect where number = 1"))
        #expect(rows.double(0, 0)! >= due.timeIntervalSince1970)
        try await bench.stop()
    }

    @Test("a graceful shutdown lets short jobs end and hands long ones back at once")
    func shutdown() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker())
        try await bench.enqueue(
            [ProbeJob(number: 1, milliseconds: 800), ProbeJob(number: 2, milliseconds: 30_000)],
            tenant: bench.tenants[0])
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await eventually("both run") { try await queue.depth().running == 2 }
        try await bench.stop()
        #expect(try await bench.effects() == [1: 1])
        let depth = try await queue.depth()
        #expect(depth.waiting == 1 && depth.running == 0 && depth.workers == 0)
    }

    @Test("recurring jobs fire once per time and tenant, whoever looks, and once for all that was missed")
    func recurring() async throws {
        let bench = try await QueueBench()
        let job = RecurringJob(schedule: CronSchedule("0 * * * *")!, name: ProbeJob.name) {
            try PendingJob(ProbeJob(number: 9))
        }
        let schedulers = (0..<3).map { _ in
            RecurringScheduler(jobs: [job], outbox: bench.outbox, database: bench.database, logger: TestServers.logger)
        }
        let start = Date()
        for hour in [0.0, 1, 1, 6] {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for scheduler in schedulers {
                    group.addTask { try await scheduler.fire(now: start.addingTimeInterval(hour * 3600)) }
                }
                try await group.waitForAll()
            }
        }
        for tenant in [TenantID(1), TenantID(2)] {
            let rows = try await bench.database.query(
                tenant: tenant,
                Statement("select count(*) from contacts.outbox where tenant_id = $1", [tenant.parameter]))
            // The first look only notes where the tenant stands; then the next hour, then one for the five missed.
            #expect(rows.int(0, 0) == 2)
        }
    }
}

import Database
import Foundation
import Jobs
import Redis
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

/// A job that several of one tenant may be done with at once.
private struct SetJob: Job {
    static let name = "contacts.probe-set"
    static let queue = "contacts.default"
    var number: Int
}

@Suite("Queues: limits, groups and what is set aside")
struct QueueLimitTests {
    private func envelopes(_ count: Int, _ tenant: TenantID) throws -> [(JobEnvelope, runAt: Date?)] {
        try (0..<count).map {
            (JobEnvelope(try PendingJob(ProbeJob(number: $0)), tenant: tenant, origin: "contacts"), nil)
        }
    }

    private func acknowledge(_ fetched: RedisQueue.Fetched, _ outcome: RedisQueue.Outcome = .done)
        -> [RedisQueue.Acknowledgement]
    {
        fetched.jobs.map { .init($0, outcome, measured: 5) }
    }

    @Test("a tenant's rate is exact, and while it waits for its next start others go on")
    func rates() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        try await queue.setShares([bench.tenants[0]: .init(rate: 10, burst: 4)])
        try await queue.enqueue(try envelopes(100, bench.tenants[0]))
        try await queue.enqueue(try envelopes(100, bench.tenants[1]))
        try await queue.register(worker: "w", lease: .seconds(60))
        let start = ContinuousClock.now
        var limited = 0
        var ends: [RedisQueue.Acknowledgement] = []
        let first = try await queue.exchange(worker: "w", epoch: 1, wanted: 50, acknowledging: [])
        #expect(first.jobs.filter { $0.tenant == bench.tenants[0] }.count == 4, "the burst, and no more")
        #expect(first.jobs.count == 50, "the other tenant has the rest")
        limited += 4
        ends = acknowledge(first)
        while limited < 20 {
            let fetched = try await queue.exchange(worker: "w", epoch: 1, wanted: 50, acknowledging: ends)
            limited += fetched.jobs.filter { $0.tenant == bench.tenants[0] }.count
            let elapsed = (ContinuousClock.now - start) / .seconds(1)
            #expect(Double(limited) <= 4 + elapsed * 10 + 0.01, "\(limited) after \(elapsed) s")
            ends = acknowledge(fetched)
            if fetched.jobs.isEmpty {
                #expect(fetched.nextDue != nil, "a parked tenant says when it may go on")
                try await Task.sleep(for: fetched.nextDue ?? .milliseconds(10))
            }
        }
        // At its rate it needs 1.6 s for the other sixteen: less would be more than its rate.
        #expect((ContinuousClock.now - start) / .seconds(1) > 1.5)
        #expect(try await queue.depth().parkedTenants <= 1)
    }

    @Test("a suspended tenant's jobs wait, and run when it is active again")
    func held() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        try await queue.enqueue(try envelopes(5, bench.tenants[0]))
        try await queue.setShares([bench.tenants[0]: .init(isHeld: true)])
        try await queue.enqueue(try envelopes(5, bench.tenants[0]))
        try await queue.register(worker: "w", lease: .seconds(60))
        #expect(try await queue.exchange(worker: "w", epoch: 1, wanted: 20, acknowledging: []).jobs.isEmpty)
        try await queue.setShares([bench.tenants[0]: .init()])
        #expect(try await queue.exchange(worker: "w", epoch: 1, wanted: 20, acknowledging: []).jobs.count == 10)
    }

    @Test("more jobs of a tenant than its window holds wait in PostgreSQL, and all run once, oldest first")
    func window() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        let total = RedisQueue.window + 2500
        bench.start(bench.outbox)
        var start = 0
        while start < total {
            let end = min(start + 500, total)
            try await bench.enqueue((start..<end).map { ProbeJob(number: $0) }, tenant: bench.tenants[0])
            start = end
        }
        try await eventually("the window is full") { try await queue.depth().waiting == RedisQueue.window }
        let backlog = Statement("select queue from platform.job_backlog")
        let owner = bench.test.pool(role: "postgres")
        defer { owner.close() }
        try await eventually("the rest is in the backlog") {
            try await owner.query(tenant: nil, backlog).count == 1
        }
        // Another tenant is not concerned.
        try await bench.enqueue([ProbeJob(number: -1)], tenant: bench.tenants[1])
        try await eventually("it is taken at once") { try await queue.depth().waiting == RedisQueue.window + 1 }
        #expect(try await queue.tenants().first { $0.tenant == bench.tenants[0] }?.hasBacklog == true)
        bench.start(bench.worker(concurrency: 32))
        try await bench.expectOnce(-1..<total, within: 240)
        try await eventually("nothing is in the backlog") { try await owner.query(tenant: nil, backlog).isEmpty }
        // What was fetched one after the other ran in its order, give or take what ran at the same time.
        let early = try await bench.database.query(
            tenant: nil,
            Statement(
                """
                select max(place - number) from (
                    select number, row_number() over (order by at) as place from contacts.effect where number >= 0) e
                """))
        // Ids of one batch are of one millisecond, in no order; who overtook a backlog would be early by a window.
        #expect((early.int(0, 0) ?? .max) < RedisQueue.window / 2, "\(early.text(0, 0) ?? "")")
        try await bench.stop()
    }

    @Test("after FLUSHALL a backlog beyond the window comes back whole")
    func flushedWindow() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        bench.start(bench.outbox)
        let total = RedisQueue.window + 1200
        for start in stride(from: 0, to: total, by: 200) {
            try await bench.enqueue((start..<start + 200).map { ProbeJob(number: $0) }, tenant: bench.tenants[0])
        }
        try await eventually("the window is full") { try await queue.depth().waiting == RedisQueue.window }
        _ = try await bench.client.command(key: "x", ["FLUSHALL"])
        bench.start(bench.worker(concurrency: 32))
        try await bench.expectOnce(0..<total, within: 240)
        try await bench.stop()
    }

    @Test("a job whose worker died twice is set aside with its story; others of the same worker run")
    func quarantine() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        let epoch = try await bench.repair(queue)
        try await bench.enqueue([ProbeJob(number: 1)], tenant: bench.tenants[0])
        for death in 1...2 {
            try await eventually("the job waits") { try await queue.depth().waiting == 1 }
            try await queue.register(worker: "victim \(death)", lease: .milliseconds(100))
            let fetched = try await queue.exchange(
                worker: "victim \(death)", epoch: epoch, wanted: 1, acknowledging: [])
            #expect(fetched.jobs.first?.crashes == UInt8(death - 1))
            try await Task.sleep(for: .milliseconds(150))
            #expect(try await queue.sweep().returned == 1)
        }
        try await bench.enqueue([ProbeJob(number: 2)], tenant: bench.tenants[0])
        bench.start(bench.worker())
        try await bench.expectOnce([2])
        try await eventually("the job is set aside") {
            let rows = try await bench.database.query(
                tenant: bench.tenants[0],
                Statement("select code, crashes from contacts.dead_job where tenant_id = $1", [1]))
            return rows.count == 1 && rows.text(0, 0) == "quarantined" && rows.int(0, 1) == 2
        }
        #expect(try await bench.effects() == [2: 1])
        try await bench.stop()
    }

    @Test("of jobs that lost two workers together each is tried alone, and the one that loses a third is set aside")
    func suspects() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        let epoch = try await bench.repair(queue)
        try await bench.enqueue((1...4).map { ProbeJob(number: $0) }, tenant: bench.tenants[0])
        var poison: UUID?
        for death in 1...3 {
            try await eventually("the jobs wait") { try await queue.depth().waiting == 4 }
            let victim = "victim \(death)"
            try await queue.register(worker: victim, lease: .milliseconds(100))
            let jobs = try await queue.exchange(worker: victim, epoch: epoch, wanted: 9, acknowledging: []).jobs
            #expect(
                jobs.count == 4 && jobs.allSatisfy { $0.crashes == min(1, death - 1) && $0.runsAlone == (death == 3) })
            if death == 3 {
                poison = jobs[2].id
                try await queue.beginAlone(jobs[2].id, worker: victim)
            }
            try await Task.sleep(for: .milliseconds(150))
            #expect(try await queue.sweep().returned == 4)
        }
        let last = try #require(try await queue.jobs(.waiting).first { $0.job.id == poison }?.job)
        let payload = try await bench.keyring.key(of: last.tenant).open(last.payload, for: last.id)
        let number = try JSONDecoder().decode(ProbeJob.self, from: Data(payload ?? [])).number
        #expect(try await queue.jobs(.waiting).filter { $0.job.crashes == 2 }.map(\.job.id) == [poison])
        bench.start(bench.worker())
        try await bench.expectOnce(Set(1...4).subtracting([number]).sorted())
        try await eventually("the one is set aside") {
            let rows = try await bench.database.query(
                tenant: bench.tenants[0], Statement("select job_id from contacts.dead_job where tenant_id = $1", [1]))
            return rows.count == 1 && rows.uuid(0, 0) == poison
        }
        try await bench.stop()
        #expect(try await bench.client.command(key: "", ["EXISTS", .text(queue.prefix(0) + "al")]).int == 0)
    }

    @Test("a job that got further between its workers' deaths goes on; one that did not is set aside")
    func movedOn() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        let epoch = try await bench.repair(queue)
        var jobs = try (1...2).map { try PendingJob(ProbeJob(number: $0)) }
        for index in jobs.indices { jobs[index].options.isTracked = true }
        let outbox = bench.outbox
        let tenant = bench.tenants[0]
        _ = try await bench.database.batch(
            tenant: tenant,
            jobs.map { outbox.statusStatement($0, total: 9, note: nil, tenant: tenant) }
                + outbox.statements(for: jobs, tenant: tenant))
        outbox.push(jobs, tenant: tenant)
        for death in 1...2 {
            try await eventually("the jobs wait") { try await queue.depth().waiting == 2 }
            for part in 0..<2 {
                let victim = "victim \(death) \(part)"
                try await queue.register(worker: victim, lease: .milliseconds(100))
                _ = try await queue.exchange(worker: victim, epoch: epoch, wanted: 1, acknowledging: [])
            }
            try await Task.sleep(for: .milliseconds(150))
            #expect(try await queue.sweep().returned == 2)
        }
        _ = try await bench.database.query(
            tenant: bench.tenants[0],
            Statement("update contacts.job_status set done = 7 where id = $1", [.uuid(jobs[0].id)]))
        bench.start(bench.worker())
        try await bench.expectOnce([1])
        try await eventually("the other is set aside") {
            let rows = try await bench.database.query(
                tenant: bench.tenants[0], Statement("select job_id from contacts.dead_job where tenant_id = $1", [1]))
            return rows.count == 1 && rows.uuid(0, 0) == jobs[1].id
        }
        try await bench.stop()
    }

    @Test("a job that waited beyond its expiry is settled without being run")
    func expiry() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        var late = try PendingJob(ProbeJob(number: 1))
        late.options.expiry = 0.2
        let timely = try PendingJob(ProbeJob(number: 2))
        _ = try await bench.database.batch(
            tenant: bench.tenants[0], bench.outbox.statements(for: [late, timely], tenant: bench.tenants[0]))
        try await Task.sleep(for: .milliseconds(400))
        bench.outbox.push([late, timely], tenant: bench.tenants[0])
        bench.start(bench.worker())
        try await bench.expectOnce([2])
        try await eventually("the late one is settled") {
            let rows = try await bench.database.query(
                tenant: bench.tenants[0],
                Statement("select outcome from contacts.inbox where job_id = $1", [.uuid(late.id)]))
            return rows.int(0, 0) == 4
        }
        try await bench.stop()
    }

    @Test("a fan-out's completion runs once, after all of its members, also when members are delivered twice")
    func groups() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        let members = try (1...40).map { try PendingJob(ProbeJob(number: $0, milliseconds: 5)) }
        let group = JobGroup(members, completion: try PendingJob(ProbeJob(number: 100)))
        try await bench.database.withTenant(bench.tenants[0]) { bench.outbox.enqueue(group, in: $0) }
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await eventually("the members wait") { try await queue.depth().waiting == 40 }
        // Redis forgets that it had them: each comes a second time.
        _ = try await bench.client.command(key: queue.prefix(0), ["DEL", .text(queue.prefix(0) + "u")])
        try await queue.enqueue(
            group.members.map { (JobEnvelope($0, tenant: bench.tenants[0], origin: "contacts"), nil) })
        bench.start(bench.worker())
        bench.start(bench.worker())
        try await bench.expectOnce(Array(1...40) + [100])
        let last = try await bench.database.query(
            tenant: nil, Statement("select number from contacts.effect order by at desc limit 1"))
        #expect(last.int(0, 0) == 100)
        try await bench.stop()
    }

    @Test("a completion outlasts the day of its id, and keeps its line and its patience")
    func lateCompletion() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        var last = try PendingJob(ProbeJob(number: 100))
        last.id = .v7(at: Date(timeIntervalSinceNow: -20 * 86_400))
        last.serialKey = "关系"
        last.options.expiry = 60
        let group = JobGroup([try PendingJob(ProbeJob(number: 1))], completion: last)
        try await bench.database.withTenant(bench.tenants[0]) { bench.outbox.enqueue(group, in: $0) }
        bench.start(bench.worker())
        // By its old id it would have expired twenty days ago, in a partition that is gone.
        try await bench.expectOnce([1, 100])
        let rows = try await bench.database.query(
            tenant: bench.tenants[0],
            Statement(
                "select id, serial_key, expiry from contacts.outbox where tenant_id = $1 and run_at is not null", [1]))
        #expect(rows.count == 1 && rows.text(0, 1) == "关系" && rows.double(0, 2) == 60)
        #expect(rows.uuid(0, 0)!.v7Time > Date(timeIntervalSinceNow: -600))
        try await bench.stop()
    }

    @Test("the jobs of a chain run one after the other, in their order")
    func chains() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker())
        let jobs = try (1...5).map { try PendingJob(ProbeJob(number: $0, milliseconds: 6 - $0)) }
        try await bench.database.withTenant(bench.tenants[0]) { bench.outbox.enqueueChain(jobs, in: $0) }
        try await bench.expectOnce(1...5)
        let order = try await bench.database.query(
            tenant: nil, Statement("select string_agg(number::text, ',' order by at) from contacts.effect"))
        #expect(order.text(0, 0) == "1,2,3,4,5")
        try await bench.stop()
    }

    @Test("of jobs with one key within a window, the first is enqueued and the others are not")
    func uniqueness() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker())
        for number in 1...3 {
            var job = try PendingJob(ProbeJob(number: number))
            job.uniqueness = .init(key: "rescore 关系", window: 3600)
            let unique = job
            try await bench.database.withTenant(bench.tenants[0]) { bench.outbox.enqueue([unique], in: $0) }
        }
        // The key is the tenant's own.
        var other = try PendingJob(ProbeJob(number: 4))
        other.uniqueness = .init(key: "rescore 关系", window: 3600)
        let job = other
        try await bench.database.withTenant(bench.tenants[1]) { bench.outbox.enqueue([job], in: $0) }
        try await bench.expectOnce([1, 4])
        try await bench.stop()
    }

    /// Unique by its type.
    private struct OnceJob: Job {
        static let name = "contacts.once"
        var number: Int
        var uniqueness: JobUniqueness? { .init(key: "once \(number)", window: 3600) }
    }

    @Test("a type says itself what is unique; what is due far ahead waits where Redis need not know of it")
    func uniqueLater() async throws {
        let bench = try await QueueBench()
        let later = Date(timeIntervalSinceNow: 7200)
        try await bench.database.withTenant(bench.tenants[0]) { transaction in
            for number in [1, 1, 2] {
                bench.outbox.enqueue([try PendingJob(OnceJob(number: number), runAt: later)], in: transaction)
            }
            bench.outbox.enqueue(
                [try PendingJob(OnceJob(number: 3)), try PendingJob(OnceJob(number: 3))], in: transaction)
            bench.outbox.enqueue(
                JobGroup([try PendingJob(OnceJob(number: 3))], completion: try PendingJob(ProbeJob(number: 4))),
                in: transaction)
        }
        func count(_ table: String) async throws -> Int? {
            try await bench.database.query(
                tenant: bench.tenants[0],
                Statement("select count(*) from contacts.\(table) where tenant_id = 1 and name = 'contacts.once'")
            ).int(0, 0)
        }
        #expect(try await count("scheduled_job") == 2)
        #expect(try await count("outbox") == 2, "one of its own, and one that a group counts on")
        try await bench.stop()
    }

    @Test("a set-based handler does each job once, and one bad job fails alone")
    func sets() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        let sizes = Mutex<[Int]>([])
        var registry = JobRegistry()
        registry.handleSet(of: SetJob.self) { jobs, transaction in
            sizes.withLock { $0.append(jobs.count) }
            if jobs.contains(where: { $0.number == 13 }) {
                throw PermanentFailure(code: "unlucky", message: "thirteen")
            }
            try await transaction.query(
                "insert into contacts.effect (tenant_id, number) select $1, unnest($2::int[])",
                [transaction.tenant.parameter, .array(jobs.map { String($0.number) })])
        }
        let pending = try (1...200).map { try PendingJob(SetJob(number: $0)) }
        _ = try await bench.database.batch(
            tenant: bench.tenants[0], bench.outbox.statements(for: pending, tenant: bench.tenants[0]))
        bench.outbox.push(pending, tenant: bench.tenants[0])
        var settings = QueueWorker.Settings()
        settings.concurrency = 50
        bench.start(
            QueueWorker(
                queue: SetJob.queue, registry: registry, outbox: bench.outbox, database: bench.database,
                redis: bench.client, settings: settings, logger: TestServers.logger))
        try await bench.expectOnce((1...200).filter { $0 != 13 })
        #expect(sizes.withLock { $0.max() ?? 0 } > 10, "several travelled together")
        try await eventually("the bad one is dead") {
            try await bench.database.query(
                tenant: bench.tenants[0],
                Statement("select 1 from contacts.dead_job where tenant_id = 1 and code = 'unlucky'")
            ).count == 1
        }
        try await bench.stop()
    }

    @Test("a set that is over its time is done job by job")
    func slowSet() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        var registry = JobRegistry()
        registry.handleSet(of: SetJob.self) { jobs, transaction in
            if jobs.count > 1 { try await Task.sleep(for: .seconds(600)) }
            try await transaction.query(
                "insert into contacts.effect (tenant_id, number) values ($1, $2)",
                [transaction.tenant.parameter, .int(jobs[0].number)])
        }
        let pending = try (1...5).map { number in
            var job = try PendingJob(SetJob(number: number))
            job.options.timeout = 1
            // So many attempts has each by itself.
            job.options.maxAttempts = 1
            return job
        }
        _ = try await bench.database.batch(
            tenant: bench.tenants[0], bench.outbox.statements(for: pending, tenant: bench.tenants[0]))
        try await RedisQueue(name: SetJob.queue, redis: bench.client).enqueue(
            pending.map { (JobEnvelope($0, tenant: bench.tenants[0], origin: "contacts"), nil) })
        bench.start(bench.worker(registry: registry))
        try await bench.expectOnce(1...5)
        try await bench.stop()
    }

    @Test("a queue of many shards runs every tenant's jobs once, and idle workers hear of each shard")
    func shards() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client, shards: 8)
        var settings = QueueWorker.Settings()
        settings.concurrency = 8
        for _ in 0..<2 {
            bench.start(
                QueueWorker(
                    queue: ProbeJob.queue, registry: bench.registry, outbox: bench.outbox, database: bench.database,
                    redis: bench.client, settings: settings, shards: 8, logger: TestServers.logger))
        }
        try await eventually("both workers are there") { try await queue.depth().workers == 2 }
        for part in 0..<10 {
            for tenant in bench.tenants {
                let base = part * 40 + (tenant == bench.tenants[0] ? 0 : 20)
                let jobs = try (base..<base + 20).map { try PendingJob(ProbeJob(number: $0)) }
                _ = try await bench.database.batch(
                    tenant: tenant, bench.outbox.statements(for: jobs, tenant: tenant))
                try await queue.enqueue(jobs.map { (JobEnvelope($0, tenant: tenant, origin: "contacts"), nil) })
            }
        }
        try await bench.expectOnce(0..<400)
        try await eventually("every shard is empty") {
            let depth = try await queue.depth()
            return depth.waiting == 0 && depth.running == 0
        }
        try await bench.stop()
    }

    @Test("where a job is, and what holds it, can be told")
    func whereabouts() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        let tenant = bench.tenants[0]
        try await queue.setEpoch(1)
        try await queue.setShares([tenant: .init(cap: 1)])
        let jobs = try envelopes(3, tenant)
        try await queue.enqueue(jobs)
        try await queue.enqueue([(try envelopes(1, tenant)[0].0, runAt: Date(timeIntervalSinceNow: 30))])
        try await queue.register(worker: "w", lease: .seconds(60))
        let fetched = try await queue.exchange(worker: "w", epoch: 1, wanted: 5, acknowledging: [])
        #expect(fetched.jobs.map(\.id) == [jobs[0].0.id])
        guard case .running("w", _) = try await queue.whereabouts(of: jobs[0].0.id, tenant: tenant) else {
            Issue.record("not running")
            return
        }
        let second = try await queue.whereabouts(of: jobs[2].0.id, tenant: tenant)
        #expect(
            second == .waiting(ahead: 1, place: nil, parkedFor: nil, running: 1, cap: 1, isHeld: false, isPaused: false)
        )
        let delayed = try await queue.jobs(.delayed)
        #expect(delayed.count == 1 && (delayed[0].at ?? .distantPast) > Date())
        #expect(try await queue.jobs(.running).map(\.worker) == ["w"])
        #expect(try await queue.jobs(.waiting, tenant: tenant).map(\.job.id) == jobs[1...].map(\.0.id))
        #expect(try await queue.workers().map(\.running) == [1])
        #expect(try await queue.whereabouts(of: UUID.v7(), tenant: tenant) == .unknown)
        #expect(try await queue.cancel(jobs[2].0.id, tenant: tenant))
        #expect(try await queue.whereabouts(of: jobs[2].0.id, tenant: tenant) == .cancelled)
        #expect(try await queue.forget(tenant) == 3)
        #expect(try await queue.depth().waiting == 0)
    }
}

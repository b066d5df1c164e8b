import Database
import Foundation
import Redis
import Synchronization
import TestSupport
import Testing

@testable import Jobs

@Suite("Queues: tries that are a while off")
struct QueueRetryTests {
    private static let hour: TimeInterval = 3600

    private func retries(_ bench: QueueBench) -> Retries {
        Retries(
            queue: RedisQueue(name: ProbeJob.queue, redis: bench.client), database: bench.database,
            seal: bench.outbox.seal)
    }

    /// A job's row in the outbox, and the job as a worker of the tests would have it.
    private func written(_ number: Int, _ bench: QueueBench, tenant: TenantID) async throws -> JobEnvelope {
        let job = try PendingJob(ProbeJob(number: number))
        _ = try await bench.database.batch(tenant: tenant, bench.outbox.statements(for: [job], tenant: tenant))
        return JobEnvelope(job, tenant: tenant, origin: "contacts")
    }

    private func putOff(_ job: JobEnvelope, by seconds: TimeInterval, _ bench: QueueBench) async throws {
        try await Retries.putOff(job, by: seconds, queue: ProbeJob.queue, database: bench.database)
    }

    /// Of how many jobs of a tenant a try is put off.
    private func count(_ bench: QueueBench, _ tenant: TenantID) async throws -> Int {
        try await bench.database.query(
            tenant: tenant,
            Statement("select count(*) from platform.job_retry where tenant_id = $1", [tenant.parameter])
        ).int(0, 0) ?? -1
    }

    private func fetch(_ queue: RedisQueue, _ ended: [RedisQueue.Acknowledgement] = []) async throws -> [JobEnvelope] {
        try await queue.exchange(worker: "w", epoch: 1, wanted: 10, acknowledging: ended).jobs
    }

    @Test(
        "a job that fails for long leaves Redis, keeps its count of attempts without it, and comes back when it is due")
    func life() async throws {
        let bench = try await QueueBench()
        let seen = Mutex<[UInt8]>([])
        var registry = JobRegistry()
        registry.handle(ProbeJob.self) { job, context in
            let isFirst = seen.withLock { seen in
                seen.append(context.envelope.attempts)
                return seen.count == 1
            }
            if isFirst { throw NotYet(seconds: Self.hour) }
            try await context.once {
                try await $0.query(
                    "insert into contacts.effect (tenant_id, number) values ($1, $2)",
                    [$0.tenant.parameter, .int(job.number)])
            }
        }
        bench.start(bench.outbox)
        bench.start(bench.worker(registry: registry))
        let tenant = bench.tenants[0]
        let job = try PendingJob(ProbeJob(number: 1))
        try await bench.database.withTenant(tenant) { bench.outbox.enqueue([job], in: $0) }
        try await eventually("its try is put off") { try await count(bench, tenant) == 1 }
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await eventually("Redis has forgotten it") { try await queue.depth().running == 0 }
        #expect(try await queue.depth().delayed == 0)
        _ = try await bench.database.query(
            tenant: tenant,
            Statement("update platform.job_retry set attempts = 7 where tenant_id = $1", [tenant.parameter]))
        // Neither a repair nor the backlog may bring it before its time.
        try await queue.setEpoch(0)
        try await eventually("the worker has mended Redis") { try await queue.depth().epoch > 1 }
        #expect(try await bench.reconciler(queue).resend(olderThan: Date(timeIntervalSinceNow: 5)) == 0)

        let desk = bench.desk
        let why = try await desk.why(try await desk.story(job.id))
        #expect(why.reason == .retryWait && why.text.hasPrefix("failed 7 times, is tried again in "), "\(why.text)")
        #expect((why.seconds ?? 0) > 3000 && (why.seconds ?? 0) <= Self.hour)
        var filter = QueueOperator.Filter()
        filter.phases = [.delayed]
        let lines = try await desk.jobs(filter)
        #expect(lines.map(\.id) == [job.id.lowercased] && lines.map(\.attempts) == [7])
        #expect((lines[0].at ?? .distantPast) > Date(timeIntervalSinceNow: 3000))
        filter.name = "another"
        #expect(try await desk.jobs(filter).isEmpty)
        let figures = try await desk.figures(of: ProbeJob.queue)
        #expect(figures.putOff == 1 && figures.delayed == 0 && figures.backlog == 0)

        #expect(try await desk.retry(job.id) == .hastened)
        try await bench.expectOnce([1])
        #expect(seen.withLock { $0 } == [0, 7])
        try await eventually("nothing is left of it") { try await count(bench, tenant) == 0 }
        try await bench.stop()
    }

    @Test("more failing jobs than a window holds leave room for those of their tenant that go well")
    func window() async throws {
        let bench = try await QueueBench()
        var registry = JobRegistry()
        registry.handle(ProbeJob.self) { job, context in
            if job.failures > 0 { throw NotYet(seconds: Self.hour) }
            try await context.once {
                try await $0.query(
                    "insert into contacts.effect (tenant_id, number) values ($1, $2)",
                    [$0.tenant.parameter, .int(job.number)])
            }
        }
        bench.start(bench.outbox)
        let failing = RedisQueue.window + 200
        try await bench.enqueue(
            (0..<failing).map { ProbeJob(number: $0, failures: 1) } + (0..<20).map { ProbeJob(number: 10_000 + $0) },
            tenant: bench.tenants[0])
        bench.start(bench.worker(registry: registry))
        try await bench.expectOnce(10_000..<10_020)
        try await eventually("all the others wait in PostgreSQL") {
            try await count(bench, bench.tenants[0]) == failing
        }
        try await bench.stop()
    }

    @Test("a try that is due before Redis has heard of the failure is kept until it has")
    func early() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        try await queue.register(worker: "w", lease: .seconds(600))
        let tenant = bench.tenants[0]
        var job = try await written(1, bench, tenant: tenant)
        try await queue.enqueue([(job, nil)])
        #expect(try await fetch(queue) == [job])
        let before = job
        job.attempts = 6
        job.runsAlone = true
        try await putOff(job, by: -1, bench)
        let other = try await written(2, bench, tenant: tenant)
        try await putOff(other, by: 0, bench)
        #expect(try await retries(bench).bringBack() == 1, "the other is held back by none")
        #expect(try await fetch(queue).map(\.id) == [other.id])
        #expect(try await count(bench, tenant) == 1, "only now does the worker tell of it")
        #expect(try await fetch(queue, [.init(before, .putOff(job), measured: 5)]).isEmpty)
        #expect(try await retries(bench).bringBack() == 0, "it is looked at again in a while")
        _ = try await bench.desk.retry(job.id)
        #expect(try await retries(bench).bringBack() == 1)
        #expect(try await count(bench, tenant) == 0)
        let again = try await fetch(queue)
        #expect(again.map(\.id) == [job.id] && again.map(\.attempts) == [6])
        #expect(again.map(\.runsAlone) == [true])
        try await bench.stop()
    }

    @Test("what is cancelled waits no more; a try put off by a worker that had yet to hear of it is not brought back")
    func cancelled() async throws {
        let bench = try await QueueBench()
        let job = try await written(1, bench, tenant: bench.tenants[0])
        try await putOff(job, by: Self.hour, bench)
        try await bench.desk.cancel(job.id)
        #expect(try await count(bench, bench.tenants[0]) == 0)
        try await putOff(job, by: 0, bench)
        #expect(try await retries(bench).bringBack() == 0)
        #expect(try await count(bench, bench.tenants[0]) == 0)
        #expect(try await RedisQueue(name: ProbeJob.queue, redis: bench.client).depth().waiting == 0)
        try await bench.stop()
    }

    @Test("a tenant whose window is full keeps its tries back, however many, and no other's")
    func full() async throws {
        let bench = try await QueueBench()
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        let (busy, quiet) = (bench.tenants[0], bench.tenants[1])
        let waiting = try (0..<RedisQueue.window).map { number in
            (JobEnvelope(try PendingJob(ProbeJob(number: number)), tenant: busy, origin: "contacts"), runAt: Date?.none)
        }
        try await queue.enqueue(waiting)
        // More than one look gives, and all before the other's.
        let jobs = try (0..<1500).map { try PendingJob(ProbeJob(number: $0)) }
        _ = try await bench.database.batch(tenant: busy, bench.outbox.statements(for: jobs, tenant: busy))
        for job in jobs {
            try await putOff(JobEnvelope(job, tenant: busy, origin: "contacts"), by: 0, bench)
        }
        try await putOff(try await written(1, bench, tenant: quiet), by: 1, bench)
        #expect(try await retries(bench).bringBack() == 1)
        #expect(try await count(bench, busy) == 1500)
        #expect(try await count(bench, quiet) == 0)
        let soonest = try await bench.database.query(
            tenant: busy,
            Statement(
                "select count(*), extract(epoch from min(due) - now()) from platform.job_retry where tenant_id = $1",
                [busy.parameter]))
        #expect(soonest.int(0, 0) == 1500 && (soonest.text(0, 1).flatMap(Double.init) ?? 0) > 10, "not asked at once")
        #expect(try await queue.jobs(.waiting, tenant: quiet).count + queue.jobs(.delayed, tenant: quiet).count == 1)
        try await bench.stop()
    }
}

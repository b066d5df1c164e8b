import Database
import Foundation
import Redis
import Synchronization
import TestSupport
import Testing

@testable import Jobs

@Suite("Queues: cancellation while running, large calls, and what is not counted")
struct QueueEdgeTests {
    private func envelopes(_ numbers: Range<Int>, _ tenant: TenantID, at date: Date = Date()) throws -> [JobEnvelope] {
        try numbers.map { number in
            var job = try PendingJob(ProbeJob(number: number))
            job.id = .v7(at: date)
            return JobEnvelope(job, tenant: tenant, origin: "contacts")
        }
    }

    /// A queue with one worker that holds nothing yet, but has a lease.
    private func queue(_ bench: QueueBench) async throws -> RedisQueue {
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        try await queue.register(worker: "w", lease: .seconds(600))
        return queue
    }

    @Test("a worker hears of each cancelled job that it holds, however many others are marked")
    func marks() async throws {
        let bench = try await QueueBench()
        let queue = try await queue(bench)
        let tenant = bench.tenants[0]
        let running = try envelopes(0..<1, tenant)
        try await queue.enqueue(running.map { ($0, nil) })
        #expect(try await queue.exchange(worker: "w", epoch: 1, wanted: 1, acknowledging: []).jobs == running)
        let waiting = try envelopes(1..<1001, tenant)
        try await queue.enqueue(waiting.map { ($0, nil) })
        for job in waiting { #expect(try await queue.cancel(job.id, tenant: tenant)) }
        #expect(try await queue.cancel(running[0].id, tenant: tenant))
        #expect(try await queue.sweep(for: "w").cancelled == [running[0].id])
        #expect(try await queue.sweep(for: "another").cancelled.isEmpty)
        try await bench.stop()
    }

    @Test("a handler hears that its job was cancelled, and what it did is not kept")
    func runningJob() async throws {
        let bench = try await QueueBench()
        let began = Mutex(false)
        let heard = Mutex(false)
        var registry = JobRegistry()
        registry.handle(ProbeJob.self) { job, context in
            began.withLock { $0 = true }
            do { try await Task.sleep(for: .seconds(600)) } catch { heard.withLock { $0 = true } }
            try await context.once { transaction in
                try await transaction.query("insert into contacts.effect (tenant_id, number) values ($1, 1)", [1])
            }
        }
        bench.start(bench.outbox)
        bench.start(bench.worker(registry: registry))
        let job = try PendingJob(ProbeJob(number: 1))
        try await bench.database.withTenant(bench.tenants[0]) { bench.outbox.enqueueTracked(job, in: $0) }
        try await eventually("it runs") { began.withLock { $0 } }
        #expect(try await bench.outbox.settleAsCancelled(job.id, tenant: bench.tenants[0]))
        await bench.outbox.tellCancelled(job.id, tenant: bench.tenants[0])
        try await eventually("the handler heard of it") { heard.withLock { $0 } }
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await eventually("it runs no more") { try await queue.depth().running == 0 }
        #expect(try await bench.effects().isEmpty)
        try await bench.stop()
    }

    @Test("one exchange takes and tells as many as a script has room for, and no job is lost on the way")
    func large() async throws {
        let bench = try await QueueBench()
        let queue = try await queue(bench)
        let jobs = try bench.tenants.flatMap { try envelopes(0..<4500, $0) }
        try await queue.enqueue(jobs.map { ($0, nil) })
        var fetched: [JobEnvelope] = []
        while fetched.count < jobs.count {
            let part = try await queue.exchange(worker: "w", epoch: 1, wanted: 100_000, acknowledging: []).jobs
            try #require(!part.isEmpty)
            fetched += part
        }
        #expect(Set(fetched.map(\.id)) == Set(jobs.map(\.id)))
        _ = try await queue.exchange(
            worker: "w", epoch: 1, wanted: 0, acknowledging: fetched.map { .init($0, .done, measured: 5) })
        let depth = try await queue.depth()
        #expect(depth.running == 0 && depth.waiting == 0)
        try await bench.stop()
    }

    @Test("jobs of a tenant at its cap are seen: how old the oldest is, and in the list of those that wait")
    func capped() async throws {
        let bench = try await QueueBench()
        let queue = try await queue(bench)
        let (busy, held) = (bench.tenants[0], bench.tenants[1])
        try await queue.setShares([busy: .init(cap: 1), held: .init(isHeld: true)])
        let jobs = try envelopes(0..<2, busy, at: Date(timeIntervalSinceNow: -600))
        try await queue.enqueue(jobs.map { ($0, nil) })
        try await queue.enqueue(try envelopes(2..<3, held, at: Date(timeIntervalSinceNow: -6000)).map { ($0, nil) })
        #expect(try await queue.exchange(worker: "w", epoch: 1, wanted: 5, acknowledging: []).jobs.count == 1)
        let age = try await queue.depth().oldestAge
        #expect(age >= 600 && age < 6000, "a suspended tenant's jobs are not late")
        #expect(Set(try await queue.jobs(.waiting).map(\.job.tenant)) == [busy, held])
        try await bench.stop()
    }

    @Test("what is urgent has a reserve of its own beyond a full window, and that has an end too")
    func urgent() async throws {
        let bench = try await QueueBench()
        let queue = try await queue(bench)
        let tenant = bench.tenants[0]
        let refused = try await queue.enqueue(try envelopes(0..<12, tenant).map { ($0, nil) }, window: 10).refused
        #expect(refused == [10, 11])
        var urgent = try envelopes(20..<22, tenant)
        for index in urgent.indices { urgent[index].priority = .high }
        #expect(try await queue.enqueue(urgent.map { ($0, nil) }, window: 10).refused == [1])
        #expect(try await queue.enqueue(try envelopes(30..<31, tenant).map { ($0, nil) }, window: 10).refused == [0])
        let first = try await queue.exchange(worker: "w", epoch: 1, wanted: 1, acknowledging: []).jobs
        #expect(first == [urgent[0]])
        // Of the backlog, whose order is that of enqueueing, only what is urgent goes past it.
        #expect(try await queue.enqueue([(urgent[1], nil)], window: 10).refused.isEmpty)
        #expect(try await queue.enqueue(try envelopes(31..<32, tenant).map { ($0, nil) }, window: 10).refused == [0])
        try await bench.stop()
    }

    @Test("what found no room is told by its place, however tenants and priorities are mixed; tries say what was known")
    func positions() async throws {
        let bench = try await QueueBench()
        let queue = try await queue(bench)
        let (one, other) = (bench.tenants[0], bench.tenants[1])
        var jobs = zip(try envelopes(0..<12, one), try envelopes(20..<32, other)).flatMap { [$0, $1] }
        for index in stride(from: 1, to: 12, by: 2) { jobs[2 * index].priority = .low }
        let mixed = try await queue.enqueue(jobs.map { ($0, nil) }, window: 10)
        // Each tenant's first ten in the order in which they were sent, which puts what is alike together.
        #expect(Set(mixed.refused) == [18, 22, 21, 23] && mixed.added == 20, "\(mixed)")
        #expect(mixed.known.isEmpty)
        let tries = try await queue.enqueue(jobs.map { ($0, nil) }, window: 11, from: .tries)
        #expect(Set(tries.known) == Set(jobs.indices).subtracting(mixed.refused) && tries.added == 2, "\(tries)")
        #expect(Set(tries.refused) == [22, 23])
        // A refused job of a backlog closes the window to new ones; a refused try does not, it has its place.
        let third = TenantID(3)
        let more = try envelopes(40..<44, third)
        #expect(try await queue.enqueue([(more[0], nil), (more[1], nil)], window: 1, from: .tries).refused == [1])
        #expect(try await queue.enqueue([(more[2], nil)], window: 2).refused.isEmpty)
        #expect(try await queue.enqueue([(more[1], nil), (more[3], nil)], window: 2).refused == [0, 1])
        #expect(try await queue.enqueue([(more[3], nil)], window: 5).refused == [0])
        try await bench.stop()
    }

    @Test("a tenant of which all was cancelled leaves its place in a fetch to the next in line")
    func places() async throws {
        let bench = try await QueueBench()
        let queue = try await queue(bench)
        let tenants = (1...3).map { TenantID($0) }
        for tenant in tenants {
            try await queue.enqueue(try envelopes(0..<4, tenant).map { ($0, nil) })
            if tenant == tenants[0] {
                for job in try await queue.jobs(.waiting) {
                    #expect(try await queue.cancel(job.job.id, tenant: tenant))
                }
            }
        }
        let jobs = try await queue.exchange(worker: "w", epoch: 1, wanted: 2, acknowledging: []).jobs
        #expect(Set(jobs.map(\.tenant)) == [tenants[1], tenants[2]])
        try await bench.stop()
    }

    @Test("a type that is ephemeral has no row and runs once; where somebody waits for its end it has one")
    func ephemeral() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker())
        var jobs = try (1...3).map { try PendingJob(ProbeJob(number: $0)) }
        for index in jobs.indices { jobs[index].options.durability = .ephemeral }
        let (plain, tracked) = (jobs[0], jobs[1])
        let group = JobGroup([jobs[2]], completion: try PendingJob(ProbeJob(number: 4)))
        try await bench.database.withTenant(bench.tenants[0]) { transaction in
            bench.outbox.enqueue([plain], in: transaction)
            bench.outbox.enqueueTracked(tracked, in: transaction)
            bench.outbox.enqueue(group, in: transaction)
        }
        try await bench.expectOnce(1...4)
        let rows = try await bench.database.query(
            tenant: bench.tenants[0], Statement("select id from contacts.outbox where tenant_id = $1", [1]))
        #expect(rows.count == 3 && !(0..<3).contains { rows.uuid($0, 0) == plain.id })
        // What a comparison finds unfinished would be sent once more.
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        #expect(try await bench.reconciler(queue).resend(olderThan: Date()) == 0)
        try await bench.stop()
    }
}

import Database
import Foundation
import Redis
import TestSupport
import Testing

@testable import Jobs

@Suite("Operators")
struct OperatorTests {
    private func enqueue(_ bench: QueueBench, _ number: Int = 0, runAt: Date? = nil, pushing: Bool = true) async throws
        -> UUID
    {
        let job = try PendingJob(ProbeJob(number: number), runAt: runAt)
        let tenant = bench.tenants[0]
        _ = try await bench.database.batch(tenant: tenant, bench.outbox.statements(for: [job], tenant: tenant))
        if pushing {
            let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
            try await queue.enqueue([(JobEnvelope(job, tenant: tenant, origin: "contacts"), runAt)])
        }
        return job.id
    }

    private func reason(_ queues: QueueOperator, _ id: UUID) async throws -> JobDiagnosis.Reason {
        try await queues.why(try await queues.story(id)).reason
    }

    @Test("a quiet worker fetches nothing, under whichever lease, until it is resumed or its day is over")
    func quiet() async throws {
        let bench = try await QueueBench()
        let queues = bench.desk
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        let (quiet, next, other) = ("host-7-abc-1", "host-7-abc-2", "host-8-def-1")
        for worker in [quiet, next, other] { try await queue.register(worker: worker, lease: .seconds(60)) }
        func fetch(_ worker: String) async throws -> RedisQueue.Fetched {
            try await queue.exchange(worker: worker, epoch: 1, wanted: 1, acknowledging: [])
        }
        let lines = try await queues.setQuiet(true, quiet)
        #expect(lines.map(\.name) == [quiet, next] && lines.allSatisfy(\.isQuiet))
        #expect(try await queues.workers().filter { !$0.isQuiet }.map(\.name) == [other])
        #expect(try await queue.depth().workers == 1, "quiet workers are not among those that do the work")
        let job = try await enqueue(bench)
        for worker in [quiet, next] {
            let fetched = try await fetch(worker)
            #expect(fetched.status == .paused && fetched.jobs.isEmpty && fetched.runnableTenants == 0)
        }
        #expect(try await fetch(other).jobs.map(\.id) == [job])

        #expect(try await queues.setQuiet(false, next).allSatisfy { !$0.isQuiet })
        let second = try await enqueue(bench)
        #expect(try await fetch(quiet).jobs.map(\.id) == [second])

        try await queue.setQuiet(other, for: .milliseconds(-1))
        let third = try await enqueue(bench)
        #expect(try await fetch(other).status == .paused)
        _ = try await queue.sweep()
        #expect(try await fetch(other).jobs.map(\.id) == [third])
        let refusal = await #expect(throws: OperatorRefusal.self) { try await queues.setQuiet(true, "nobody") }
        #expect(refusal?.code == "unknown_worker")
        try await bench.stop()
    }

    @Test("why a job is not done: each thing that may hold it is named")
    func why() async throws {
        let bench = try await QueueBench()
        let queues = bench.desk
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        try await queue.setEpoch(1)
        let unsent = try await enqueue(bench, pushing: false)
        #expect(try await reason(queues, unsent) == .noWorker)
        try await queue.register(worker: "w", lease: .seconds(60))
        #expect(try await reason(queues, unsent) == .notPushed)

        let first = try await enqueue(bench)
        let second = try await enqueue(bench)
        #expect(try await reason(queues, first) == .next)
        let behind = try await queues.why(try await queues.story(second))
        #expect(behind.reason == .behindItsTenant && behind.text.contains("1 job of its tenant one-one"))
        let delayed = try await enqueue(bench, runAt: Date(timeIntervalSinceNow: 30))
        #expect(try await reason(queues, delayed) == .notYetDue)
        let scheduled = try await enqueue(bench, runAt: Date(timeIntervalSinceNow: 3600), pushing: false)
        let later = try await queues.why(try await queues.story(scheduled))
        #expect(later.reason == .notYetDue && (later.seconds ?? 0) > 3000)

        try await queues.setPaused(true, ProbeJob.queue)
        #expect(try await reason(queues, first) == .queuePaused)
        try await queues.setPaused(false, ProbeJob.queue)

        let tenant = try await queues.tenant("one-one")
        _ = try await queues.setShare(.init(cap: 1), of: tenant, in: ProbeJob.queue)
        let fetched = try await queue.exchange(worker: "w", epoch: 1, wanted: 5, acknowledging: [])
        #expect(fetched.jobs.map(\.id) == [first])
        let running = try await queues.why(try await queues.story(first))
        #expect(running.reason == .running && running.text.contains("worker w"))
        let capped = try await queues.why(try await queues.story(second))
        #expect(capped.reason == .tenantCap && capped.text.contains("1 running of 1"))

        _ = try await queues.setShare(.init(cap: 0, rate: 0.1, burst: 1), of: tenant, in: ProbeJob.queue)
        let third = try await enqueue(bench)
        _ = try await queue.exchange(worker: "w", epoch: 1, wanted: 5, acknowledging: [])
        #expect(try await reason(queues, third) == .rateLimited)

        let owner = bench.test.pool(role: "postgres")
        defer { owner.close() }
        _ = try await owner.query(
            tenant: nil, Statement("update platform.tenant set status = 'suspended' where slug = 'one-one'"))
        #expect(try await reason(queues, third) == .tenantSuspended)
        _ = try await owner.query(
            tenant: nil, Statement("update platform.tenant set status = 'active' where slug = 'one-one'"))

        let inBacklog = try await enqueue(bench, pushing: false)
        _ = try await bench.database.query(
            tenant: nil,
            Statement(
                "select platform.note_backlog($1, '{1}', array[$2::uuid])", [.text(ProbeJob.queue), .uuid(unsent)]))
        let backlog = try await queues.why(try await queues.story(inBacklog))
        #expect(backlog.reason == .backlog && backlog.text.contains("position about"))
        #expect(try await queues.figures(of: ProbeJob.queue).backlog > 0)
        await #expect(throws: OperatorRefusal.self) { try await queues.story(UUID.v7()) }
    }

    @Test("a dead job is replayed once, under a fresh id, and a dry run does nothing")
    func replay() async throws {
        let bench = try await QueueBench()
        let queues = bench.desk
        bench.start(bench.outbox)
        bench.start(bench.worker())
        var jobs: [PendingJob] = []
        for number in 0..<3 {
            var job = try PendingJob(ProbeJob(number: number, failures: 1))
            job.options.maxAttempts = 1
            jobs.append(job)
        }
        let tenant = bench.tenants[0]
        _ = try await bench.database.batch(tenant: tenant, bench.outbox.statements(for: jobs, tenant: tenant))
        bench.outbox.push(jobs, tenant: tenant)
        try await eventually("all are dead") { try await queues.figures(of: ProbeJob.queue).dead == 3 }
        let mended = bench.test.pool(role: "postgres")
        defer { mended.close() }
        // What made them fail is mended meanwhile.
        _ = try await mended.query(
            tenant: nil,
            Statement("update contacts.outbox set payload = replace(payload, '\"failures\":1', '\"failures\":0')"))

        var filter = QueueOperator.Filter()
        filter.name = ProbeJob.name
        let foretold = try await queues.replay(filter, dryRun: true)
        #expect(foretold.matched == 3 && foretold.replayed == 0 && foretold.names == [ProbeJob.name: 3])
        #expect(try await bench.effects().isEmpty)
        filter.name = "contacts.other"
        #expect(try await queues.replay(filter, dryRun: false).matched == 0)
        filter.name = nil
        filter.code = "internal"
        let start = ContinuousClock.now
        #expect(try await queues.replay(filter, perSecond: 5, dryRun: false).replayed == 3)
        #expect(ContinuousClock.now - start > .milliseconds(390), "five a second")
        try await bench.expectOnce(0..<3)
        #expect(try await queues.replay(filter, dryRun: false).matched == 0, "each once")
        let refusal = await #expect(throws: OperatorRefusal.self) { try await queues.retry(jobs[0].id) }
        #expect(refusal?.code == "already_replayed")
        let story = try await queues.story(jobs[0].id)
        let fresh = try #require(story.death?.replayedAs.flatMap(UUID.init(uuidString:)))
        #expect(try await reason(queues, fresh) == .done)
        #expect(try await queues.figures(of: ProbeJob.queue).dead == 0)
        try await eventually("Redis forgets them too") {
            try await RedisQueue(name: ProbeJob.queue, redis: bench.client).depth().dead == 0
        }
        try await bench.stop()
    }

    @Test("a cancelled job never runs, a delayed one runs when it is told to, and one that is over stays as it is")
    func cancelAndRetry() async throws {
        let bench = try await QueueBench()
        let queues = bench.desk
        let soon = Date(timeIntervalSinceNow: 45)
        let cancelled = try await enqueue(bench, 1)
        let cancelledLater = try await enqueue(bench, 2, runAt: Date(timeIntervalSinceNow: 3600), pushing: false)
        let hastened = try await enqueue(bench, 3, runAt: soon)
        let untouched = try await enqueue(bench, 4, runAt: soon)
        try await queues.cancel(cancelled)
        try await queues.cancel(cancelledLater)
        #expect(try await queues.story(untouched).attempts == 0, "a delayed job says how often it was tried")
        #expect(try await queues.retry(hastened) == .hastened)
        bench.start(bench.outbox)
        bench.start(bench.worker())
        try await bench.expectOnce([3])
        #expect(try await reason(queues, cancelled) == .cancelled)
        #expect(try await reason(queues, untouched) == .notYetDue)
        for over in [cancelled, hastened] {
            let refusal = await #expect(throws: OperatorRefusal.self) { try await queues.cancel(over) }
            #expect(refusal?.code == "already_over")
        }
        let gone = await #expect(throws: OperatorRefusal.self) { try await queues.story(cancelledLater) }
        #expect(gone?.code == "unknown_job", "what was only scheduled leaves nothing behind")
        try await bench.stop()
    }

    @Test("ephemeral jobs are seen, explained, cancelled and tried again as far as Redis knows them")
    func ephemeral() async throws {
        let bench = try await QueueBench()
        let desk = bench.desk
        let jobs = try (1...3).map { try PendingJob(ProbeJob(number: $0, failures: $0 == 3 ? 1 : 0)) }
        var hopeless = jobs[2]
        hopeless.options.maxAttempts = 1
        try await bench.outbox.enqueueEphemeral([jobs[0], jobs[1], hopeless], tenant: bench.tenants[0])
        let story = try await desk.story(jobs[0].id)
        #expect(story.isEphemeral == true && story.tenant == "one-one" && story.queue == ProbeJob.queue)
        #expect(try await desk.why(story).reason == .noWorker)
        try await desk.cancel(jobs[1].id)
        #expect(try await desk.why(try await desk.story(jobs[1].id)).reason == .cancelled)
        bench.start(bench.worker())
        try await bench.expectOnce([1])
        var filter = QueueOperator.Filter()
        filter.phases = [.dead]
        try await eventually("the third is dead") { try await desk.jobs(filter).map(\.id) == [hopeless.id.lowercased] }
        #expect(try await desk.why(try await desk.story(hopeless.id)).reason == .dead)
        await #expect(throws: OperatorRefusal.self) { try await desk.story(jobs[0].id) }
        #expect(try await desk.retry(hopeless.id) == .hastened)
        // It fails again: as it was enqueued, with no attempt behind it.
        try await eventually("it was tried, and is dead again") {
            let dead = try await desk.jobs(filter)
            return dead.count == 1 && (dead[0].at ?? .distantPast) > Date(timeIntervalSinceNow: -60)
        }
        #expect(try await bench.effects() == [1: 1])
        try await bench.stop()
    }

    @Test("a pause and a tenant's share stand after FLUSHALL")
    func flushed() async throws {
        let bench = try await QueueBench()
        let queues = bench.desk
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        bench.start(bench.outbox)
        bench.start(bench.worker())
        try await bench.enqueue([ProbeJob(number: 0)], tenant: bench.tenants[0])
        try await bench.expectOnce([0])
        try await queues.setPaused(true, ProbeJob.queue)
        let tenant = try await queues.tenant("one-one")
        _ = try await queues.setShare(.init(weight: 3, cap: 2), of: tenant, in: ProbeJob.queue)
        _ = try await bench.client.command(key: "x", ["FLUSHALL"])
        try await eventually("the pause is back") { try await queue.depth().isPaused }
        try await bench.enqueue([ProbeJob(number: 1)], tenant: bench.tenants[0])
        try await eventually("the share is back") {
            let standing = try await queues.standings(in: ProbeJob.queue).first { $0.tenant == "one-one" }
            return standing?.weight == 3 && standing?.cap == 2
        }
        #expect(try await bench.effects() == [0: 1])
        try await queues.setPaused(false, ProbeJob.queue)
        try await bench.expectOnce([0, 1])
        try await bench.stop()
    }

    @Test("draining waits until nothing runs, and leaves the queue paused")
    func drain() async throws {
        let bench = try await QueueBench()
        let queues = bench.desk
        let (registry, opener) = bench.gated()
        bench.start(bench.outbox)
        bench.start(bench.worker(registry: registry))
        try await bench.enqueue([ProbeJob(number: 0)], tenant: bench.tenants[0])
        try await eventually("it runs") { try await queues.figures(of: ProbeJob.queue).running == 1 }
        #expect(try await queues.drain(ProbeJob.queue, within: 0.2) == 1)
        opener.finish()
        #expect(try await queues.drain(ProbeJob.queue, within: 30) == 0)
        #expect(try await bench.effects() == [0: 1])
        let figures = try await queues.figures(of: ProbeJob.queue)
        #expect(figures.paused)
        try await bench.stop()
    }

    @Test("how long jobs take is summed over all processes, and a service can't look into another's queues")
    func loadAndBounds() async throws {
        let bench = try await QueueBench()
        let load = QueueLoad(RedisQueue(name: ProbeJob.queue, redis: bench.client))
        let now = Date()
        try await load.note(runs: 30, milliseconds: 600, at: now.addingTimeInterval(-20))
        try await load.note(runs: 30, milliseconds: 1200, at: now.addingTimeInterval(-10))
        try await load.note(runs: 1000, milliseconds: 1, at: now.addingTimeInterval(-100))
        let measured = try await load.read(at: now)
        #expect(measured.runs == 60 && measured.rate == 1)
        #expect(abs((measured.meanSeconds ?? 0) - 0.03) < 1e-9)
        #expect(measured.arrivalRate == 0)
        // More than an outbox's rows are ever counted, and of a slice in which nothing ran.
        try await load.note(arrived: 1_200_000, at: now.addingTimeInterval(-30))
        #expect(try await load.read(at: now).arrivalRate == 20_000)
        #expect(try await load.read(at: now).rate == 1)
        let others = QueueOperator(
            queues: ["tickets.default"], database: bench.database, redis: bench.client, logger: TestServers.logger)
        await #expect(throws: DatabaseError.self) { try await others.figures(of: "tickets.default") }
        await #expect(throws: DatabaseError.self) { try await others.setPaused(true, "tickets.default") }
    }

    @Test("what is enqueued is counted over all processes, with and without a row")
    func arrivals() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        try await bench.enqueue((0..<30).map { ProbeJob(number: $0) }, tenant: bench.tenants[0])
        try await bench.outbox.enqueueEphemeral(
            (0..<12).map { try PendingJob(ProbeJob(number: $0)) }, tenant: bench.tenants[1])
        let load = QueueLoad(RedisQueue(name: ProbeJob.queue, redis: bench.client))
        // As it will be seen once the ten seconds are over.
        try await eventually("all are counted") {
            try await load.read(at: Date(timeIntervalSinceNow: 50)).arrived == 42
        }
        try await bench.stop()
    }

    @Test("a benchmark measures servers and queue, and leaves nothing behind")
    func benchmark() async throws {
        let platform = try await TestPlatform([])
        let command = try OperatorCommand(platform.database, redis: platform.redis.url)
        defer { command.clean() }
        let outcome = try await command.run("bench", "--jobs", "1500", "--json")
        #expect(outcome.status == 0, "\(outcome.error)")
        let figures = try outcome.json.array ?? []
        #expect(
            figures.count == 8 && figures.allSatisfy { Double($0["value"]?.encoded ?? "") ?? 0 > 0 },
            "\(outcome.output)")
        let redis = try platform.redis.client()
        defer { redis.close() }
        #expect(try await redis.command(key: "gx", ["DBSIZE"]).int == 0)
        #expect(try await command.run("bench", "--jobs", "5").status == 64)
    }

    @Test("the operators' HTTP surface opens to the token alone, and is not there without the setting")
    func http() async throws {
        let (closedPort, openPort) = (try freePort(), try freePort())
        let token = "operators-token-of-32-characters-or-more"
        let platform = try await TestPlatform([])
        try await platform.start(
            "contacts serve", as: "closed", environment: ["GUANXI_INTERNAL_PORT": "\(closedPort)"])
        try await platform.start(
            "contacts serve", as: "open",
            environment: ["GUANXI_INTERNAL_PORT": "\(openPort)", "GUANXI_OPERATOR_TOKEN": token])
        let closed = HTTPClient(base: "http://127.0.0.1:\(closedPort)", token: token)
        try await eventually("the internal port answers") { (try? await closed.get("/healthz"))?.status == 200 }
        #expect(try await closed.get("/operator/v1/queues").status == 404)
        let stranger = HTTPClient(base: "http://127.0.0.1:\(openPort)", token: "somebody-else's-token-of-32-characters")
        try await eventually("the internal port answers") { (try? await stranger.get("/healthz"))?.status == 200 }
        #expect(try await stranger.get("/operator/v1/queues").status == 401)

        let client = HTTPClient(base: stranger.base, token: token)
        let queues = try await client.get("/operator/v1/queues")
        #expect(queues.status == 200 && queues.json.array?.first?["queue"]?.text == "contacts.import")
        #expect(try await client.send("POST", "/operator/v1/queues/contacts.import/pause").json["paused"] == true)
        #expect(try await client.send("POST", "/operator/v1/queues/contacts.import/resume").json["paused"] == false)
        let missing = try await client.get("/operator/v1/queues/tickets.default/jobs")
        #expect(missing.status == 404 && missing.json["code"]?.text == "unknown_queue")
        #expect(missing.header("content-type") == "application/problem+json")
        #expect(try await client.get("/operator/v1/jobs/\(UUID.v7().lowercased)/why").status == 404)
        let nobody = try await client.send("POST", "/operator/v1/workers/host-1-x-1/quiet")
        #expect(nobody.status == 404 && nobody.json["code"]?.text == "unknown_worker", "\(nobody.text)")
        let (tenant, _) = try await platform.tenant("acme")
        let shares = "/operator/v1/queues/contacts.import/shares"
        #expect(try await client.send("PUT", "\(shares)/acme", json: ["cap": 3]).json["cap"]?.int == 3)
        #expect(try await client.send("PUT", "\(shares)/\(tenant)", json: ["weight": 0]).status == 422)
        #expect(try await client.send("PUT", "\(shares)/nobody", json: ["cap": 3]).status == 404)
        let replay = try await client.send(
            "POST", "/operator/v1/queues/contacts.import/replay", json: ["dry_run": true])
        #expect(replay.json["dry_run"] == true && replay.json["matched"]?.int == 0)
        for rate in ["1e-300", "0", "-1", "1e300"] {
            let refused = try await client.send(
                "POST", "/operator/v1/queues/contacts.import/replay", json: ["per_second": .number(rate)])
            #expect(refused.status == 422, "\(rate): \(refused.text)")
        }
        let drained = try await client.send(
            "POST", "/operator/v1/queues/contacts.import/drain", json: ["seconds": 1])
        #expect(drained.json["paused"] == true && drained.json["running"]?.int == 0, "\(drained.text)")
        let endless = try await client.send(
            "POST", "/operator/v1/queues/contacts.import/drain", json: ["seconds": .number("1e9")])
        #expect(endless.status == 422)
        let wanted = try await client.get("/operator/v1/wanted-workers?queue=all&format=keda")
        #expect(wanted.json["service"]?.text == "contacts" && wanted.json["wanted"]?.int == 1)
        #expect(
            try await client.get("/metrics").text.contains("guanxi_queue_wanted_workers{queue=\"contacts.default\"}"))

        try await platform.start("contacts work")
        let workers = "/operator/v1/workers"
        try await eventually("it is known") { try await client.get(workers).json.array?.isEmpty == false }
        let worker = try #require(try await client.get(workers).json.array?.first?["name"]?.text)
        #expect(try await client.send("POST", "\(workers)/elsewhere-1-x-1/stop").status == 404)
        #expect(try await client.send("POST", "\(workers)/\(worker)/stop").status == 200)
        try await eventually("its lease is given back") { try await client.get(workers).json.array?.isEmpty == true }
        #expect(try await platform.process("contacts work").finished(within: 30) == 0, "it has left in good order")
    }
}

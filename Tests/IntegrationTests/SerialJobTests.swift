import Database
import Foundation
import Jobs
import Redis
import Synchronization
import TestSupport
import Testing

/// A job that stands in a line, and how it is to go.
private struct StepJob: Job {
    static let name = "contacts.step"
    static let queue = ProbeJob.queue
    var line: String?
    var number: Int
    var milliseconds = 0
    /// How often it fails before it goes well; 99 to be dead at once.
    var failures = 0
    var serialKey: String? { line }
}

/// What committed and what runs at this moment, by line: two at once are two too many.
private final class Witness: Sendable {
    let committed = Mutex<[String: [Int]]>([:])
    private let running = Mutex<[String: Int]>([:])
    private let seen = Mutex<[String]>([])
    var overlaps: [String] { seen.withLock { $0 } }

    func enter(_ line: String, _ number: Int) {
        if let other = running.withLock({ $0.updateValue(number, forKey: line) }) {
            seen.withLock { $0.append("\(number) began while \(other) of \(line) ran") }
        }
    }

    func leave(_ line: String) { _ = running.withLock { $0.removeValue(forKey: line) } }
}

extension QueueBench {
    fileprivate func steps(_ witness: Witness = Witness()) -> JobRegistry {
        var registry = JobRegistry()
        registry.handle(StepJob.self) { job, context in
            if job.failures == 99 { throw PermanentFailure(code: "wanted", message: "wanted") }
            if job.failures > Int(context.envelope.attempts) { throw TestFailure("wanted") }
            try await context.once { transaction in
                // Once the claim holds, a second delivery of this job waits, and other jobs have no turn.
                try await transaction.query("select 1", [])
                if let line = job.line { witness.enter(line, job.number) }
                defer { if let line = job.line { witness.leave(line) } }
                if job.milliseconds > 0 { try await Task.sleep(for: .milliseconds(job.milliseconds)) }
                try await transaction.query(
                    "insert into contacts.effect (tenant_id, number) values ($1, $2)",
                    [transaction.tenant.parameter, .int(job.number)])
            }
        }
        return registry
    }

    fileprivate func enqueue(_ steps: [StepJob], pushing: Bool = true, runAt: Date? = nil) async throws -> [UUID] {
        let jobs = try steps.map { try PendingJob($0, runAt: runAt) }
        _ = try await database.batch(tenant: tenants[0], outbox.statements(for: jobs, tenant: tenants[0]))
        if pushing { outbox.push(jobs, tenant: tenants[0]) }
        return jobs.map(\.id)
    }

    /// The numbers in the order of their effects.
    fileprivate func order() async throws -> [Int] {
        let rows = try await database.query(tenant: nil, Statement("select number from contacts.effect order by at"))
        return (0..<rows.count).map { rows.int($0, 0)! }
    }

    fileprivate func expectLinesAreGone() async throws {
        try await eventually("no line is left") {
            let rows = try await database.query(
                tenant: tenants[0],
                Statement(
                    "select (select count(*) from platform.serial_line) + (select count(*) from platform.serial_job)"))
            return rows.int(0, 0) == 0
        }
    }
}

@Suite("Serial keys")
struct SerialJobTests {
    @Test(
        "jobs of one key run one at a time in the order of their commits, whoever enqueues them and whatever else runs")
    func inOrder() async throws {
        let bench = try await QueueBench()
        let witness = Witness()
        bench.start(bench.outbox)
        for _ in 0..<2 { bench.start(bench.worker(registry: bench.steps(witness))) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<6 {
                group.addTask {
                    for step in 0..<10 {
                        let (line, number) = ("line \((writer + step) % 3)", writer * 10 + step)
                        let job = try PendingJob(StepJob(line: line, number: number, milliseconds: 3))
                        try await bench.database.withTenant(bench.tenants[0]) { transaction in
                            for statement in bench.outbox.statements(for: [job], tenant: transaction.tenant) {
                                try await transaction.query(statement)
                            }
                            // The line is locked from here to the commit: this is the order of commits.
                            witness.committed.withLock { $0[line, default: []].append(number) }
                            if step % 4 == 0 { try await Task.sleep(for: .milliseconds(20)) }
                        }
                        // Some processes die right after their commit.
                        if step % 5 != 0 { bench.outbox.push([job], tenant: bench.tenants[0]) }
                    }
                }
            }
            try await group.waitForAll()
        }
        try await bench.expectOnce(0..<60)
        let order = try await bench.order()
        for (line, numbers) in witness.committed.withLock({ $0 }) {
            #expect(order.filter { numbers.contains($0) } == numbers, "\(line)")
        }
        #expect(witness.overlaps == [])
        try await bench.expectLinesAreGone()
        try await bench.stop()
    }

    @Test("a long job holds up its own key alone, also within one enqueue")
    func others() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker(registry: bench.steps()))
        _ = try await bench.enqueue([
            StepJob(line: "slow", number: 1, milliseconds: 2500), StepJob(line: "slow", number: 2),
            StepJob(line: "quick", number: 3), StepJob(line: nil, number: 4), StepJob(line: "quick", number: 5),
        ])
        try await bench.expectOnce(1...5)
        let order = try await bench.order()
        #expect(order.suffix(2) == [1, 2])
        #expect(order.filter { [3, 5].contains($0) } == [3, 5])
        try await bench.stop()
    }

    @Test("a job holds its turn through its retries; the next goes on when it is dead")
    func failures() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker(registry: bench.steps()))
        _ = try await bench.enqueue([
            StepJob(line: "a", number: 1, failures: 1), StepJob(line: "a", number: 2),
            StepJob(line: "a", number: 3, failures: 99), StepJob(line: "a", number: 4),
        ])
        try await bench.expectOnce([1, 2, 4])
        #expect(try await bench.order() == [1, 2, 4])
        try await bench.expectLinesAreGone()
        try await bench.stop()
    }

    @Test("the next of a key runs although its predecessor's process died between commit and push, and Redis with it")
    func deaths() async throws {
        let bench = try await QueueBench()
        // Nobody pushes for this worker: what it commits stays behind as by SIGKILL.
        bench.start(bench.worker(registry: bench.steps()))
        _ = try await bench.enqueue((1...3).map { StepJob(line: "a", number: $0) })
        let other = Outbox(
            schema: "contacts", database: bench.database, redis: bench.client, keyring: bench.keyring,
            logger: TestServers.logger)
        bench.start(other)
        try await eventually("the first is done") { try await !bench.order().isEmpty }
        _ = try await bench.client.command(key: "x", ["FLUSHALL"])
        try await bench.expectOnce(1...3)
        #expect(try await bench.order() == [1, 2, 3])
        try await bench.expectLinesAreGone()
        try await bench.stop()
    }

    @Test("a duplicate of one that is done neither runs again nor moves the line")
    func duplicate() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker(registry: bench.steps()))
        let first = try PendingJob(StepJob(line: "a", number: 1))
        let rest = try (2...3).map { try PendingJob(StepJob(line: "a", number: $0, milliseconds: 400)) }
        let all = [first] + rest
        _ = try await bench.database.batch(
            tenant: bench.tenants[0], bench.outbox.statements(for: all, tenant: bench.tenants[0]))
        bench.outbox.push(all, tenant: bench.tenants[0])
        try await eventually("the first is done") { try await bench.order() == [1] }
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        _ = try await bench.client.command(
            key: queue.prefix(0), ["SREM", .text(queue.prefix(0) + "u"), .bytes(first.id.rawBytes)])
        try await queue.enqueue([(JobEnvelope(first, tenant: bench.tenants[0], origin: "contacts"), runAt: nil)])
        try await bench.expectOnce(1...3)
        #expect(try await bench.order() == [1, 2, 3])
        try await bench.stop()
    }

    @Test("one that is cancelled leaves the line, before its turn and at it")
    func cancelled() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        let ids = try await bench.enqueue((1...4).map { StepJob(line: "a", number: $0) })
        let desk = bench.desk
        let why = try await desk.why(try await desk.story(ids[2]))
        #expect(why.reason == .behindItsKey && why.text.contains("behind 2 jobs of its key a"), "\(why.text)")
        #expect(try await desk.figures(of: ProbeJob.queue).inLine == 3)
        try await desk.cancel(ids[1])
        #expect(try await desk.figures(of: ProbeJob.queue).inLine == 2)
        try await desk.cancel(ids[0])
        await #expect(throws: OperatorRefusal.self) { try await desk.cancel(ids[0]) }
        bench.start(bench.worker(registry: bench.steps()))
        try await bench.expectOnce([3, 4])
        #expect(try await bench.order() == [3, 4])
        try await bench.expectLinesAreGone()
        try await bench.stop()
    }

    @Test("one that is due far ahead steps into its line at its time; a dead one that is replayed, at its end")
    func later() async throws {
        let bench = try await QueueBench()
        let (far, database) = (Date(timeIntervalSinceNow: 3600), bench.database)
        _ = try await bench.enqueue([StepJob(line: "a", number: 1)], runAt: far)
        let dead = try await bench.enqueue([StepJob(line: "a", number: 2, failures: 99)])
        _ = try await bench.enqueue([StepJob(line: "a", number: 3, milliseconds: 1500)])
        bench.start(bench.outbox)
        bench.start(bench.worker(registry: bench.steps()))
        let desk = bench.desk
        try await eventually("the second is dead") { try await desk.story(dead[0]).death != nil }
        _ = try await database.query(
            tenant: bench.tenants[0], Statement("update contacts.scheduled_job set run_at = now() where tenant_id = 1"))
        try await eventually("the first stands in line") {
            let waiting = try await database.query(
                tenant: bench.tenants[0], Statement("select count(*) from platform.serial_job"))
            let order = try await bench.order()
            return waiting.int(0, 0) == 1 || order == [3, 1]
        }
        guard case .replayed(let again) = try await desk.retry(dead[0]) else {
            throw TestFailure("a dead job is replayed")
        }
        try await bench.expectOnce([1, 3])
        #expect(try await bench.order() == [3, 1])
        try await eventually("it died again, at its turn") { try await desk.story(again).death != nil }
        try await bench.expectLinesAreGone()
        try await bench.stop()
    }
}

import Database
import Foundation
import TestSupport
import Testing

@testable import Jobs

@Suite("Queues: jobs for later")
struct QueueScheduleTests {
    @Test("a scheduled job can be moved and withdrawn until it is near")
    func scheduling() async throws {
        let bench = try await QueueBench()
        let far = Date(timeIntervalSinceNow: 3600)
        for number in 1...3 {
            try await bench.database.withTenant(bench.tenants[0]) { [bench] transaction in
                bench.outbox.schedule(
                    try PendingJob(ProbeJob(number: number)), key: "k\(number)", at: far, in: transaction)
            }
        }
        try await bench.database.withTenant(bench.tenants[0]) { [bench] transaction in
            bench.outbox.unschedule(keys: ["k1"], in: transaction)
            bench.outbox.schedule(
                try PendingJob(ProbeJob(number: 2)), key: "k2", at: Date(timeIntervalSinceNow: 1), in: transaction)
        }
        bench.start(bench.outbox)
        bench.start(bench.worker())
        try await bench.expectOnce([2])
        let left = try await bench.database.query(
            tenant: bench.tenants[0], Statement("select key from contacts.scheduled_job where tenant_id = $1", [1]))
        #expect(left.count == 1 && left.text(0, 0) == "k3")
        try await bench.stop()
    }

    @Test("a job that was scheduled as it was enqueued is not pushed as well, however soon its minute begins")
    func aroundTheHorizon() async throws {
        let bench = try await QueueBench()
        let tenant = bench.tenants[0]
        let far = try PendingJob(
            ProbeJob(number: 1), runAt: Date(timeIntervalSinceNow: Outbox.horizon + 0.5))
        let near = try PendingJob(ProbeJob(number: 2))
        _ = try await bench.database.batch(
            tenant: tenant, bench.outbox.statements(for: [far, near], tenant: tenant))
        try await Task.sleep(for: .milliseconds(700))
        bench.outbox.push([far, near], tenant: tenant)
        bench.start(bench.outbox)
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        // Both were handed over together, and would have come together.
        try await eventually("one is pushed") { try await queue.depth().waiting == 1 }
        #expect(try await queue.jobs(.delayed).allSatisfy { $0.job.id != far.id })
        try await bench.stop()
    }

    @Test("a scheduled job that is tracked keeps its id, and one that no line takes is refused at once")
    func trackedSchedule() async throws {
        let bench = try await QueueBench()
        let far = Date(timeIntervalSinceNow: 3600)
        let tracked = try PendingJob(ProbeJob(number: 1), runAt: far)
        let other = try PendingJob(ProbeJob(number: 2), runAt: far)
        try await bench.database.withTenant(bench.tenants[0]) { transaction in
            bench.outbox.enqueueTracked(tracked, in: transaction)
            bench.outbox.enqueue([other], in: transaction)
        }
        for key in ["", String(repeating: "关", count: 167)] {
            var bad = try PendingJob(ProbeJob(number: 3), runAt: far)
            bad.serialKey = key
            let refused = bad
            let error = await #expect(throws: DatabaseError.self) {
                try await bench.database.withTenant(bench.tenants[0]) { bench.outbox.enqueue([refused], in: $0) }
            }
            #expect(error?.code == .checkViolation)
        }
        let moved = try await bench.database.query(
            tenant: nil, Statement("select id, is_tracked from contacts.relay_due(now() + interval '2 hours', 10)"))
        #expect(moved.count == 2)
        for row in 0..<moved.count {
            #expect((moved.uuid(row, 0) == (moved.bool(row, 1)! ? tracked.id : other.id)) == moved.bool(row, 1))
        }
        try await bench.stop()
    }
}

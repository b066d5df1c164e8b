import Database
import Foundation
import Redis
import TestSupport
import Testing

@testable import Jobs

@Suite("What Redis forgets", .serialized)
struct QueueRepairTests {
    @Test("after FLUSHALL every committed job still runs, once")
    func flush() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        bench.start(bench.worker(concurrency: 4))
        bench.start(bench.worker(concurrency: 4))
        for part in 0..<20 {
            try await bench.enqueue(
                (0..<20).map { ProbeJob(number: part * 20 + $0, milliseconds: 10) }, tenant: bench.tenants[part % 2])
            if part % 5 == 2 { _ = try await bench.client.command(key: "x", ["FLUSHALL"]) }
        }
        try await bench.expectOnce(0..<400)
        try await bench.stop()
    }

    @Test("a repair finds what has waited for weeks")
    func oldJob() async throws {
        let bench = try await QueueBench()
        let owner = bench.test.pool(role: "postgres")
        for table in ["outbox", "inbox"] {
            _ = try await owner.query(
                tenant: nil,
                Statement(
                    """
                    do $$ begin execute format('create table contacts.\(table)_%s partition of contacts.\(table)
                        for values from (%L) to (%L)', to_char(current_date - 21, 'YYYYMMDD'),
                        platform.uuid_lower_bound(current_date - 21), platform.uuid_lower_bound(current_date - 18)); end $$
                    """))
        }
        owner.close()
        var job = try PendingJob(ProbeJob(number: 0))
        job.id = .v7(at: Date(timeIntervalSinceNow: -20 * 86_400))
        _ = try await bench.database.batch(
            tenant: bench.tenants[0], bench.outbox.statements(for: [job], tenant: bench.tenants[0]))
        bench.start(bench.worker())
        try await bench.expectOnce([0])
        try await bench.stop()
    }

    @Test("unfinished jobs are found among many that are done, by a repair and behind a backlog's beginning")
    func needles() async throws {
        let bench = try await QueueBench()
        // Two minutes' jobs, of which a first look reads one: all done but the first, one amid and the last.
        try await bench.database.withTenant(bench.tenants[0]) { transaction in
            try await transaction.query(
                """
                insert into contacts.outbox (id, tenant_id, queue, name, payload, priority, max_attempts,
                    timeout_seconds, cost, is_tracked)
                select platform.uuid_lower_bound(now() - interval '5 minutes' + n * interval '1 ms'), $1, $2, $3,
                    json_build_object('number', n, 'milliseconds', 0, 'failures', 0), 1, 25, 300, 5, false
                from generate_series(1, 120000) n
                """, [transaction.tenant.parameter, .text(ProbeJob.queue), .text(ProbeJob.name)])
            try await transaction.query(
                """
                insert into contacts.inbox (job_id, tenant_id, outcome) select id, tenant_id, 1 from contacts.outbox
                where payload::json ->> 'number' not in ('1', '60000', '120000')
                """, [])
        }
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        _ = try await bench.repair(queue)
        #expect(try await queue.depth().waiting == 3)
        _ = try await bench.client.command(key: queue.prefix(0), ["FLUSHALL"])
        // Redis has room for them: they stand behind a beginning that a crash left.
        _ = try await bench.database.query(
            tenant: nil,
            Statement(
                "select platform.note_backlog($1, $2::bigint[], $3::uuid[])",
                [
                    .text(queue.name), .array([bench.tenants[0].description]),
                    .array([UUID.v7LowerBound(at: Date(timeIntervalSinceNow: -2 * 86_400)).lowercased]),
                ]))
        let backlog = Backlog(
            queue: queue, database: bench.database, seal: bench.outbox.seal, logger: TestServers.logger)
        for _ in 0..<5 where try await !backlog.tenants().isEmpty { _ = try await backlog.refill(backlog.tenants()) }
        #expect(try await backlog.tenants().isEmpty)
        #expect(try await queue.depth().waiting == 3)
        bench.start(bench.worker())
        try await bench.expectOnce([1, 60_000, 120_000])
        try await bench.stop()
    }

    @Test("after a failover to an older state nobody is thought to hold what he does not run")
    func olderState() async throws {
        let server = try await TestRedis(["--enable-debug-command", "local"])
        let bench = try await QueueBench(client: try server.client())
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        func command(_ arguments: RedisArgument...) async throws -> RedisValue {
            try await bench.client.command(key: queue.prefix(0), arguments)
        }
        let (registry, opener) = bench.gated()
        bench.start(bench.outbox)
        bench.start(bench.worker(registry: registry))
        try await bench.enqueue([ProbeJob(number: 0)], tenant: bench.tenants[0])
        try await eventually("it runs") { try await queue.depth().running == 1 }
        var dumps: [(key: String, bytes: [UInt8])] = []
        for key in try await command("KEYS", .text(queue.prefix(0) + "*")).array ?? [] {
            dumps.append((key.text!, try await command("DUMP", .text(key.text!)).bytes!))
        }
        opener.finish()
        try await eventually("it is done") { try await queue.depth().running == 0 }
        // As a replica that had not heard of the end.
        for (key, bytes) in dumps { _ = try await command("RESTORE", .text(key), 0, .bytes(bytes), "REPLACE") }
        #expect(try await queue.depth().running == 1)
        _ = try await command("DEBUG", "CHANGE-REPL-ID")
        try await eventually("what nobody runs went back, and to its end") {
            let depth = try await queue.depth()
            return depth.running == 0 && depth.waiting == 0
        }
        try await bench.expectOnce([0])
        try await bench.stop()
    }
}

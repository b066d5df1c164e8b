import Database
import Foundation
import Jobs
import Redis
import TestSupport
import Testing

@Suite("Queues on more than one Redis", .serialized)
struct QueueTopologyTests {
    @Test("on a cluster the shards spread over its nodes, and a master's death loses no job and does none twice")
    func cluster() async throws {
        let cluster = try await TestCluster()
        let bench = try await QueueBench(client: try cluster.client())
        let queue = RedisQueue(name: ProbeJob.queue, redis: bench.client)
        #expect(queue.shards == 64)
        let masters = try await cluster.mastersBySlot()
        let homes = Set((0..<queue.shards).compactMap { masters(redisSlot(of: queue.prefix($0))) })
        #expect(homes.count == 3, "the shards lie on every master")
        bench.start(bench.outbox)
        bench.start(bench.worker())
        bench.start(bench.worker())
        for part in 0..<10 {
            try await bench.enqueue(
                (0..<20).map { ProbeJob(number: part * 20 + $0, milliseconds: 20) }, tenant: bench.tenants[part % 2])
            if part == 4 {
                let home = masters(redisSlot(of: queue.prefix(queue.shard(of: bench.tenants[0]))))
                let victim = cluster.nodes.first { $0.port == home }!
                try await victim.process.crash()
            }
        }
        try await bench.expectOnce(0..<200, within: 120)
        try await bench.stop()
    }

    @Test("a failover of sentinels to a replica loses no job and does none twice")
    func sentinels() async throws {
        let sentinels = try await TestSentinels()
        let bench = try await QueueBench(client: try sentinels.client())
        bench.start(bench.outbox)
        bench.start(bench.worker())
        bench.start(bench.worker())
        for part in 0..<10 {
            try await bench.enqueue(
                (0..<20).map { ProbeJob(number: part * 20 + $0, milliseconds: 20) }, tenant: bench.tenants[part % 2])
            if part == 4 { try await sentinels.master.process.crash() }
        }
        try await bench.expectOnce(0..<200, within: 120)
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
        let (gate, opener) = AsyncStream.makeStream(of: Void.self)
        var registry = JobRegistry()
        registry.handle(ProbeJob.self) { job, context in
            for await _ in gate {}
            try await context.once { transaction in
                try await transaction.query(
                    "insert into contacts.effect (tenant_id, number) values ($1, $2)",
                    [transaction.tenant.parameter, .int(job.number)])
            }
        }
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

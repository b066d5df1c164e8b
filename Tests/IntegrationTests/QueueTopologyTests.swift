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
}

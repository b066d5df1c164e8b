import Database
import Foundation
import Jobs
import Records
import Redis
import Tenancy
import TestSupport
import Testing

/// A job that tells what reached its handler.
private struct SecretJob: Job {
    static let name = "contacts.secret"
    static let queue = "contacts.default"
    var number: Int
    var word: String
}

@Suite("What jobs carry is sealed", .timeLimit(.minutes(5)))
struct PayloadSealTests {
    private static let word = "Wörter-für-niemanden-机密-🤫"

    /// All that Redis holds of the queue's jobs, as one run of bytes.
    private func stored(_ bench: QueueBench) async throws -> [UInt8] {
        let queue = RedisQueue(name: SecretJob.queue, redis: bench.client)
        var all: [UInt8] = []
        for tenant in bench.tenants {
            let list = "\(queue.prefix(0))r:\(tenant):1"
            let jobs = try await bench.client.command(key: list, ["LRANGE", .text(list), 0, -1]).array ?? []
            all += jobs.flatMap { $0.bytes ?? [] }
        }
        return all
    }

    private func registry(_ seen: @escaping @Sendable (SecretJob, JobContext) async throws -> Void) -> JobRegistry {
        var registry = JobRegistry()
        registry.handle(SecretJob.self) { job, context in
            try await context.once {
                try await $0.query(
                    "insert into contacts.effect (tenant_id, number) values ($1, $2)",
                    [context.tenant.parameter, .int(job.number)])
            }
            try await seen(job, context)
        }
        return registry
    }

    private func enqueue(_ bench: QueueBench, _ numbers: Range<Int>, tenant: TenantID) async throws {
        let jobs = try numbers.map { try PendingJob(SecretJob(number: $0, word: Self.word)) }
        _ = try await bench.database.batch(tenant: tenant, bench.outbox.statements(for: jobs, tenant: tenant))
        bench.outbox.push(jobs, tenant: tenant)
    }

    @Test("in Redis no word of them stands, in any path there, and handlers get each as it was")
    func sealed() async throws {
        let bench = try await QueueBench()
        bench.start(bench.outbox)
        let queue = RedisQueue(name: SecretJob.queue, redis: bench.client)
        _ = try await bench.repair(queue)
        try await enqueue(bench, 0..<20, tenant: bench.tenants[0])
        let ephemeral = PendingJob(
            name: SecretJob.name, queue: SecretJob.queue,
            payload: try JobCoding.encode(SecretJob(number: 20, word: Self.word)),
            options: JobOptions().with { $0.durability = .ephemeral })
        try await bench.outbox.enqueueEphemeral([ephemeral], tenant: bench.tenants[1])
        try await eventually("all are in Redis") { try await queue.depth().waiting == 21 }
        var bytes = try await stored(bench)
        #expect(bytes.count > 21 * 60)
        #expect(bytes.firstRange(of: Array("niemanden".utf8)) == nil)
        // What a repair sends again takes another way.
        _ = try await bench.client.command(key: "x", ["FLUSHALL"])
        _ = try await bench.repair(queue)
        try await eventually("the committed ones are there again") { try await queue.depth().waiting == 20 }
        bytes = try await stored(bench)
        #expect(bytes.firstRange(of: Array("niemanden".utf8)) == nil)
        try await bench.outbox.enqueueEphemeral([ephemeral], tenant: bench.tenants[1])
        bench.start(
            bench.worker(
                registry: registry { job, _ in #expect(job.word == Self.word) }))
        try await bench.expectOnce(0..<21)
        try await bench.stop()
    }

    @Test("a tenant's lost or foreign key holds up nobody: what its jobs carry is read in the database")
    func foreignKey() async throws {
        let bench = try await QueueBench()
        let owner = bench.test.pool(role: "postgres")
        // As a process with another secret would have made it.
        let other = TenantKeyring(
            database: bench.database,
            vault: SecretVault(secret: Array(repeating: 9, count: 32), purpose: TenantKeyring.purpose))
        _ = try await other.key(of: bench.tenants[0])
        bench.start(bench.outbox)
        let queue = RedisQueue(name: SecretJob.queue, redis: bench.client)
        _ = try await bench.repair(queue)
        try await enqueue(bench, 0..<5, tenant: bench.tenants[0])
        try await enqueue(bench, 5..<10, tenant: bench.tenants[1])
        try await eventually("all are in Redis") { try await queue.depth().waiting == 10 }
        let bytes = try await stored(bench)
        #expect(bytes.firstRange(of: Array("niemanden".utf8)) == nil)
        // And one that was sealed before its key was erased.
        _ = try await owner.query(tenant: nil, Statement("delete from platform.tenant_key where tenant_id = 2"))
        bench.keyring.forget()
        bench.start(bench.worker(registry: registry { job, _ in #expect(job.word == Self.word) }))
        try await bench.expectOnce(0..<10)
        await #expect(throws: ForeignTenantKey.self) {
            let ephemeral = PendingJob(
                name: SecretJob.name, queue: SecretJob.queue, payload: Array("{}".utf8),
                options: JobOptions().with { $0.durability = .ephemeral })
            try await bench.outbox.enqueueEphemeral([ephemeral], tenant: bench.tenants[0])
        }
        owner.close()
        try await bench.stop()
    }

    @Test("an erased tenant's key is gone, and with it what it sealed; no service reads another tenant's")
    func erasure() async throws {
        let bench = try await QueueBench()
        let (mine, other) = (bench.tenants[0], bench.tenants[1])
        let job = UUID.v7()
        let sealed = try await bench.keyring.key(of: mine).seal(Array(Self.word.utf8), for: job)
        #expect(sealed.count == Self.word.utf8.count + TenantKey.overhead)
        #expect(try await bench.keyring.key(of: mine).open(sealed, for: job) == Array(Self.word.utf8))
        #expect(try await bench.keyring.key(of: mine).open(sealed, for: .v7()) == nil, "it is that job's alone")
        #expect(try await bench.keyring.key(of: other).open(sealed, for: job) == nil)
        var bent = sealed
        bent[sealed.count / 2] ^= 1
        #expect(try await bench.keyring.key(of: mine).open(bent, for: job) == nil)
        for short in 0..<TenantKey.overhead {
            #expect(try await bench.keyring.key(of: mine).open(Array(sealed.prefix(short)), for: job) == nil)
        }
        let rows = try await bench.database.query(
            tenant: other, Statement("select tenant_id from platform.tenant_key"), readOnly: true)
        #expect((0..<rows.count).map { rows.text($0, 0) } == ["2"])

        // The bench's own table is none of the schema's: it has no key.
        let admin = bench.test.pool(role: "postgres")
        _ = try await admin.query(tenant: nil, Statement("drop table contacts.effect"))
        admin.close()
        let owner = bench.test.pool(role: "guanxi_owner")
        _ = try await TenantErasure(owner: owner).erase(mine, slug: "one-one")
        bench.keyring.forget()
        // There is no key to open it with any more, and none is made for a tenant that is gone.
        await #expect(throws: DatabaseError.self) { _ = try await bench.keyring.key(of: mine) }
        owner.close()
    }
}

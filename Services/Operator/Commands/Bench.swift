import ArgumentParser
import Database
import Foundation
import Jobs
import Redis

/// What this machine's way to Redis and PostgreSQL allows. It writes to a queue of its own, which is gone at its end, and
/// to no table.
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measures Redis, PostgreSQL and the queue from here, without touching anything of a tenant.",
        discussion: """
            A few seconds at full speed on a queue of its own: on a busy installation everybody feels it.

            Examples:
              guanxi bench
              guanxi bench --jobs 200000 --json
            """)
    @Option(help: "How many jobs to push and take, 1,000 to 1,000,000.") var jobs = 50_000
    @Option(help: "Bytes of each job's payload, 0 to 4,000.") var payload = 100
    @Flag(help: "Answer in JSON.") var json = false

    func validate() throws {
        guard (1000...1_000_000).contains(jobs) else { throw ValidationError("--jobs: 1,000 to 1,000,000") }
        guard (0...4000).contains(payload) else { throw ValidationError("--payload: 0 to 4,000 bytes") }
    }

    /// One figure of the table.
    struct Figure: Encodable {
        let name: String
        let value: Double
        let unit: String
    }

    func run() async throws {
        try await operating { session in
            var figures = try await roundTrips("Redis, a round trip", 2000) {
                _ = try await session.redis.command(key: "gx", ["PING"])
            }
            figures += try await roundTrips("PostgreSQL, a round trip", 500) {
                _ = try await session.owner.query(tenant: nil, Statement("select 1"), readOnly: true)
            }
            // A message for nobody: all of a commit, its flush too, and no row.
            figures += try await roundTrips("PostgreSQL, a commit on disk", 100) {
                _ = try await session.owner.query(
                    tenant: nil, Statement("select pg_logical_emit_message(true, 'guanxi.bench', 'x')"))
            }
            figures += try await queue(session.redis)
            if json { return try printOperatorJSON(figures) }
            printTable(
                ["WHAT", "VALUE", "UNIT"],
                figures.map { [$0.name, String(format: $0.value < 10 ? "%.3f" : "%.0f", $0.value), $0.unit] })
        }
    }

    private func roundTrips(_ name: String, _ count: Int, _ body: () async throws -> Void) async throws -> [Figure] {
        var took: [Double] = []
        // The first ones open connections and load what is not there yet.
        for turn in 0..<(count + 10) {
            let start = ContinuousClock.now
            try await body()
            if turn >= 10 { took.append((.now - start) / .milliseconds(1)) }
        }
        took.sort()
        return [
            Figure(name: "\(name), p50", value: took[count / 2], unit: "ms"),
            Figure(name: "\(name), p99", value: took[count * 99 / 100], unit: "ms"),
        ]
    }

    /// Pushes jobs of eight tenants in calls of 500, and takes and acknowledges them 32 at a time, as a worker does.
    private func queue(_ redis: RedisClient) async throws -> [Figure] {
        let queue = RedisQueue(name: "bench.\(UUID.v7().lowercased)", redis: redis, shards: 1)
        let worker = "bench"
        let body = [UInt8](repeating: UInt8(ascii: "x"), count: payload)
        do {
            try await queue.setEpoch(1)
            try await queue.register(worker: worker, lease: .seconds(600))
            var start = ContinuousClock.now
            for first in stride(from: 0, to: jobs, by: 500) {
                let tenant = TenantID(Int64(1 + first / 500 % 8))
                let envelopes = (first..<min(first + 500, jobs)).map { _ in
                    JobEnvelope(
                        PendingJob(
                            name: "bench", queue: queue.name, payload: body,
                            options: JobOptions().with { $0.durability = .ephemeral }),
                        tenant: tenant, origin: "bench")
                }
                try await queue.enqueue(envelopes.map { ($0, runAt: nil) }, window: 0)
            }
            let pushed = (.now - start) / .seconds(1)
            start = .now
            var ended: [RedisQueue.Acknowledgement] = []
            var taken = 0
            repeat {
                let fetched = try await queue.exchange(worker: worker, epoch: 1, wanted: 32, acknowledging: ended)
                ended = fetched.jobs.map { RedisQueue.Acknowledgement($0, .done, measured: 0.1) }
                taken += ended.count
            } while !ended.isEmpty
            let drained = (.now - start) / .seconds(1)
            try await queue.leave(worker: worker)
            try await queue.remove()
            guard taken == jobs else {
                throw OperatorRefusal("jobs_lost", "\(taken) of \(jobs) jobs came back: Redis has lost the others")
            }
            return [
                Figure(name: "queue, jobs pushed in bulk", value: Double(jobs) / pushed, unit: "jobs/s"),
                Figure(name: "queue, jobs taken and acknowledged", value: Double(jobs) / drained, unit: "jobs/s"),
            ]
        } catch {
            // What it could not take away itself would lie there for ever.
            try? await queue.remove(tenants: (1...8).map { TenantID($0) }, workers: [worker])
            throw error
        }
    }
}

import Foundation
import Redis
import TestSupport

@testable import Jobs

/// Plays many schedules at a time over one Redis of their own.
struct Schedules: Sendable {
    /// A schedule that went wrong.
    struct Failure: Sendable, CustomStringConvertible {
        let seed: UInt64
        let problems: [String]
        var description: String { "seed \(seed): \(problems.joined(separator: "; "))" }
    }

    private let server: TestRedis
    private let client: RedisClient
    private let mutation: Mutation?
    private let scripts: SimulatedScripts

    init(_ server: TestRedis, mutation: Mutation? = nil) throws {
        self.server = server
        self.mutation = mutation
        client = try server.client()
        scripts = SimulatedScripts(mutation)
    }

    /// A server whose answers depend on nothing but what it was told: hashes keep the order of insertion.
    static func server() async throws -> TestRedis {
        try await TestRedis([
            "--hash-max-listpack-entries", "4096", "--hash-max-listpack-value", "4096",
            "--zset-max-listpack-entries", "4096",
        ])
    }

    /// Plays one schedule and prints each of its steps.
    func replay(_ seed: UInt64) async throws -> Failure? {
        let simulation = Simulation(seed: seed, client: client, scripts: scripts, mutation: mutation, isTraced: true)
        let problems = try await simulation.play()
        for line in await simulation.trace { print(line) }
        return problems.isEmpty ? nil : Failure(seed: seed, problems: problems)
    }

    /// Plays the schedules of all `seeds`, or until `limit` of them went wrong.
    func play(_ seeds: Range<UInt64>, until limit: Int = .max) async throws -> [Failure] {
        defer { client.close() }
        return try await withThrowingTaskGroup(of: Failure?.self) { group in
            var failures: [Failure] = []
            var next = seeds.lowerBound
            func add() {
                guard next < seeds.upperBound else { return }
                let seed = next
                next += 1
                group.addTask { try await self.play(seed) }
            }
            for _ in 0..<48 { add() }
            while let result = try await group.next() {
                if let result { failures.append(result) }
                if failures.count < limit { add() }
            }
            return failures.sorted { $0.seed < $1.seed }
        }
    }

    private func play(_ seed: UInt64) async throws -> Failure? {
        let simulation = Simulation(seed: seed, client: client, scripts: scripts, mutation: mutation)
        let problems = try await simulation.play()
        return problems.isEmpty ? nil : Failure(seed: seed, problems: problems)
    }
}

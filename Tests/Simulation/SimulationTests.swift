import Foundation
import Testing

@Suite("Simulation", .serialized)
struct SimulationTests {
    /// How many schedules: `GUANXI_SEEDS` for a longer run.
    static let count = number("GUANXI_SEEDS") ?? 10_000
    /// One schedule to play again, with each of its steps printed.
    static let seed = number("GUANXI_SEED")

    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    @Test("whatever goes wrong, every committed job runs to one end, and caps, rates and fairness hold meanwhile")
    func schedules() async throws {
        let server = try await Schedules.server()
        let schedules = try Schedules(server)
        if let seed = Self.seed {
            let failure = try await schedules.replay(seed)
            #expect(failure == nil, "\(failure!)")
            return
        }
        let failures = try await schedules.play(0..<Self.count, until: 10)
        #expect(
            failures.isEmpty,
            "play one again with GUANXI_SEED=…\n\(failures.map(\.description).joined(separator: "\n"))")
    }

    @Test("a fault that is put into the code is found", arguments: Mutation.all)
    func mutations(_ mutation: Mutation) async throws {
        let server = try await Schedules.server()
        let failures = try await Schedules(server, mutation: mutation).play(0..<400, until: 1)
        #expect(!failures.isEmpty, "nothing noticed in 400 schedules that \(mutation)")
    }
}

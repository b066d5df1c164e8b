import Foundation
import Testing

@Suite("Simulation", .serialized)
struct SimulationTests {
    /// Which schedules: `GUANXI_SCHEDULES=10000..<500000` plays others than each run of the tests.
    static let seeds: Range<UInt64> = {
        guard let text = ProcessInfo.processInfo.environment["GUANXI_SCHEDULES"] else { return 0..<10_000 }
        let bounds = text.split(separator: "..<").map { UInt64($0) }
        guard bounds.count == 2, let first = bounds[0], let end = bounds[1], first < end else {
            fatalError("GUANXI_SCHEDULES is a range such as 10000..<500000, not \(text)")
        }
        return first..<end
    }()
    /// One schedule to play again, with each of its steps printed.
    static let seed = ProcessInfo.processInfo.environment["GUANXI_SEED"].flatMap { UInt64($0) }

    @Test("whatever goes wrong, every committed job runs to one end, and caps, rates and fairness hold meanwhile")
    func schedules() async throws {
        let server = try await Schedules.server()
        let schedules = try Schedules(server)
        if let seed = Self.seed {
            let failure = try await schedules.replay(seed)
            #expect(failure == nil, "\(failure!)")
            return
        }
        let failures = try await schedules.play(Self.seeds, until: 10)
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

import Foundation
import Redis
import Synchronization

@testable import Jobs

/// The real Redis with a clock that the schedule sets, and a way to it that breaks where the schedule says.
///
/// The scripts' one line that reads the time reads their second key instead, which carries it.
final class SimulatedRedis: ScriptRunner {
    /// What happens to a call on its way.
    enum Fault: Equatable {
        /// It never leaves.
        case notSent
        /// The script runs, and nobody hears of it.
        case replyLost
        /// The caller gives up, and the script runs later.
        case late
    }

    private struct Call {
        let script: RedisScript
        let keys: [String]
        let arguments: [RedisArgument]
    }

    private struct State {
        var now = 0
        var isDown = false
        var fault: Fault?
        var late: [Call] = []
        var calls = 0
    }

    private let client: RedisClient
    private let scripts: SimulatedScripts
    private let state = Mutex(State())

    init(_ client: RedisClient, scripts: SimulatedScripts) {
        self.client = client
        self.scripts = scripts
    }

    var calls: Int { state.withLock { $0.calls } }
    var hasLateCalls: Bool { state.withLock { !$0.late.isEmpty } }

    /// Sets the server's time, ms since 1970, and what becomes of the next call.
    func prepare(now: Int, fault: Fault?, isDown: Bool) {
        state.withLock { state in
            state.now = now
            state.fault = fault
            state.isDown = isDown
        }
    }

    func run(
        _ script: RedisScript, keys: [String], _ arguments: [RedisArgument]
    ) async throws(RedisError) -> RedisValue {
        let call = Call(script: scripts.simulated(script), keys: keys, arguments: arguments)
        let fault: Fault? = state.withLock { state in
            defer { state.fault = nil }
            if state.isDown { return .notSent }
            if state.fault == .late { state.late.append(call) }
            return state.fault
        }
        switch fault {
        case .notSent: throw RedisError(code: .notConnected, message: "not sent")
        case .late: throw RedisError(code: .interrupted, message: "on its way still")
        case .replyLost:
            _ = try await perform(call)
            throw RedisError(code: .interrupted, message: "the reply was lost")
        case nil: return try await perform(call)
        }
    }

    func run(
        _ script: RedisScript, keys: [String], calls: [[RedisArgument]]
    ) async throws(RedisError) -> [RedisValue] {
        var replies: [RedisValue] = []
        for call in calls { replies.append(try await run(script, keys: keys, call)) }
        return replies
    }

    /// Runs a script on the way that nothing breaks.
    func look(_ script: RedisScript, key: String, _ arguments: [RedisArgument]) async throws(RedisError) -> RedisValue {
        try await client.run(script, keys: [key], arguments)
    }

    func command(_ arguments: [RedisArgument]) async throws(RedisError) -> RedisValue {
        try await client.command(key: "", arguments)
    }

    /// The oldest late call arrives.
    func deliverLate() async throws(RedisError) {
        let call = state.withLock { $0.late.isEmpty ? nil : $0.late.removeFirst() }
        if let call { _ = try await perform(call) }
    }

    private func perform(_ call: Call) async throws(RedisError) -> RedisValue {
        let now = state.withLock { state in
            state.calls += 1
            return state.now
        }
        return try await client.run(call.script, keys: call.keys + [String(now)], call.arguments)
    }
}

/// The queue's scripts with the simulated clock in them, and with a fault of ours where the checks are to be checked.
final class SimulatedScripts: Sendable {
    private let mutation: Mutation?
    private let known = Mutex<[String: RedisScript]>([:])
    private static let clock =
        "local time = {math.floor(tonumber(KEYS[2]) / 1000), tonumber(KEYS[2]) % 1000 * 1000}"

    init(_ mutation: Mutation? = nil) { self.mutation = mutation }

    func simulated(_ script: RedisScript) -> RedisScript {
        known.withLock { known in
            if let simulated = known[script.source] { return simulated }
            var source = script.source.replacingOccurrences(of: QueueScripts.clock, with: Self.clock)
            precondition(source != script.source, "a script reads no clock: its time can't be simulated")
            if case .script(let from, let to) = mutation?.change {
                source = source.replacingOccurrences(of: from, with: to)
            }
            let simulated = RedisScript(source)
            known[script.source] = simulated
            return simulated
        }
    }
}

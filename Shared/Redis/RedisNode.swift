import Synchronization
import ThreadExecutor

/// A connection with its thread: commands of concurrent callers travel in one pipeline.
///
/// A caller who finds the connection at rest speaks for itself, on its own thread: to wake another, and be woken by it,
/// costs more than most commands do. It waits no longer than `patience`, so that no thread of Swift's pool is held up by
/// a slow command; the connection's own thread then collects the reply.
final class RedisNode: Sendable {
    private typealias Caller<Answer> = CheckedContinuation<Result<Answer, RedisError>, Never>

    private enum Request: Sendable {
        case command([RedisArgument], Caller<RedisValue>)
        /// Commands that one caller sends in this order.
        case commands([[RedisArgument]], Caller<[RedisValue]>)
        /// The reply to a command that its caller has sent.
        case reply(Caller<RedisValue>)

        func fail(_ error: RedisError) {
            switch self {
            case .command(_, let caller), .reply(let caller): caller.resume(returning: .failure(error))
            case .commands(_, let caller): caller.resume(returning: .failure(error))
            }
        }
    }

    /// What whoever speaks holds.
    private struct Line {
        let connection: RedisConnection
        var backoff = ReconnectBackoff()
        /// A command was sent by its caller, and its reply not read yet.
        var isOwed = false
        /// The reply that was read before its caller asked for it.
        var collected: Result<RedisValue, RedisError>?
        /// How many callers need not try to speak for themselves: the last one's command took long.
        var discouraged = 0
    }

    private enum Attempt: Sendable {
        case answered(RedisValue)
        case failed(RedisError)
        case underWay
        case notTried
    }

    /// How long a caller waits on its own thread, in milliseconds: several times what a short script takes.
    private static let patience: Int32 = 1
    /// Commands with more arguments than this are long ones.
    private static let shortCommand = 24

    private let requests = BlockingQueue<Request>()
    private let line: Mutex<Line>

    /// - Parameter locate: gives the server to talk to, asked before each (re)connection. It may block.
    init(password: String?, timeout: Double, locate: @escaping @Sendable () throws(RedisError) -> RedisAddress) {
        line = Mutex(Line(connection: RedisConnection(password: password, timeout: timeout)))
        OSThread.start { [self] in
            while true {
                let batch = requests.take(upTo: 256)
                if batch.isEmpty { break }
                line.withLock { Self.serve(batch, &$0, locate) }
            }
            line.withLock { $0.connection.close() }
        }
    }

    private static func serve(
        _ batch: [Request], _ line: inout Line, _ locate: () throws(RedisError) -> RedisAddress
    ) {
        let connection = line.connection
        if line.isOwed {
            line.isOwed = false
            line.collected = Result { () throws(RedisError) in try connection.reply() }
        }
        var commands: [[RedisArgument]] = []
        var waiting: [Request] = []
        for request in batch {
            switch request {
            case .command(let command, _): commands.append(command)
            case .commands(let several, _): commands += several
            case .reply(let caller):
                caller.resume(returning: line.collected!)
                line.collected = nil
                continue
            }
            waiting.append(request)
        }
        if commands.isEmpty { return }
        do {
            if !connection.isConnected {
                try line.backoff.check()
                try connection.connect(to: locate())
            }
            line.backoff.reset()
        } catch {
            line.backoff.failed()
            for request in waiting { request.fail(error) }
            return
        }
        do {
            let replies = try connection.roundTrip(commands)
            var rest = replies[...]
            for request in waiting {
                switch request {
                case .command(_, let caller): caller.resume(returning: .success(rest.removeFirst()))
                case .commands(let several, let caller):
                    caller.resume(returning: .success(Array(rest.prefix(several.count))))
                    rest.removeFirst(several.count)
                case .reply: break
                }
            }
            // A replica that was master a moment ago, or a master that is going: ask again where to go.
            if replies.contains(where: { $0.isFailover }) { connection.close() }
        } catch {
            for request in waiting { request.fail(error) }
        }
    }

    func send(_ command: [RedisArgument]) async throws(RedisError) -> RedisValue {
        switch attempt(command) {
        case .answered(let reply): return reply
        case .failed(let error): throw error
        case .underWay:
            return try await ask { .reply($0) }
        case .notTried:
            return try await ask { .command(command, $0) }
        }
    }

    /// Sends commands one after the other without waiting in between. An error says nothing of how many were executed.
    func send(_ commands: [[RedisArgument]]) async throws(RedisError) -> [RedisValue] {
        commands.isEmpty ? [] : try await ask { .commands(commands, $0) }
    }

    /// Speaks on the caller's own thread if nobody else does.
    private func attempt(_ command: [RedisArgument]) -> Attempt {
        if command.count > Self.shortCommand || requests.count > 0 { return .notTried }
        let attempt = line.withLockIfAvailable { line -> Attempt in
            guard line.connection.isConnected, !line.isOwed, line.collected == nil else { return .notTried }
            guard line.discouraged == 0 else {
                line.discouraged -= 1
                return .notTried
            }
            do throws(RedisError) {
                try line.connection.send([command])
                guard let reply = try line.connection.reply(within: Self.patience) else {
                    line.isOwed = true
                    line.discouraged = 16
                    return .underWay
                }
                if reply.isFailover { line.connection.close() }
                return .answered(reply)
            } catch {
                return .failed(error)
            }
        }
        return attempt ?? .notTried
    }

    private func ask<Answer>(_ request: (Caller<Answer>) -> Request) async throws(RedisError) -> Answer {
        let result: Result<Answer, RedisError> = await withCheckedContinuation { caller in
            let request = request(caller)
            if !requests.push(request) { request.fail(RedisError(code: .closed, message: "the client is closed")) }
        }
        return try result.get()
    }

    func close() { requests.close() }
}

extension RedisValue {
    fileprivate var isFailover: Bool {
        guard case .error(let message) = self else { return false }
        return message.hasPrefix("READONLY") || message.hasPrefix("LOADING") || message.hasPrefix("MASTERDOWN")
    }
}

/// Keeps a client from hammering a server that is down: 10 ms after the first failure, doubling up to half a second,
/// during which callers are told at once.
struct ReconnectBackoff {
    private var failures = 0
    private var blockedUntil = ContinuousClock.now

    func check() throws(RedisError) {
        if failures > 0 && ContinuousClock.now < blockedUntil {
            throw RedisError(code: .notConnected, message: "waiting before the next attempt to connect")
        }
    }

    mutating func failed() {
        if ContinuousClock.now < blockedUntil { return }
        failures = min(failures + 1, 7)
        blockedUntil = .now + .milliseconds(min(500, 5 << failures))
    }

    mutating func reset() { failures = 0 }
}

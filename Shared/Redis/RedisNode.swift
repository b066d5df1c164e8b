import Synchronization
import ThreadExecutor

/// A command on its way: its arguments and who waits for the answer.
struct RedisRequest: Sendable {
    let command: [RedisArgument]
    let reply: CheckedContinuation<Result<RedisValue, RedisError>, Never>
}

/// A connection with its thread: commands of concurrent callers travel in one pipeline.
///
/// A caller who finds the connection at rest speaks for itself, on its own thread: to wake another, and be woken by it,
/// costs more than most commands do. It waits no longer than `patience`, so that no thread of Swift's pool is held up by
/// a slow command; the connection's own thread then collects the reply.
final class RedisNode: Sendable {
    private enum Request: Sendable {
        case command(RedisRequest)
        /// The reply to a command that its caller has sent.
        case reply(CheckedContinuation<Result<RedisValue, RedisError>, Never>)
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
        var commands: [RedisRequest] = []
        for request in batch {
            switch request {
            case .command(let command): commands.append(command)
            case .reply(let caller):
                caller.resume(returning: line.collected!)
                line.collected = nil
            }
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
            for request in commands { request.reply.resume(returning: .failure(error)) }
            return
        }
        do {
            let replies = try connection.roundTrip(commands.map(\.command))
            for (request, reply) in zip(commands, replies) { request.reply.resume(returning: .success(reply)) }
            // A replica that was master a moment ago, or a master that is going: ask again where to go.
            if replies.contains(where: { $0.isFailover }) { connection.close() }
        } catch {
            for request in commands { request.reply.resume(returning: .failure(error)) }
        }
    }

    func send(_ command: [RedisArgument]) async throws(RedisError) -> RedisValue {
        switch attempt(command) {
        case .answered(let reply): return reply
        case .failed(let error): throw error
        case .underWay:
            return try await ask { .reply($0) }
        case .notTried:
            return try await ask { .command(RedisRequest(command: command, reply: $0)) }
        }
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

    private func ask(
        _ request: (CheckedContinuation<Result<RedisValue, RedisError>, Never>) -> Request
    ) async throws(RedisError) -> RedisValue {
        let result: Result<RedisValue, RedisError> = await withCheckedContinuation { continuation in
            if !requests.push(request(continuation)) {
                continuation.resume(returning: .failure(RedisError(code: .closed, message: "the client is closed")))
            }
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

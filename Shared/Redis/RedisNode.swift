import Synchronization
import ThreadExecutor

/// A command on its way: its arguments and who waits for the answer.
struct RedisRequest: Sendable {
    let command: [RedisArgument]
    let reply: CheckedContinuation<Result<RedisValue, RedisError>, Never>
}

/// A connection with its thread: commands of concurrent callers travel in one pipeline.
final class RedisNode: Sendable {
    private let requests = BlockingQueue<RedisRequest>()

    /// - Parameter locate: gives the server to talk to, asked before each (re)connection. It may block.
    init(password: String?, timeout: Double, locate: @escaping @Sendable () throws(RedisError) -> RedisAddress) {
        OSThread.start { [requests] in
            let connection = RedisConnection(password: password, timeout: timeout)
            var backoff = ReconnectBackoff()
            while true {
                let batch = requests.take(upTo: 256)
                if batch.isEmpty { break }
                Self.serve(batch, connection, &backoff, locate)
            }
            connection.close()
        }
    }

    private static func serve(
        _ batch: [RedisRequest], _ connection: RedisConnection, _ backoff: inout ReconnectBackoff,
        _ locate: () throws(RedisError) -> RedisAddress
    ) {
        do {
            if !connection.isConnected {
                try backoff.check()
                try connection.connect(to: locate())
            }
            backoff.reset()
        } catch {
            backoff.failed()
            for request in batch { request.reply.resume(returning: .failure(error)) }
            return
        }
        do {
            let replies = try connection.roundTrip(batch.map(\.command))
            for (request, reply) in zip(batch, replies) { request.reply.resume(returning: .success(reply)) }
            // A replica that was master a moment ago, or a master that is going: ask again where to go.
            if replies.contains(where: { $0.isFailover }) { connection.close() }
        } catch {
            for request in batch { request.reply.resume(returning: .failure(error)) }
        }
    }

    func send(_ command: [RedisArgument]) async throws(RedisError) -> RedisValue {
        let result: Result<RedisValue, RedisError> = await withCheckedContinuation { continuation in
            if !requests.push(RedisRequest(command: command, reply: continuation)) {
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

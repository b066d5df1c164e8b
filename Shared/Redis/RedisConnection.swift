import CHiredis

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// One hiredis context. Not `Sendable`: it belongs to whoever speaks, one at a time.
///
/// hiredis forbids further use of a context that has errored, so it is thrown away at the first error and the next
/// command opens a new one.
final class RedisConnection {
    private let password: String?
    private let timeout: Double
    private var context: UnsafeMutablePointer<redisContext>?
    private(set) var address: RedisAddress?
    /// For how many more replies it is not worth staying awake.
    private var drowsy = 0
    /// What a short script takes.
    private static let wakefulness = Duration.microseconds(60)

    /// - Parameter timeout: seconds that any one reply may take before the connection is given up.
    init(password: String?, timeout: Double) {
        self.password = password
        self.timeout = timeout
    }

    deinit { close() }

    var isConnected: Bool { context != nil }

    /// The socket, for `shutdown` from another thread; -1 when there is none.
    var descriptor: Int32 { context?.pointee.fd ?? -1 }

    func connect(to target: RedisAddress) throws(RedisError) {
        if context != nil && address == target { return }
        close()
        guard let opened = redisConnectWithTimeout(target.host, Int32(target.port), Self.interval(2)) else {
            throw RedisError(code: .notConnected, message: "out of memory")
        }
        guard opened.pointee.err == 0 else {
            let message = Self.message(of: opened)
            redisFree(opened)
            throw RedisError(code: .notConnected, message: "\(target): \(message)")
        }
        redisSetTimeout(opened, Self.interval(timeout))
        redisEnableKeepAlive(opened)
        context = opened
        address = target
        if let password {
            let reply = try roundTrip([["AUTH", .text(password)]])[0]
            if case .error(let message) = reply {
                close()
                throw RedisError(code: .notConnected, message: "\(target): \(message)")
            }
        }
    }

    func close() {
        if let context { redisFree(context) }
        context = nil
        address = nil
    }

    /// Sends all commands in one go and gives their replies in order. An error means that the connection is closed and
    /// that any of the commands may have been executed.
    func roundTrip(_ commands: [[RedisArgument]]) throws(RedisError) -> [RedisValue] {
        guard let context else { throw RedisError(code: .notConnected, message: "not connected") }
        for command in commands { append(command, to: context) }
        var replies: [RedisValue] = []
        replies.reserveCapacity(commands.count)
        for _ in commands { replies.append(try reply()) }
        return replies
    }

    /// Sends commands whose replies come whenever they come; `received` gives them.
    func send(_ commands: [[RedisArgument]]) throws(RedisError) {
        guard let context else { throw RedisError(code: .notConnected, message: "not connected") }
        for command in commands { append(command, to: context) }
        var isDone: Int32 = 0
        while isDone == 0 {
            guard redisBufferWrite(context, &isDone) == REDIS_OK else { throw broken(context) }
        }
    }

    /// The next reply, for which the connection's own deadline holds.
    func reply() throws(RedisError) -> RedisValue {
        guard let context else { throw RedisError(code: .interrupted, message: "not connected") }
        var reply: UnsafeMutableRawPointer?
        guard redisGetReply(context, &reply) == REDIS_OK, let reply else { throw broken(context) }
        defer { freeReplyObject(reply) }
        return Self.value(of: reply.assumingMemoryBound(to: redisReply.self))
    }

    /// The next reply if it comes within so many milliseconds; nil when it does not, and can be waited for again.
    ///
    /// The thread looks for it again and again before it sleeps, for to wake a core that rests takes longer than a short
    /// script. Where that was in vain, it sleeps at once for the next sixteen: the core is others' meanwhile.
    func reply(within milliseconds: Int32) throws(RedisError) -> RedisValue? {
        guard let context else { throw RedisError(code: .interrupted, message: "not connected") }
        let clock = ContinuousClock.now
        var isAwake = drowsy == 0
        if !isAwake { drowsy -= 1 }
        while true {
            var reply: UnsafeMutableRawPointer?
            guard redisGetReplyFromReader(context, &reply) == REDIS_OK else { throw broken(context) }
            if let reply {
                defer { freeReplyObject(reply) }
                return Self.value(of: reply.assumingMemoryBound(to: redisReply.self))
            }
            let waited = ContinuousClock.now - clock
            if waited >= .milliseconds(milliseconds) { return nil }
            if isAwake && waited > Self.wakefulness { (isAwake, drowsy) = (false, 16) }
            var readable = pollfd(fd: context.pointee.fd, events: Int16(POLLIN), revents: 0)
            if poll(&readable, 1, isAwake ? 0 : milliseconds) == 1 {
                guard redisBufferRead(context) == REDIS_OK else { throw broken(context) }
            } else if isAwake {
                sched_yield()
            }
        }
    }

    /// What has come, once there is something to read: blocks until then.
    func received() throws(RedisError) -> [RedisValue] {
        guard let context else { throw RedisError(code: .notConnected, message: "not connected") }
        guard redisBufferRead(context) == REDIS_OK else { throw broken(context) }
        var values: [RedisValue] = []
        while true {
            var reply: UnsafeMutableRawPointer?
            guard redisGetReplyFromReader(context, &reply) == REDIS_OK else { throw broken(context) }
            guard let reply else { return values }
            values.append(Self.value(of: reply.assumingMemoryBound(to: redisReply.self)))
            freeReplyObject(reply)
        }
    }

    private func broken(_ context: UnsafeMutablePointer<redisContext>) -> RedisError {
        let message = Self.message(of: context)
        close()
        return RedisError(code: .interrupted, message: message)
    }

    private func append(_ command: [RedisArgument], to context: UnsafeMutablePointer<redisContext>) {
        var buffer: [UInt8] = []
        var lengths: [Int] = []
        for argument in command {
            let start = buffer.count
            switch argument {
            case .text(let text): buffer.append(contentsOf: text.utf8)
            case .bytes(let bytes): buffer.append(contentsOf: bytes)
            }
            lengths.append(buffer.count - start)
        }
        buffer.append(0)
        buffer.withUnsafeBytes { bytes in
            var next = bytes.baseAddress!.assumingMemoryBound(to: CChar.self)
            var pointers: [UnsafePointer<CChar>?] = []
            for length in lengths {
                pointers.append(next)
                next += length
            }
            _ = redisAppendCommandArgv(context, Int32(command.count), &pointers, lengths)
        }
    }

    private static func value(of reply: UnsafeMutablePointer<redisReply>) -> RedisValue {
        let pointee = reply.pointee
        func bytes() -> [UInt8] {
            Array(UnsafeRawBufferPointer(start: pointee.str, count: Int(pointee.len)))
        }
        switch pointee.type {
        case REDIS_REPLY_STRING: return .bytes(bytes())
        case REDIS_REPLY_STATUS: return .status(String(decoding: bytes(), as: UTF8.self))
        case REDIS_REPLY_ERROR: return .error(String(decoding: bytes(), as: UTF8.self))
        case REDIS_REPLY_INTEGER: return .integer(Int(pointee.integer))
        case REDIS_REPLY_ARRAY:
            return .array((0..<Int(pointee.elements)).map { value(of: pointee.element[$0]!) })
        default: return .null
        }
    }

    private static func message(of context: UnsafeMutablePointer<redisContext>) -> String {
        let text = withUnsafeBytes(of: &context.pointee.errstr) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        // EAGAIN on a blocking socket is the reply's deadline.
        return text.contains("temporarily unavailable") ? "no reply in time" : text
    }

    private static func interval(_ seconds: Double) -> timeval {
        timeval(tv_sec: Int(seconds), tv_usec: Int((seconds - seconds.rounded(.down)) * 1_000_000))
    }
}

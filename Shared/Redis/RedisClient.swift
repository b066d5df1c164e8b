import Logging
import Synchronization
import ThreadExecutor

/// A Lua script, sent in full once per server and called by its digest from then on.
package struct RedisScript: Sendable {
    package let source: String
    /// What its digest is looked up by: to hash the source for each call costs more than to send the call.
    fileprivate let number: Int

    private static let count = Atomic(0)

    package init(_ source: String) {
        self.source = source
        number = Self.count.add(1, ordering: .relaxed).newValue
    }
}

/// Redis, whatever its topology. Concurrent callers' commands are pipelined by themselves.
///
/// Every reply has a deadline. An error of code `.interrupted` means that a command may have been executed: nothing is
/// tried again behind the caller's back.
package final class RedisClient: Sendable {
    package let topology: RedisTopology
    let password: String?
    private let timeout: Double
    private let logger: Logger
    private let digests = Mutex<[Int: String]>([:])
    private let nodes = Mutex<[RedisAddress: RedisNode]>([:])
    private let slots = Mutex<[RedisAddress?]>([])
    /// The connection that follows the topology's one master; unused in a cluster.
    private let primary: RedisNode?

    /// - Parameters:
    ///   - url: `redis://`, `sentinel://` or `cluster://` (see `RedisTopology`).
    ///   - timeout: seconds that any one reply may take.
    package init(url: String, timeout: Double = 5, logger: Logger) throws {
        guard let topology = RedisTopology(url) else {
            throw RedisError(code: .notConnected, message: "not a Redis address: expected redis://host:port")
        }
        let password = RedisTopology.password(in: url)
        self.topology = topology
        self.password = password
        self.timeout = timeout
        self.logger = logger
        switch topology {
        case .cluster: primary = nil
        default:
            primary = RedisNode(password: password, timeout: timeout) { () throws(RedisError) in
                try Self.master(of: topology, password: password)
            }
        }
    }

    /// Closes every connection; what is under way ends first.
    package func close() {
        primary?.close()
        nodes.withLock { nodes in
            for node in nodes.values { node.close() }
        }
    }

    /// Runs a command that touches keys of one slot; `key` is any of them. An error reply is thrown as `.refused`.
    package func command(key: String, _ arguments: [RedisArgument]) async throws(RedisError) -> RedisValue {
        let reply = try await send(key: key, arguments)
        if case .error(let message) = reply { throw RedisError(code: .refused, message: message) }
        return reply
    }

    /// Runs `script` with keys of one slot. The script is loaded where it is not known, once more after a failover.
    package func run(
        _ script: RedisScript, keys: [String], _ arguments: [RedisArgument]
    ) async throws(RedisError) -> RedisValue {
        let key = keys[0]
        let tail: [RedisArgument] = [.int(keys.count)] + keys.map { .text($0) } + arguments
        for _ in 0..<2 {
            let digest: String
            if let known = digests.withLock({ $0[script.number] }) {
                digest = known
            } else {
                digest = try await load(script, key: key)
            }
            let reply = try await send(key: key, ["EVALSHA", .text(digest)] + tail)
            guard case .error(let message) = reply else { return reply }
            guard message.hasPrefix("NOSCRIPT") else { throw RedisError(code: .refused, message: message) }
            _ = try await load(script, key: key)
        }
        throw RedisError(code: .refused, message: "the script could not be loaded")
    }

    /// Runs `script` with each of `calls`, in this order, and gives the replies. Where the topology has one master, the
    /// calls travel together, so that they cost one wait; between two of them Redis serves others. Throws what the first
    /// that failed said; those after it may have run all the same. A server that forgets the script in their midst, as
    /// after a failover, may run some later than those that follow.
    package func run(
        _ script: RedisScript, keys: [String], calls: [[RedisArgument]]
    ) async throws(RedisError) -> [RedisValue] {
        guard let primary, calls.count > 1, let digest = digests.withLock({ $0[script.number] }) else {
            var replies: [RedisValue] = []
            for call in calls { replies.append(try await run(script, keys: keys, call)) }
            return replies
        }
        let head: [RedisArgument] = ["EVALSHA", .text(digest), .int(keys.count)] + keys.map { .text($0) }
        var replies = try await primary.send(calls.map { head + $0 })
        for position in replies.indices {
            guard case .error(let message) = replies[position] else { continue }
            guard message.hasPrefix("NOSCRIPT") else { throw RedisError(code: .refused, message: message) }
            replies[position] = try await run(script, keys: keys, calls[position])
        }
        return replies
    }

    private func load(_ script: RedisScript, key: String) async throws(RedisError) -> String {
        let reply = try await command(key: key, ["SCRIPT", "LOAD", .text(script.source)])
        guard let digest = reply.text else {
            throw RedisError(code: .refused, message: "SCRIPT LOAD gave no digest")
        }
        digests.withLock { $0[script.number] = digest }
        return digest
    }

    // MARK: Routing

    private func send(key: String, _ arguments: [RedisArgument]) async throws(RedisError) -> RedisValue {
        if let primary { return try await primary.send(arguments) }
        let slot = redisSlot(of: key)
        var attempt = 0
        var target = try await owner(of: slot)
        var isAsking = false
        while true {
            let node = node(at: target)
            if isAsking { _ = try await node.send(["ASKING"]) }
            let reply: RedisValue
            do {
                reply = try await node.send(arguments)
            } catch {
                forgetSlots()
                guard error.code == .notConnected, attempt < 20 else { throw error }
                attempt += 1
                try? await Task.sleep(for: .milliseconds(100))
                target = try await owner(of: slot)
                continue
            }
            guard case .error(let message) = reply, attempt < 20 else { return reply }
            attempt += 1
            isAsking = false
            let words = message.split(separator: " ")
            switch words.first {
            case "MOVED" where words.count == 3:
                guard let moved = RedisAddress(words[2]) else { return reply }
                slots.withLock { if $0.count > slot { $0[slot] = moved } }
                target = moved
            case "ASK" where words.count == 3:
                guard let asked = RedisAddress(words[2]) else { return reply }
                target = asked
                isAsking = true
            case "TRYAGAIN", "CLUSTERDOWN", "LOADING":
                try? await Task.sleep(for: .milliseconds(100))
                forgetSlots()
                target = try await owner(of: slot)
            default:
                return reply
            }
        }
    }

    private func node(at address: RedisAddress) -> RedisNode {
        nodes.withLock { nodes in
            if let node = nodes[address] { return node }
            let node = RedisNode(password: password, timeout: timeout) { () throws(RedisError) in address }
            nodes[address] = node
            return node
        }
    }

    private func forgetSlots() { slots.withLock { $0 = [] } }

    private func owner(of slot: Int) async throws(RedisError) -> RedisAddress {
        if let known = slots.withLock({ $0.isEmpty ? nil : $0[slot] }) { return known }
        guard case .cluster(let seeds) = topology else {
            throw RedisError(code: .notConnected, message: "no cluster")
        }
        var failure = RedisError(code: .notConnected, message: "no node of the cluster answers")
        let known = nodes.withLock { Array($0.keys) }
        for seed in known + seeds.filter({ !known.contains($0) }) {
            do {
                let map = Self.slotMap(try await node(at: seed).send(["CLUSTER", "SLOTS"]), askedAt: seed)
                if let owner = map[slot] {
                    slots.withLock { $0 = map }
                    return owner
                }
            } catch {
                failure = error
            }
        }
        throw failure
    }

    /// CLUSTER SLOTS: a list of (first slot, last slot, [host, port, id], replicas…).
    private static func slotMap(_ reply: RedisValue, askedAt seed: RedisAddress) -> [RedisAddress?] {
        var map = [RedisAddress?](repeating: nil, count: 16_384)
        for range in reply.array ?? [] {
            guard let parts = range.array, parts.count >= 3, let first = parts[0].int, let last = parts[1].int,
                let master = parts[2].array, master.count >= 2, let port = master[1].int,
                first >= 0, last < map.count, first <= last
            else { continue }
            let host = master[0].text.flatMap { $0.isEmpty ? nil : $0 } ?? seed.host
            for slot in first...last { map[slot] = RedisAddress(host: host, port: port) }
        }
        return map
    }

    /// The address of the one master; blocks while sentinels are asked.
    static func master(of topology: RedisTopology, password: String?) throws(RedisError) -> RedisAddress {
        switch topology {
        case .single(let address):
            return address
        case .sentinel(let sentinels, let name):
            var failure = RedisError(code: .notConnected, message: "no sentinel answers")
            for sentinel in sentinels {
                let connection = RedisConnection(password: nil, timeout: 1)
                do {
                    try connection.connect(to: sentinel)
                    let reply = try connection.roundTrip([["SENTINEL", "get-master-addr-by-name", .text(name)]])[0]
                    if let parts = reply.array, parts.count == 2, let host = parts[0].text, let port = parts[1].int {
                        return RedisAddress(host: host, port: port)
                    }
                    failure = RedisError(code: .notConnected, message: "sentinel does not know master \(name)")
                } catch {
                    failure = error
                }
            }
            throw failure
        case .cluster:
            throw RedisError(code: .notConnected, message: "a cluster has no one master")
        }
    }

    /// Where the keys of `key`'s slot live now. For connections that block, which can't share a pipeline.
    func address(for key: String) async throws(RedisError) -> RedisAddress? {
        guard case .cluster = topology else { return nil }
        return try await owner(of: redisSlot(of: key))
    }

    /// A connection of its own for commands that block, on its own thread.
    package func blockingConnection() -> RedisBlockingConnection {
        RedisBlockingConnection(client: self, password: password, timeout: timeout)
    }
}

/// A connection whose commands may block in Redis. One command at a time; others wait their turn.
package final class RedisBlockingConnection: Sendable {
    private struct Request: Sendable {
        let command: [RedisArgument]
        let address: RedisAddress?
        let reply: CheckedContinuation<Result<RedisValue, RedisError>, Never>
    }

    private let client: RedisClient
    private let requests = BlockingQueue<Request>()

    init(client: RedisClient, password: String?, timeout: Double) {
        self.client = client
        let topology = client.topology
        OSThread.start { [requests] in
            let connection = RedisConnection(password: password, timeout: timeout)
            while let request = requests.take(upTo: 1).first {
                let result = Result { () throws(RedisError) -> RedisValue in
                    let target: RedisAddress
                    if let address = request.address {
                        target = address
                    } else {
                        target = try RedisClient.master(of: topology, password: password)
                    }
                    try connection.connect(to: target)
                    return try connection.roundTrip([request.command])[0]
                }
                request.reply.resume(returning: result)
            }
            connection.close()
        }
    }

    /// Waits until one of `keys` (all of one slot) has an element and takes it; nil after `seconds`, which must stay
    /// below the client's reply time-out: a read that times out poisons the connection.
    package func pop(keys: [String], within seconds: Double) async throws(RedisError) -> (key: String, value: [UInt8])?
    {
        let command: [RedisArgument] = ["BLPOP"] + keys.map { .text($0) } + [.text(String(seconds))]
        let address = try await client.address(for: keys[0])
        let result: Result<RedisValue, RedisError> = await withCheckedContinuation { continuation in
            if !requests.push(Request(command: command, address: address, reply: continuation)) {
                continuation.resume(returning: .failure(RedisError(code: .closed, message: "the client is closed")))
            }
        }
        let reply = try result.get()
        if case .error(let message) = reply { throw RedisError(code: .refused, message: message) }
        guard let parts = reply.array, parts.count == 2, let key = parts[0].text, let value = parts[1].bytes else {
            return nil
        }
        return (key, value)
    }

    /// Ends the thread once the command under way has its reply.
    package func close() { requests.close() }
}

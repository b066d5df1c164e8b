import Synchronization
import ThreadExecutor

/// Sends commands at a steady interval from a thread and connections of its own, whatever the rest of the process does.
/// In a cluster it follows MOVED.
package final class RedisPulse: Sendable {
    /// What to send, and who hears the reply (on the pulse's thread: it must not block).
    package final class Beat: Sendable {
        let key: String
        let command: [RedisArgument]
        private let receive: @Sendable (RedisValue) -> Void
        private let heard = Atomic<Bool>(false)

        package init(key: String, command: [RedisArgument], receive: @escaping @Sendable (RedisValue) -> Void) {
            self.key = key
            self.command = command
            self.receive = receive
        }

        var isHeard: Bool { heard.load(ordering: .relaxed) }

        func hear(_ reply: RedisValue) {
            heard.store(true, ordering: .relaxed)
            receive(reply)
        }
    }

    private let requests = BlockingQueue<Void>()
    private let topology: RedisTopology
    private let password: String?
    private let milliseconds: Int

    init(topology: RedisTopology, password: String?, milliseconds: Int) {
        self.topology = topology
        self.password = password
        self.milliseconds = milliseconds
    }

    /// Starts the thread. `beats` gives what to send each time, in a pipeline; nothing skips it.
    package func start(_ beats: @escaping @Sendable () -> [Beat]) {
        OSThread.start { [requests, topology, password, milliseconds] in
            var connections: [RedisAddress: RedisConnection] = [:]
            // Where a key's slot was said to live; another node says where it moved.
            var homes: [String: RedisAddress] = [:]
            while !requests.isClosed {
                _ = requests.take(upTo: 16, within: Double(milliseconds) / 1000)
                let due = requests.isClosed ? [] : beats()
                var failures = 0
                for _ in 0..<3 {
                    var open: [RedisAddress: [Beat]] = [:]
                    do {
                        let usual = try Self.address(topology, password)
                        for beat in due where !beat.isHeard { open[homes[beat.key] ?? usual, default: []].append(beat) }
                    } catch {
                        failures += 1
                    }
                    if open.isEmpty { break }
                    for (address, beats) in open {
                        let connection = connections[address] ?? RedisConnection(password: password, timeout: 2)
                        connections[address] = connection
                        do {
                            try connection.connect(to: address)
                            for (beat, reply) in zip(beats, try connection.roundTrip(beats.map(\.command))) {
                                guard case .error(let message) = reply else {
                                    beat.hear(reply)
                                    continue
                                }
                                failures += 1
                                let words = message.split(separator: " ")
                                homes[beat.key] =
                                    words.first == "MOVED" && words.count == 3 ? RedisAddress(words[2]) : nil
                            }
                        } catch {
                            failures += 1
                            for beat in beats { homes[beat.key] = nil }
                            connections[address] = nil
                            connection.close()
                        }
                    }
                }
                if due.contains(where: { !$0.isHeard }) || (failures > 0 && due.isEmpty) {
                    // A server that is loading says so at once: it is not asked again at once.
                    pause(milliseconds: 100)
                    _ = requests.push(())
                }
            }
            for connection in connections.values { connection.close() }
        }
    }

    /// Ends the pulse's thread.
    package func close() { requests.close() }

    private static func address(_ topology: RedisTopology, _ password: String?) throws(RedisError) -> RedisAddress {
        if case .cluster(let seeds) = topology { return seeds.randomElement()! }
        return try RedisClient.master(of: topology, password: password)
    }
}

extension RedisClient {
    /// A pulse that beats every `milliseconds` once started.
    package func pulse(every milliseconds: Int) -> RedisPulse {
        RedisPulse(topology: topology, password: password, milliseconds: milliseconds)
    }
}

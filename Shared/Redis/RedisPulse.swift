import Synchronization
import ThreadExecutor

/// Sends one command at a steady interval from a thread and connection of its own, whatever the rest of the process
/// does. In a cluster it follows MOVED.
package final class RedisPulse: Sendable {
    /// What to send, and who hears the reply (on the pulse's thread: it must not block).
    package struct Beat: Sendable {
        let key: String
        let command: [RedisArgument]
        let receive: @Sendable (RedisValue) -> Void

        package init(key: String, command: [RedisArgument], receive: @escaping @Sendable (RedisValue) -> Void) {
            self.key = key
            self.command = command
            self.receive = receive
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

    /// Starts the thread. `beat` gives each beat's command, or nil to skip it.
    package func start(_ beat: @escaping @Sendable () -> Beat?) {
        OSThread.start { [requests, topology, password, milliseconds] in
            let connection = RedisConnection(password: password, timeout: 2)
            var moved: RedisAddress?
            while !requests.isClosed {
                _ = requests.take(upTo: 16, within: Double(milliseconds) / 1000)
                guard !requests.isClosed, let beat = beat() else { continue }
                do {
                    try connection.connect(to: moved ?? Self.address(topology, password))
                    let reply = try connection.roundTrip([beat.command])[0]
                    if case .error(let message) = reply {
                        let words = message.split(separator: " ")
                        moved = words.first == "MOVED" && words.count == 3 ? RedisAddress(words[2]) : nil
                        connection.close()
                        // A server that is loading says so at once: it is not asked again at once.
                        if moved == nil { pause(milliseconds: 100) }
                        _ = requests.push(())
                    } else {
                        beat.receive(reply)
                    }
                } catch {
                    moved = nil
                    connection.close()
                    pause(milliseconds: 50)
                    _ = requests.push(())
                }
            }
            connection.close()
        }
    }

    /// Beats at once, besides the interval.
    package func beatNow() { _ = requests.push(()) }

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

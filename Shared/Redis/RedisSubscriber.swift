import Synchronization
import ThreadExecutor

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The system's `close`, which the class's own would hide.
private func shut(_ descriptor: Int32) -> Int32 { close(descriptor) }

/// Hears what is published on Redis channels, on a connection and thread of its own; channels come and go while it runs.
///
/// What is published while the connection is away is lost: whoever must not miss anything looks elsewhere at every
/// `.listening`. In a cluster any node will do, since each passes on what is published at another.
package final class RedisSubscriber: Sendable {
    /// What a subscriber hears.
    package enum Event: Sendable {
        /// From here on everything on the channel is heard: after its first subscription, and after each reconnection.
        case listening(channel: String)
        case message(channel: String, bytes: [UInt8])
    }

    private struct State {
        var wanted: Set<String> = []
        var changes: [(channel: String, isWanted: Bool)] = []
        var isClosed = false
        /// Both ends of the pipe that wakes the thread; gone once it has ended.
        var pipe: (read: Int32, write: Int32)?
    }

    private let state: Mutex<State>
    private let topology: RedisTopology
    private let password: String?
    /// Seconds of silence after which the server is asked for a sign of life, and twice that before it is given up.
    private static let patience = 5.0

    init(
        topology: RedisTopology, password: String?, receive: @escaping @Sendable (Event) -> Void
    ) {
        self.topology = topology
        self.password = password
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0, "no pipe: out of file descriptors")
        // A full pipe means that the thread is awake already: a writer must never wait for it.
        for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
        state = Mutex(State(pipe: (ends[0], ends[1])))
        let reading = ends[0]
        OSThread.start { [self] in
            listen(bell: reading, receive)
            state.withLock { state in
                if let pipe = state.pipe {
                    _ = shut(pipe.read)
                    _ = shut(pipe.write)
                }
                state.pipe = nil
            }
        }
    }

    /// Begins to listen on `channel`; `.listening` says from when on.
    package func subscribe(_ channel: String) { change(channel, isWanted: true) }

    /// Ends listening on `channel`.
    package func unsubscribe(_ channel: String) { change(channel, isWanted: false) }

    /// Ends the thread; nothing is heard any more.
    package func close() {
        state.withLock { state in
            state.isClosed = true
            Self.ring(state)
        }
    }

    private func change(_ channel: String, isWanted: Bool) {
        state.withLock { state in
            let changed = isWanted ? state.wanted.insert(channel).inserted : state.wanted.remove(channel) != nil
            guard changed else { return }
            state.changes.append((channel, isWanted))
            Self.ring(state)
        }
    }

    private static func ring(_ state: State) {
        guard let pipe = state.pipe else { return }
        var byte: UInt8 = 1
        _ = write(pipe.write, &byte, 1)
    }

    private func listen(bell: Int32, _ receive: (Event) -> Void) {
        let connection = RedisConnection(password: password, timeout: 2 * Self.patience)
        var heard = ContinuousClock.now
        while true {
            let (isClosed, wanted, changes) = state.withLock { state in
                defer { state.changes.removeAll() }
                return (state.isClosed, state.wanted, state.changes)
            }
            if isClosed { break }
            do {
                if !connection.isConnected {
                    if wanted.isEmpty {
                        // Nobody listens: no connection is held for it.
                        _ = Self.wait(for: -1, bell: bell, seconds: 60)
                        continue
                    }
                    try connection.connect(to: address())
                    heard = .now
                    try connection.send([["SUBSCRIBE"] + wanted.sorted().map { .text($0) }])
                } else if !changes.isEmpty {
                    try connection.send(
                        changes.map { [$0.isWanted ? "SUBSCRIBE" : "UNSUBSCRIBE", .text($0.channel)] })
                }
                if Self.wait(for: connection.descriptor, bell: bell, seconds: Self.patience) {
                    for value in try connection.received() { Self.tell(value, receive) }
                    heard = .now
                } else if ContinuousClock.now - heard > .seconds(2 * Self.patience) {
                    throw RedisError(code: .interrupted, message: "no sign of life")
                } else if ContinuousClock.now - heard > .seconds(Self.patience / 2) {
                    try connection.send([["PING"]])
                }
            } catch {
                connection.close()
                pause(milliseconds: 100)
            }
        }
        connection.close()
    }

    private static func tell(_ value: RedisValue, _ receive: (Event) -> Void) {
        guard let parts = value.array, parts.count == 3, let kind = parts[0].text, let channel = parts[1].text else {
            return
        }
        switch kind {
        case "message": receive(.message(channel: channel, bytes: parts[2].bytes ?? []))
        case "subscribe": receive(.listening(channel: channel))
        default: return
        }
    }

    /// Waits until something can be read from the server (then true) or the bell rings.
    private static func wait(for descriptor: Int32, bell: Int32, seconds: Double) -> Bool {
        var watched = [
            pollfd(fd: bell, events: Int16(POLLIN), revents: 0),
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
        ]
        _ = poll(&watched, 2, Int32(seconds * 1000))
        if watched[0].revents != 0 {
            var bytes = [UInt8](repeating: 0, count: 256)
            while read(bell, &bytes, bytes.count) == bytes.count {}
        }
        return watched[1].revents != 0
    }

    private func address() throws(RedisError) -> RedisAddress {
        if case .cluster(let seeds) = topology { return seeds.randomElement()! }
        return try RedisClient.master(of: topology, password: password)
    }
}

extension RedisClient {
    /// A subscriber whose `receive` is called on its thread: it must not block.
    package func subscriber(_ receive: @escaping @Sendable (RedisSubscriber.Event) -> Void) -> RedisSubscriber {
        RedisSubscriber(topology: topology, password: password, receive: receive)
    }
}

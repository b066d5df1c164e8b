import Synchronization
import ThreadExecutor

/// A connection with its thread, leased to one transaction at a time.
final class LeasedConnection: Sendable {
    enum Operation: Sendable {
        case run([Statement], continuing: Bool, CheckedContinuation<Result<[Rows], DatabaseError>, Never>)
        /// Work on the connection itself (COPY, scripts), on its thread.
        case perform(@Sendable (Connection) -> Void)
    }

    private let operations = BlockingQueue<Operation>()
    private let canceller = Canceller()
    private let isCancelled = Atomic<Bool>(false)

    init(settings: ConnectionSettings) {
        OSThread.start { [self] in
            let connection = Connection(settings: settings, canceller: canceller)
            while let operation = operations.take(upTo: 1).first {
                switch operation {
                case .run(let statements, let continuing, let continuation):
                    if !continuing { _ = try? connection.connect() }
                    // Cancelled while it waited for its connection: there was nothing yet that the server could cancel.
                    if isCancelled.load(ordering: .acquiring) && statements.first?.sql != "rollback" {
                        continuation.resume(
                            returning: .failure(DatabaseError(code: .cancelled, message: "the task was cancelled")))
                        continue
                    }
                    continuation.resume(returning: connection.run([statements], continuing: continuing)[0])
                case .perform(let body):
                    body(connection)
                }
            }
            connection.close()
        }
    }

    /// - Parameter continuing: the statements belong to a transaction that is open on this connection.
    func run(_ statements: [Statement], continuing: Bool) async throws(DatabaseError) -> [Rows] {
        let result: Result<[Rows], DatabaseError> = await withCheckedContinuation { continuation in
            push(.run(statements, continuing: continuing, continuation)) {
                continuation.resume(returning: .failure($0))
            }
        }
        return try result.get()
    }

    /// Runs `body` on the connection's thread and gives its result.
    func perform<Value: Sendable>(
        _ body: @escaping @Sendable (Connection) -> Result<Value, DatabaseError>
    ) async throws(DatabaseError) -> Value {
        let result: Result<Value, DatabaseError> = await withCheckedContinuation { continuation in
            push(.perform { continuation.resume(returning: body($0)) }) { continuation.resume(returning: .failure($0)) }
        }
        return try result.get()
    }

    private func push(_ operation: Operation, orElse refuse: (DatabaseError) -> Void) {
        if !operations.push(operation) {
            refuse(DatabaseError(code: .unavailable, message: "the database pool is closed"))
        }
    }

    /// Asks the server to give up what this connection is running now.
    func cancelRunning() {
        isCancelled.store(true, ordering: .releasing)
        canceller.cancel()
    }

    /// Makes the connection ready for its next lease.
    func forgetCancellation() { isCancelled.store(false, ordering: .releasing) }

    func close() { operations.close() }
}

/// Hands out leased connections, longest wait first.
final class LeasePool: Sendable {
    private struct State {
        var idle: [LeasedConnection]
        var waiting: [(ticket: Int, CheckedContinuation<LeasedConnection?, Never>)] = []
        var nextTicket = 0
        var isClosed = false
    }

    private let state: Mutex<State>
    private let connections: [LeasedConnection]
    private let timeout: Duration

    init(settings: ConnectionSettings, size: Int, timeout: Duration) {
        let connections = (0..<size).map { _ in LeasedConnection(settings: settings) }
        self.connections = connections
        self.timeout = timeout
        state = Mutex(State(idle: connections))
    }

    /// How many callers wait for a connection now.
    var waiting: Int { state.withLock { $0.waiting.count } }
    var size: Int { connections.count }

    /// A free connection; `.unavailable` when none became free in time.
    func acquire() async throws(DatabaseError) -> LeasedConnection {
        let (free, ticket) = state.withLock { state -> (LeasedConnection?, Int) in
            state.nextTicket += 1
            return (state.isClosed ? nil : state.idle.popLast(), state.nextTicket)
        }
        if let free { return free }
        // Only a caller that must wait pays for the timer.
        let lease = await withTaskGroup(of: LeasedConnection?.self) { group in
            group.addTask { await self.wait(ticket) }
            group.addTask { [timeout] in
                try? await Task.sleep(for: timeout)
                self.giveUp(ticket)
                return nil
            }
            var lease: LeasedConnection?
            if let first = await group.next() { lease = first }
            self.giveUp(ticket)
            group.cancelAll()
            for await other in group where other != nil { lease = other }
            return lease
        }
        guard let lease else {
            throw DatabaseError(code: .unavailable, message: "no database connection became free in \(timeout)")
        }
        return lease
    }

    func release(_ lease: LeasedConnection) {
        lease.forgetCancellation()
        let next = state.withLock { state -> CheckedContinuation<LeasedConnection?, Never>? in
            if state.waiting.isEmpty {
                state.idle.append(lease)
                return nil
            }
            return state.waiting.removeFirst().1
        }
        next?.resume(returning: lease)
    }

    func close() {
        let waiting = state.withLock { state in
            state.isClosed = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for (_, continuation) in waiting { continuation.resume(returning: nil) }
        for connection in connections { connection.close() }
    }

    private func wait(_ ticket: Int) async -> LeasedConnection? {
        await withCheckedContinuation { continuation in
            let immediate = state.withLock { state -> LeasedConnection?? in
                if state.isClosed { return .some(nil) }
                if let free = state.idle.popLast() { return .some(free) }
                state.waiting.append((ticket, continuation))
                return nil
            }
            if let immediate { continuation.resume(returning: immediate) }
        }
    }

    private func giveUp(_ ticket: Int) {
        let abandoned = state.withLock { state -> CheckedContinuation<LeasedConnection?, Never>? in
            guard let index = state.waiting.firstIndex(where: { $0.ticket == ticket }) else { return nil }
            return state.waiting.remove(at: index).1
        }
        abandoned?.resume(returning: nil)
    }
}

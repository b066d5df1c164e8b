import Logging
import Synchronization
import ThreadExecutor

/// A tenant's number inside the platform. Outside, a tenant is known by its slug.
package struct TenantID: Hashable, Sendable, Codable, CustomStringConvertible {
    package let rawValue: Int64

    package init(_ rawValue: Int64) { self.rawValue = rawValue }

    package init(from decoder: any Decoder) throws { rawValue = try decoder.singleValueContainer().decode(Int64.self) }

    /// Writes the number alone.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }

    package var description: String { String(rawValue) }
    /// The parameter to bind where a statement says `tenant_id = $n`.
    package var parameter: Parameter { .int(rawValue) }
}

/// A pool of connections to one PostgreSQL database, each with a thread of its own.
///
/// Two ways in. `batch` is for requests whose statements are known beforehand: they travel in one round trip, several
/// callers' requests share one pipeline, and each is its own transaction. Those that only read have pipelines of their
/// own, where none waits behind a write that waits for a lock. `withTenant` and `withoutTenant` lease a connection for an
/// interactive transaction. Close the pool when done: its threads live until then.
package final class Database: Sendable {
    /// Where and how to connect.
    package let settings: ConnectionSettings
    private let logger: Logger
    private let reads: Pipelines
    private let writes: Pipelines
    private let leases: LeasePool

    /// Starts the pool's threads. Connections are opened when first needed, so a database that is down does not keep a
    /// process from starting.
    ///
    /// - Parameters:
    ///   - pipelined: connections that serve `batch`: so many for what only reads, and as many for the rest. Up to four
    ///     more of each are opened while all of them stand still.
    ///   - interactive: connections that can be leased, and so the number of interactive transactions at one time.
    ///   - leaseTimeout: how long a caller waits for a connection before it is told `.unavailable`.
    package init(
        settings: ConnectionSettings, pipelined: Int = 2, interactive: Int = 8, leaseTimeout: Duration = .seconds(10),
        logger: Logger
    ) {
        self.settings = settings
        self.logger = logger
        reads = Pipelines(settings: settings, size: pipelined)
        writes = Pipelines(settings: settings, size: pipelined)
        leases = LeasePool(settings: settings, size: interactive, timeout: leaseTimeout)
    }

    /// One of the ways in, as it stands now.
    package struct Pool: Sendable {
        package let name: String
        package let connections: Int
        /// Callers for whom no connection is free.
        package let waiting: Int
    }

    /// How busy the connections are.
    package var pools: [Pool] {
        [
            Pool(name: "reading", connections: reads.connections, waiting: reads.waiting),
            Pool(name: "writing", connections: writes.connections, waiting: writes.waiting),
            Pool(name: "interactive", connections: leases.size, waiting: leases.waiting),
        ]
    }

    /// Refuses further requests; what is under way ends first.
    package func close() {
        reads.close()
        writes.close()
        leases.close()
    }

    // MARK: One round trip

    /// Runs `statements` as one transaction in one round trip and gives each one's rows.
    ///
    /// With a `tenant`, row security shows that tenant's rows alone; without one it shows none. Requests that are
    /// `readOnly` may share one transaction with others of the same tenant: none sees or disturbs another. A conflict with another
    /// transaction is tried again up to three times, since nothing of a refused batch remains. After a lost connection
    /// only a batch that is `readOnly` is tried again: whether another one committed can't be known here.
    package func batch(
        tenant: TenantID?, _ statements: [Statement], readOnly: Bool = false
    ) async throws(DatabaseError) -> [Rows] {
        var attempt = 0
        while true {
            let result: Result<[Rows], DatabaseError> = await withCheckedContinuation { continuation in
                let request = BatchRequest(
                    tenant: tenant, statements: statements, isReadOnly: readOnly, reply: continuation)
                if !(readOnly ? reads : writes).push(request) {
                    continuation.resume(
                        returning: .failure(DatabaseError(code: .unavailable, message: "the database pool is closed")))
                }
            }
            switch result {
            case .success(let rows):
                return rows
            case .failure(let error):
                attempt += 1
                let repeatable = error.code == .conflict || (readOnly && error.code == .connectionLost)
                guard repeatable, attempt < 4 else { throw error }
            }
        }
    }

    /// One statement of `batch`.
    package func query(
        tenant: TenantID?, _ statement: Statement, readOnly: Bool = false
    ) async throws(DatabaseError) -> Rows {
        try await batch(tenant: tenant, [statement], readOnly: readOnly)[0]
    }

    static func setTenant(_ tenant: TenantID) -> Statement {
        Statement("select set_config('app.tenant_id', $1, true)", [tenant.parameter])
    }

    // MARK: Interactive transactions

    /// Runs `body` in one transaction that sees this tenant's rows alone, and commits when it returns.
    ///
    /// A thrown error rolls back. `body` may run again, from its start, after a conflict or when the connection was
    /// lost before the commit was sent: it must have no effect but through its transaction; what belongs after the
    /// commit goes into `TenantTransaction.afterCommit`. A lost connection at the commit itself throws
    /// `.connectionLost`: the outcome is unknown then.
    @discardableResult
    package func withTenant<Result: Sendable>(
        _ tenant: TenantID, _ body: @Sendable (TenantTransaction) async throws -> Result
    ) async throws -> Result {
        try await transaction(opening: [Statement("begin"), Self.setTenant(tenant)]) { transaction in
            try await body(TenantTransaction(tenant: tenant, transaction: transaction))
        }
    }

    /// Runs `body` in one transaction with no tenant set: row security shows it no tenant's rows, so only platform
    /// functions and tables without tenants can be reached.
    @discardableResult
    package func withoutTenant<Result: Sendable>(
        _ body: @Sendable (Transaction) async throws -> Result
    ) async throws -> Result {
        try await transaction(opening: [Statement("begin")], body)
    }

    private func transaction<Result: Sendable>(
        opening: [Statement], _ body: @Sendable (Transaction) async throws -> Result
    ) async throws -> Result {
        var attempt = 0
        while true {
            let lease = try await leases.acquire()
            let transaction = Transaction(lease: lease, opening: opening)
            do {
                let result = try await withTaskCancellationHandler {
                    let result = try await body(transaction)
                    try await transaction.commit()
                    return result
                } onCancel: {
                    lease.cancelRunning()
                }
                leases.release(lease)
                for hook in transaction.hooks { await hook() }
                return result
            } catch {
                await transaction.rollback()
                leases.release(lease)
                attempt += 1
                guard let failure = error as? DatabaseError, attempt < 4, !Task.isCancelled else { throw error }
                let isSafe =
                    failure.code == .conflict || (failure.code == .connectionLost && !transaction.commitWasSent)
                guard isSafe else { throw error }
                logger.debug("transaction runs again", metadata: ["cause": "\(failure)", "attempt": "\(attempt)"])
            }
        }
    }

    // MARK: Listening

    /// Starts listening on `channels`, on a connection of its own, until `Listener.close()`.
    ///
    /// `receive` is called on the listener's thread: it must not block. After every (re)connection it is called once
    /// with `.reconnected`: notifications sent in between are lost, so whoever keeps a cache must drop it then.
    package func listen(
        channels: [String], receive: @escaping @Sendable (Listener.Event) -> Void
    ) -> Listener {
        Listener(settings: settings, channels: channels, receive: receive)
    }
}

/// A connection that waits for `NOTIFY` on its own thread.
package final class Listener: Sendable {
    /// What a listener hears.
    package enum Event: Sendable, Equatable {
        case reconnected
        case notification(channel: String, payload: String)
    }

    private let closed = Atomic<Bool>(false)

    init(settings: ConnectionSettings, channels: [String], receive: @escaping @Sendable (Event) -> Void) {
        OSThread.start { [self] in
            let connection = Connection(settings: settings, canceller: Canceller())
            while !closed.load(ordering: .relaxed) {
                do {
                    try connection.connect()
                    for channel in channels { try connection.script("listen \"\(channel)\"") }
                    receive(.reconnected)
                    while !closed.load(ordering: .relaxed) {
                        for (channel, payload) in try connection.notifications(within: 500) {
                            receive(.notification(channel: channel, payload: payload))
                        }
                    }
                } catch {
                    connection.close()
                    pause(milliseconds: 500)
                }
            }
            connection.close()
        }
    }

    /// Ends the listener within half a second.
    package func close() { closed.store(true, ordering: .relaxed) }
}

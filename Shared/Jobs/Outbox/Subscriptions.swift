import Database
import Logging
import Synchronization

/// Which queues hear of which events, as the platform's table says; refreshed when a service subscribes.
package final class Subscriptions: Sendable {
    private let database: Database
    private let logger: Logger
    private let table = Mutex<[String: [Subscriber]]>([:])

    /// A queue that wants an event: for every tenant, or only for those that asked for it.
    struct Subscriber: Sendable {
        let queue: String
        let isByTenant: Bool
    }

    init(database: Database, logger: Logger) {
        self.database = database
        self.logger = logger
    }

    /// The queues that get a job for `event`.
    func subscribers(of event: String) -> [Subscriber] { table.withLock { $0[event] ?? [] } }

    /// The queues that get a job for `event` of every tenant.
    package func queues(for event: String) -> [String] {
        subscribers(of: event).filter { !$0.isByTenant }.map(\.queue)
    }

    /// Reads the table now.
    package func refresh() async throws {
        let rows = try await database.query(
            tenant: nil, Statement("select event, queue, by_tenant from platform.subscriptions()"), readOnly: true)
        var fresh: [String: [Subscriber]] = [:]
        for row in 0..<rows.count {
            fresh[rows.text(row, 0)!, default: []].append(
                Subscriber(queue: rows.text(row, 1)!, isByTenant: rows.bool(row, 2)!))
        }
        table.withLock { $0 = fresh }
    }

    func run() async {
        let signal = Signal()
        let listener = database.listen(channels: ["guanxi_subscriptions"]) { _ in signal.raise() }
        while !Task.isCancelled {
            do { try await refresh() } catch {
                logger.warning("subscriptions could not be read", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .seconds(1))
                continue
            }
            await signal.wait()
        }
        listener.close()
    }
}

import Database
import Foundation
import Logging
import Redis
import Synchronization

/// What a queue needs besides fetching and running: its repair after Redis forgot, its backlog, the tries that were put
/// off, its tenants' shares as PostgreSQL keeps them, and a look at its figures. Every worker has one; locks in
/// PostgreSQL let one of them act.
final class QueueKeeper: Sendable {
    private let queue: RedisQueue
    private let database: Database
    private let reconciler: Reconciler
    private let backlog: Backlog
    private let retries: Retries
    private let metrics: QueueMetrics
    private let logger: Logger
    /// The data set of each shard's Redis, as this keeper knows it. What another one lacks was sent again.
    private let dataSets = Mutex<[Int: String]>([:])
    /// Erased tenants of which this keeper has taken everything out of Redis.
    private let forgotten = Mutex<Set<TenantID>>([])

    init(
        queue: RedisQueue, schema: String, database: Database, seal: PayloadSeal, metrics: QueueMetrics, logger: Logger
    ) {
        self.queue = queue
        self.database = database
        self.metrics = metrics
        self.logger = logger
        reconciler = Reconciler(queue: queue, schema: schema, database: database, seal: seal, logger: logger)
        backlog = Backlog(queue: queue, database: database, seal: seal, logger: logger)
        retries = Retries(queue: queue, database: database, seal: seal)
    }

    /// The epoch to fetch with; never that of an empty Redis, which is 0.
    func epoch() async -> Int { (try? await reconciler.currentEpoch()) ?? -1 }

    /// Brings the queue back if Redis forgot, and gives the epoch to fetch with. Fetching may go on at once: what Redis
    /// lacks is sent again by one of the keepers.
    func repair() async throws -> Int {
        let epoch = try await reconciler.raiseEpoch()
        try await applyShares()
        return epoch
    }

    /// The data set that a shard's Redis has now. Asked before the first fetch, so that another one is known as such.
    func dataSet(of shard: Int) async throws(RedisError) -> String {
        let id = try await queue.dataSet(of: shard)
        dataSets.withLock { if $0[shard] == nil { $0[shard] = id } }
        return id
    }

    /// Looks after the queue until cancelled. `hear` is told of each shard's data set again and again.
    func run(hear: @escaping @Sendable (_ shard: Int, _ dataSet: String) -> Void) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.refillLoop() }
            group.addTask { await self.retryLoop() }
            group.addTask { await self.lookLoop(hear) }
            group.addTask { await self.compareLoop() }
            await group.waitForAll()
        }
    }

    /// Ten times a second while tenants have a backlog, otherwise twice.
    private func refillLoop() async {
        while !Task.isCancelled {
            var tenants: [TenantID] = []
            do {
                tenants = try await backlog.tenants()
                metrics.note(tenantsInBacklog: tenants.count)
                // A window that was drained while it was filled is filled again at once.
                while !Task.isCancelled, try await backlog.refill(tenants) > 0 { tenants = try await backlog.tenants() }
            } catch {
                logger.debug("the backlog could not be looked through", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .milliseconds(tenants.isEmpty ? 500 : 100))
        }
    }

    /// Every second: the tries that were put off until about now.
    private func retryLoop() async {
        while !Task.isCancelled {
            do { _ = try await retries.bringBack() } catch {
                let isOutage = error is RedisError || (error as? DatabaseError)?.isOutage == true
                logger.log(
                    level: isOutage ? .debug : .warning, "tries that were put off wait",
                    metadata: ["queue": "\(queue.name)", "error": "\(error)"])
            }
            try? await Task.sleep(for: .milliseconds(Int.random(in: 900...1100)))
        }
    }

    /// Every two seconds: the figures, an unfinished repair, and whether Redis is still the one we knew.
    private func lookLoop(_ hear: (Int, String) -> Void) async {
        while !Task.isCancelled {
            do {
                metrics.note(try await queue.depth())
                for shard in 0..<queue.shards {
                    let id = try await queue.dataSet(of: shard)
                    // A failover may have lost the last writes, epoch and all: what is missing is sent again.
                    if dataSets.withLock({ $0[shard] ?? id }) != id { try await reconciler.distrust() }
                    dataSets.withLock { $0[shard] = id }
                    hear(shard, id)
                }
                if let count = try await reconciler.recover() {
                    metrics.repairs.increment()
                    logger.notice("queue repaired", metadata: ["jobs": "\(count)"])
                }
            } catch {
                logger.debug("the queue could not be looked at", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .milliseconds(Int.random(in: 1800...2200)))
        }
    }

    /// The slow comparison: whatever no rule foresaw is found within a minute, and what is older than an hour within an
    /// hour. Shares that somebody changed while Redis was away come back too.
    private func compareLoop() async {
        var minutes = 0
        while !Task.isCancelled {
            do {
                try await applyShares()
                metrics.note(plans: try await QueueShares(database: database).plans())
                if minutes > 0 {
                    try await reconciler.resend(
                        olderThan: Date(timeIntervalSinceNow: -60),
                        back: minutes % 60 == 0 ? nil : 3600)
                }
            } catch {
                logger.debug("the queue could not be compared", metadata: ["error": "\(error)"])
            }
            minutes += 1
            try? await Task.sleep(for: .seconds(Int.random(in: 55...65)))
        }
    }

    private func applyShares() async throws {
        let shares = QueueShares(database: database)
        var told: [TenantID: RedisQueue.Share]
        // Who changed one after it was read here may have told Redis before this was: then it is told again.
        repeat {
            told = try await shares.all(in: queue.name)
            try await queue.replaceShares(told)
        } while try await shares.all(in: queue.name) != told
        for tenant in try await shares.erased() where !forgotten.withLock({ $0.contains(tenant) }) {
            _ = try await queue.forget(tenant)
            forgotten.withLock { _ = $0.insert(tenant) }
        }
        while true {
            let isPaused = try await shares.isPaused(queue.name)
            if try await queue.depth().isPaused == isPaused { break }
            try await queue.setPaused(isPaused)
        }
    }
}

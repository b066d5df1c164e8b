import Database
import Foundation
import Logging
import Redis
import ServiceLifecycle
import Spans
import Synchronization

/// Runs the jobs of one queue, up to `concurrency` at a time, until graceful shutdown.
///
/// Its name is unique to this process and queue. When it stops renewing its lease, its jobs go back to the front of
/// their tenants' queues; when it finds its own lease gone, it cancels what it runs, because others run it now.
package final class QueueWorker: Service {
    /// What may be set of a worker.
    package struct Settings: Sendable {
        package var concurrency = 16
        /// How many jobs of one tenant may run at once in all of the queue's workers, unless its own share says
        /// otherwise; 0 for as many as there are.
        package var tenantCap = 0
        /// How long a worker may be silent before its jobs are given to others.
        package var lease: Duration = .seconds(6)
        /// How long running jobs may go on after a graceful shutdown began.
        package var grace: Duration = .seconds(20)
        /// Where runs are told of; nil where nobody traces.
        package var tracer: SpanTracer?

        package init() {}
    }

    package let queue: RedisQueue
    private let registry: JobRegistry
    private let database: Database
    private let logger: Logger
    private let pulse: WorkerPulse
    private let metrics: QueueMetrics
    private let keeper: QueueKeeper
    private let lanes: [ShardLane]
    private let bell: Bell

    package init(
        queue name: String, registry: JobRegistry, outbox: Outbox, database: Database, redis: RedisClient,
        settings: Settings = Settings(), shards: Int? = nil, logger: Logger
    ) {
        let queue = RedisQueue(name: name, redis: redis, shards: shards)
        self.queue = queue
        self.registry = registry
        self.database = database
        var logger = logger
        logger[metadataKey: "queue"] = "\(name)"
        self.logger = logger
        let metrics = QueueMetrics(queue: name)
        self.metrics = metrics
        let keeper = QueueKeeper(
            queue: queue, schema: outbox.schema, database: database, seal: outbox.seal, metrics: metrics,
            logger: logger)
        self.keeper = keeper
        let pulse = WorkerPulse(queue: queue, lease: settings.lease)
        self.pulse = pulse
        let signals = (0..<queue.shards).map { _ in Signal() }
        let slots = WorkerSlots(settings.concurrency, signals: signals)
        let runner = JobRunner(
            registry: registry, outbox: outbox, database: database, queue: name, tracer: settings.tracer, logger: logger
        )
        let bell = Bell(queue: queue, signals: signals)
        self.bell = bell
        lanes = signals.enumerated().map { shard, signal in
            ShardLane(
                shard: shard, queue: queue, settings: settings, runner: runner, keeper: keeper, pulse: pulse,
                slots: slots, bell: bell, changed: signal, metrics: metrics, logger: logger)
        }
    }

    /// Seconds since the last fetch that Redis answered: what liveness is judged by.
    package var secondsSinceFetch: Double { lanes.map(\.secondsSinceFetch).max() ?? 0 }

    /// How many jobs run now.
    package var runningCount: Int { lanes.reduce(0) { $0 + $1.runningCount } }

    /// Works until graceful shutdown: then fetches nothing more, lets jobs end within the grace, and hands the rest back.
    package func run() async throws {
        try await subscribe()
        await withTaskGroup(of: Void.self) { helpers in
            helpers.addTask { await self.bell.run() }
            helpers.addTask { await self.sweepLoop() }
            helpers.addTask { await self.keeper.run { self.lanes[$0].isServed(by: $1) } }
            await withGracefulShutdownHandler {
                await withTaskCancellationHandler {
                    await withTaskGroup(of: Void.self) { group in
                        for lane in lanes { group.addTask { await lane.run() } }
                    }
                } onCancel: {
                    self.stop()
                }
            } onGracefulShutdown: {
                self.stop()
            }
            helpers.cancelAll()
        }
        pulse.close()
        bell.close()
    }

    private func stop() {
        for lane in lanes { lane.stop() }
    }

    private func subscribe() async throws {
        while true {
            do {
                _ = try await database.query(tenant: nil, registry.subscribing(queue.name))
                return
            } catch {
                guard error.isOutage else { throw error }
                logger.warning("waiting for PostgreSQL", metadata: ["error": "\(error)"])
            }
            try await Task.sleep(for: .seconds(1))
        }
    }

    /// Every half second: dead workers' jobs go back, cancelled jobs and those past their time limit are stopped.
    private func sweepLoop() async {
        while !Task.isCancelled {
            metrics.note(fetchAge: secondsSinceFetch)
            for lane in lanes {
                lane.stopOverdue()
                do {
                    let (returned, cancelled) = try await queue.sweep(shard: lane.shard, for: lane.worker)
                    if returned > 0 {
                        metrics.returned.increment(by: returned)
                        logger.notice("a worker is gone, its jobs are back", metadata: ["jobs": "\(returned)"])
                    }
                    if !cancelled.isEmpty { lane.abandon(cancelled) }
                } catch {
                    logger.debug("sweep failed", metadata: ["error": "\(error)"])
                }
            }
            try? await Task.sleep(for: .milliseconds(Int.random(in: 400...600)))
        }
    }
}

import Database
import Foundation
import Logging
import Metrics
import Redis
import ServiceLifecycle
import Synchronization

/// How many workers each queue wants, looked at again and again: what an autoscaler reads, and the gauge
/// `guanxi_queue_wanted_workers`. Each process that watches comes to the same number within a minute, since all measure
/// the same things.
package final class DemandWatch: Service {
    /// What one queue wants.
    package struct QueueDemand: Encodable, Sendable, Equatable {
        package var queue: String
        package var wanted: Int
        package var workers: Int
        /// Jobs that could begin if there were workers enough: not those of a paused queue or of tenants at their limits.
        package var backlog: Int
        package var arrivalPerSecond: Double
        package var meanSeconds: Double
        /// With the workers there are now; nil when they will never have emptied it.
        package var predictedDrainSeconds: Double?
    }

    /// What one service wants: as many processes as its neediest queue, since each process serves all of its queues.
    package struct ServiceDemand: Encodable, Sendable, Equatable {
        package var service: String
        package var wanted: Int
        package var queues: [QueueDemand]
    }

    private struct State {
        var scales: [String: WorkerScale] = [:]
        var last: [QueueDemand] = []
        var lookedAt: ContinuousClock.Instant?
    }

    private let queues: QueueOperator
    private let goal: @Sendable (String) -> WorkerDemand.Goal
    private let interval: Duration
    private let logger: Logger
    private let state = Mutex(State())
    private let metrics: [String: QueueMetrics]

    /// - Parameter goal: what is wanted of the workers of a queue.
    package init(
        _ queues: QueueOperator, interval: Duration = .seconds(5), logger: Logger,
        goal: @escaping @Sendable (String) -> WorkerDemand.Goal
    ) {
        self.queues = queues
        self.interval = interval
        self.logger = logger
        self.goal = goal
        metrics = Dictionary(uniqueKeysWithValues: queues.queues.map { ($0, QueueMetrics(queue: $0)) })
    }

    /// Looks until cancelled or graceful shutdown.
    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do { _ = try await self.look() } catch {
                    self.logger.debug("the demand could not be measured", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: self.interval)
            }
        }
    }

    /// Measures now.
    @discardableResult
    package func look() async throws -> [ServiceDemand] {
        var measured: [(figures: QueueOperator.Figures, held: Int)] = []
        for name in queues.queues {
            let figures = try await queues.figures(of: name)
            metrics[name]?.note(figures)
            let tenants = figures.ready == 0 ? [] : try await queues.redisQueue(name).tenants(limit: 200)
            measured.append((figures, Self.held(figures, tenants, objective: goal(name).objective)))
        }
        let now = ContinuousClock.now
        let demands = state.withLock { state in
            let demands = measured.map { demand($0.figures, held: $0.held, now, &state) }
            state.last = demands
            state.lookedAt = now
            return demands
        }
        for demand in demands {
            Gauge(label: "guanxi_queue_wanted_workers", dimensions: [("queue", demand.queue)]).record(demand.wanted)
        }
        return Self.byService(demands)
    }

    /// What was measured last, or now where that is too long ago.
    package func current() async throws -> [ServiceDemand] {
        let (last, lookedAt) = state.withLock { ($0.last, $0.lookedAt) }
        guard let lookedAt, ContinuousClock.now - lookedAt < interval * 3 else { return try await look() }
        return Self.byService(last)
    }

    private static let epoch = ContinuousClock.now

    /// Jobs that more workers would not help: their tenants are suspended, or have no more starts or places within the
    /// objective. What lies in PostgreSQL is shared out evenly among those who have some there.
    static func held(
        _ figures: QueueOperator.Figures, _ tenants: [RedisQueue.TenantStanding], objective: Double
    ) -> Int {
        let seconds = max(figures.meanSeconds ?? Double(JobOptions().cost) / 1000, 0.001)
        let spilled = figures.backlogTenants > 0 ? Double(figures.backlog) / Double(figures.backlogTenants) : 0
        let held = tenants.reduce(0.0) { sum, one in
            var room = Double.infinity
            if one.share.isHeld { room = 0 }
            if one.share.rate > 0 { room = min(room, one.share.rate * objective) }
            if one.share.cap > 0 { room = min(room, Double(one.share.cap) * objective / seconds) }
            return sum + max(0, Double(one.waiting) + (one.hasBacklog ? spilled : 0) - room)
        }
        return min(figures.ready, Int(held))
    }

    private func demand(
        _ figures: QueueOperator.Figures, held: Int, _ now: ContinuousClock.Instant, _ state: inout State
    ) -> QueueDemand {
        let goal = goal(figures.queue)
        let measured = WorkerDemand(
            arrivalRate: figures.arrivalPerSecond,
            // Before anything has run, the cost that jobs state unless they say otherwise.
            meanSeconds: figures.meanSeconds ?? Double(JobOptions().cost) / 1000,
            // A paused queue's jobs wait for an operator, not for workers.
            backlog: figures.paused ? 0 : figures.ready - held, workers: figures.workers)
        let needed = measured.needed(for: goal)
        var scale = state.scales[figures.queue] ?? WorkerScale(wanted: max(needed, min(figures.workers, goal.maximum)))
        let wanted = scale.follow(needed, at: (now - Self.epoch) / .seconds(1))
        state.scales[figures.queue] = scale
        return QueueDemand(
            queue: figures.queue, wanted: wanted, workers: figures.workers, backlog: measured.backlog,
            arrivalPerSecond: measured.arrivalRate, meanSeconds: measured.meanSeconds,
            predictedDrainSeconds: measured.drainSeconds(workers: figures.workers, concurrency: goal.concurrency))
    }

    private static func byService(_ demands: [QueueDemand]) -> [ServiceDemand] {
        var services: [ServiceDemand] = []
        for demand in demands {
            let service = String(demand.queue.prefix { $0 != "." })
            if services.last?.service != service {
                services.append(ServiceDemand(service: service, wanted: 0, queues: []))
            }
            services[services.count - 1].queues.append(demand)
            services[services.count - 1].wanted = max(services[services.count - 1].wanted, demand.wanted)
        }
        return services
    }
}

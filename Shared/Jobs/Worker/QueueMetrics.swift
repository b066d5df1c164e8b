import Database
import Foundation
import Metrics
import Synchronization

/// The counters, gauges and timers of one queue. What runs is told apart by what its tenants pay for, never by tenant.
final class QueueMetrics: Sendable {
    /// Of the tenants with one plan.
    private struct Tier {
        let started, done, failed, retried, dead, quarantined: Counter
        let wait, run: Metrics.Timer

        init(queue: String, plan: String) {
            let dimensions = [("queue", queue), ("tier", plan)]
            func counter(_ name: String) -> Counter { Counter(label: "guanxi_jobs_\(name)", dimensions: dimensions) }
            started = counter("started")
            done = counter("done")
            failed = counter("failed")
            retried = counter("retried")
            dead = counter("dead")
            quarantined = counter("quarantined")
            wait = Metrics.Timer(label: "guanxi_job_wait", dimensions: dimensions)
            run = Metrics.Timer(label: "guanxi_job_run", dimensions: dimensions)
        }
    }

    private struct Tiers {
        var plans: [TenantID: String] = [:]
        var known: [String: Tier] = [:]
    }

    /// Plans beyond so many are told together, as `other`.
    static let mostTiers = 12

    let returned: Counter
    let repairs: Counter
    private let queue: String
    private let tiers = Mutex(Tiers())
    private let gauges: [Gauge]
    private let backlog: Gauge
    private let putOff: Gauge
    private let fetchAge: Gauge

    init(queue: String) {
        self.queue = queue
        let dimensions = [("queue", queue)]
        func counter(_ name: String) -> Counter { Counter(label: "guanxi_\(name)", dimensions: dimensions) }
        func gauge(_ name: String) -> Gauge { Gauge(label: "guanxi_queue_\(name)", dimensions: dimensions) }
        returned = counter("jobs_returned")
        repairs = counter("queue_repairs")
        gauges = Self.figures(RedisQueue.Depth()).map { gauge($0.name) }
        backlog = gauge("backlog")
        putOff = gauge("put_off")
        fetchAge = Gauge(label: "guanxi_fetch_age_seconds", dimensions: dimensions)
        // There from the beginning: that nothing was done yet is told too.
        tiers.withLock { $0.known["standard"] = Tier(queue: queue, plan: "standard") }
    }

    /// What tenants pay for, as of now.
    func note(plans: [TenantID: String]) { tiers.withLock { $0.plans = plans } }

    /// A tenant that is not known yet has what new ones have.
    private func tier(of tenant: TenantID) -> Tier {
        tiers.withLock { tiers in
            let plan = tiers.plans[tenant] ?? "standard"
            if let tier = tiers.known[plan] { return tier }
            let name = tiers.known.count < Self.mostTiers ? plan : "other"
            let tier = tiers.known[name] ?? Tier(queue: queue, plan: name)
            tiers.known[plan] = tier
            tiers.known[name] = tier
            return tier
        }
    }

    /// A first try's wait is what its enqueue to start took; a later one waited on purpose.
    func started(_ envelope: JobEnvelope) {
        let tier = tier(of: envelope.tenant)
        tier.started.increment()
        if envelope.attempts == 0 {
            tier.wait.recordNanoseconds(Int64(max(0, Date().timeIntervalSince(envelope.id.v7Time)) * 1e9))
        }
    }

    func ended(_ envelope: JobEnvelope, _ outcome: RedisQueue.Outcome, took: Duration) {
        let tier = tier(of: envelope.tenant)
        tier.run.recordNanoseconds(Int64(took / .nanoseconds(1)))
        switch outcome {
        case .done: tier.done.increment()
        case .again, .putOff:
            tier.failed.increment()
            tier.retried.increment()
        case .handedBack: tier.retried.increment()
        case .dead(let last):
            tier.failed.increment()
            tier.dead.increment()
            if last.crashes >= JobFate.crashLimit { tier.quarantined.increment() }
        }
    }

    /// What a look at the queue found.
    func note(_ depth: RedisQueue.Depth) {
        for (gauge, figure) in zip(gauges, Self.figures(depth)) { gauge.record(figure.value) }
    }

    /// What operators' figures say of the queue: for processes that do not work it.
    func note(_ figures: QueueOperator.Figures) {
        var depth = RedisQueue.Depth()
        depth.waiting = figures.waiting
        depth.running = figures.running
        depth.delayed = figures.delayed
        depth.dead = figures.dead
        depth.workers = figures.workers
        depth.parkedTenants = figures.parkedTenants
        depth.oldestAge = figures.oldestSeconds
        depth.isPaused = figures.paused
        note(depth)
        note(tenantsInBacklog: figures.backlogTenants)
        putOff.record(figures.putOff)
    }

    private static func figures(_ depth: RedisQueue.Depth) -> [(name: String, value: Double)] {
        [
            ("waiting", Double(depth.waiting)), ("running", Double(depth.running)),
            ("delayed", Double(depth.delayed)), ("dead", Double(depth.dead)), ("workers", Double(depth.workers)),
            ("parked_tenants", Double(depth.parkedTenants)), ("oldest_age_seconds", depth.oldestAge),
            ("paused", depth.isPaused ? 1 : 0),
        ]
    }

    /// How many tenants have jobs in PostgreSQL that found no room in Redis.
    func note(tenantsInBacklog count: Int) { backlog.record(count) }

    func note(fetchAge seconds: Double) { fetchAge.record(seconds) }
}

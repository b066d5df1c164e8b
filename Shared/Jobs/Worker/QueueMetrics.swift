import Foundation
import Metrics

/// The counters, gauges and timers of one queue: one series per queue, never one per tenant.
struct QueueMetrics: Sendable {
    let returned: Counter
    let repairs: Counter
    private let started: Counter
    private let done: Counter
    private let failed: Counter
    private let retried: Counter
    private let dead: Counter
    private let quarantined: Counter
    private let wait: Metrics.Timer
    private let run: Metrics.Timer
    private let gauges: [Gauge]
    private let backlog: Gauge
    private let putOff: Gauge
    private let fetchAge: Gauge

    init(queue: String) {
        let dimensions = [("queue", queue)]
        func counter(_ name: String) -> Counter { Counter(label: "guanxi_\(name)", dimensions: dimensions) }
        func gauge(_ name: String) -> Gauge { Gauge(label: "guanxi_queue_\(name)", dimensions: dimensions) }
        returned = counter("jobs_returned")
        repairs = counter("queue_repairs")
        started = counter("jobs_started")
        done = counter("jobs_done")
        failed = counter("jobs_failed")
        retried = counter("jobs_retried")
        dead = counter("jobs_dead")
        quarantined = counter("jobs_quarantined")
        wait = Metrics.Timer(label: "guanxi_job_wait", dimensions: dimensions)
        run = Metrics.Timer(label: "guanxi_job_run", dimensions: dimensions)
        gauges = Self.figures(RedisQueue.Depth()).map { gauge($0.name) }
        backlog = gauge("backlog")
        putOff = gauge("put_off")
        fetchAge = Gauge(label: "guanxi_fetch_age_seconds", dimensions: dimensions)
    }

    /// A first try's wait is what its enqueue to start took; a later one waited on purpose.
    func started(_ envelope: JobEnvelope) {
        started.increment()
        if envelope.attempts == 0 {
            wait.recordNanoseconds(Int64(max(0, Date().timeIntervalSince(envelope.id.v7Time)) * 1e9))
        }
    }

    func ended(_ outcome: RedisQueue.Outcome, took: Duration) {
        run.recordNanoseconds(Int64(took / .nanoseconds(1)))
        switch outcome {
        case .done: done.increment()
        case .again, .putOff:
            failed.increment()
            retried.increment()
        case .handedBack: retried.increment()
        case .dead(let last):
            failed.increment()
            dead.increment()
            if last.crashes >= JobFate.crashLimit { quarantined.increment() }
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

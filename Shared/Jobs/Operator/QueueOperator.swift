import Database
import Foundation
import Logging
import Redis

/// What operators see of queues and do with them. With the owner's connection it reaches every queue, with a service's
/// own role that service's: PostgreSQL refuses the others.
///
/// Whatever is set is kept in PostgreSQL first and told to Redis then, so that it outlives a loss of Redis.
package struct QueueOperator: Sendable {
    /// The queues that it looks after.
    package let queues: [String]
    let database: Database
    let redis: RedisClient
    let logger: Logger

    /// Rows that are counted of a queue in PostgreSQL; a longer backlog is shown as this many.
    static let countLimit = 100_000

    package init(queues: [String], database: Database, redis: RedisClient, logger: Logger) {
        self.queues = queues
        self.database = database
        self.redis = redis
        self.logger = logger
    }

    func redisQueue(_ name: String) -> RedisQueue { RedisQueue(name: name, redis: redis) }

    /// Refuses a queue that is not looked after here.
    package func require(_ queue: String) throws(OperatorRefusal) {
        if queues.contains(queue) { return }
        throw OperatorRefusal("unknown_queue", "there is no queue \(queue): \(queues.joined(separator: ", "))")
    }

    // MARK: Figures

    /// The figures of one queue, from Redis and from PostgreSQL.
    package struct Figures: Encodable, Sendable {
        package var queue: String
        package var waiting: Int
        package var running: Int
        package var delayed: Int
        /// Failed jobs in PostgreSQL whose next try is a while off, at most 100,000 counted.
        package var putOff: Int
        /// Set aside, and not replayed.
        package var dead: Int
        /// Jobs in PostgreSQL for which their tenants' windows in Redis have no room, at most 100,000 counted.
        package var backlog: Int
        package var backlogTenants: Int
        /// Jobs behind another of their serial key, at most 100,000 counted.
        package var inLine: Int
        package var workers: Int
        package var tenants: Int
        package var parkedTenants: Int
        package var paused: Bool
        package var oldestSeconds: Double
        /// Enqueued per second, over the last minute.
        package var arrivalPerSecond: Double
        /// Ended per second, over the last minute.
        package var donePerSecond: Double
        /// Seconds that a run took, over the last minute; nil where nothing ran.
        package var meanSeconds: Double?
        /// Delayed jobs whose time has come.
        package var overdue: Int

        /// All that could run now and does not.
        package var ready: Int { waiting + overdue + backlog }
    }

    /// The figures of every queue that is looked after here.
    package func figures() async throws -> [Figures] {
        var all: [Figures] = []
        for queue in queues { all.append(try await figures(of: queue)) }
        return all
    }

    /// The figures of one queue now.
    package func figures(of name: String) async throws -> Figures {
        let queue = redisQueue(name)
        let depth = try await queue.depth()
        let load = try await QueueLoad(queue).read()
        let known = try await database.query(
            tenant: nil,
            Statement(
                "select backlog_tenants, backlog, in_line, put_off, dead from platform.queue_figures($1, $2)",
                [.text(name), .int(Self.countLimit)]), readOnly: true)
        func number(_ column: Int) -> Int { known.int(0, column) ?? 0 }
        return Figures(
            queue: name, waiting: depth.waiting, running: depth.running, delayed: depth.delayed, putOff: number(3),
            dead: number(4), backlog: number(1), backlogTenants: number(0), inLine: number(2), workers: depth.workers,
            tenants: depth.tenants,
            parkedTenants: depth.parkedTenants, paused: depth.isPaused, oldestSeconds: depth.oldestAge,
            arrivalPerSecond: load.arrivalRate, donePerSecond: load.rate, meanSeconds: load.meanSeconds,
            overdue: try await queue.overdue())
    }

    // MARK: Pause, drain

    /// Stops or resumes fetching from a queue; what runs goes on.
    package func setPaused(_ paused: Bool, _ queue: String) async throws {
        try require(queue)
        try await QueueShares(database: database).setPaused(paused, queue)
        try await redisQueue(queue).setPaused(paused)
    }

    /// Pauses a queue and waits until nothing of it runs, at most `seconds`. Gives how many jobs still run then.
    package func drain(
        _ queue: String, within seconds: Double, progress: (Int) -> Void = { _ in }
    ) async throws -> Int {
        try await setPaused(true, queue)
        let end = ContinuousClock.now + .seconds(seconds)
        while true {
            let running = try await redisQueue(queue).depth().running
            if running == 0 || ContinuousClock.now >= end { return running }
            progress(running)
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    // MARK: Tenants and their shares

    /// A tenant as operators know it.
    package struct Tenant: Sendable {
        package let id: TenantID
        package let slug: String
        package let status: String
    }

    /// The tenant with a slug or a number; refuses one that is not there.
    package func tenant(_ text: String) async throws -> Tenant {
        let number = Int64(text).map { ["\($0)"] } ?? []
        guard let found = try await tenants(numbers: number, slug: text).first else {
            throw OperatorRefusal("unknown_tenant", "there is no tenant \(text)")
        }
        return found
    }

    func tenants(numbers: [String], slug: String? = nil) async throws -> [Tenant] {
        if numbers.isEmpty && slug == nil { return [] }
        let rows = try await database.query(
            tenant: nil,
            Statement(
                "select tenant_id, slug, status from platform.name_tenants($1::bigint[], $2)",
                [.array(numbers), .optional(slug)]), readOnly: true)
        return (0..<rows.count).map {
            Tenant(id: TenantID(Int64(rows.int($0, 0)!)), slug: rows.text($0, 1)!, status: rows.text($0, 2)!)
        }
    }

    /// One tenant's standing in a queue.
    package struct Standing: Encodable, Sendable {
        package var tenant: String
        package var tenantId: Int64
        package var waiting: Int
        package var running: Int
        package var delayed: Int
        package var weight: Double
        package var cap: Int
        package var rate: Double
        package var burst: Double
        package var isHeld: Bool
        package var hasBacklog: Bool
        package var parkedSeconds: Double?
        /// How many tenants are served before it; nil when nothing of it can run.
        package var place: Int?
    }

    /// The tenants with anything in a queue, those with the most first.
    package func standings(in queue: String, limit: Int = 50) async throws -> [Standing] {
        try require(queue)
        let found = try await redisQueue(queue).tenants(limit: limit)
        let names = try await slugs(found.map(\.tenant))
        return found.map { one in
            Standing(
                tenant: names[one.tenant] ?? "\(one.tenant)", tenantId: one.tenant.rawValue, waiting: one.waiting,
                running: one.running, delayed: one.delayed, weight: one.share.weight, cap: one.share.cap,
                rate: one.share.rate, burst: one.share.burst, isHeld: one.share.isHeld, hasBacklog: one.hasBacklog,
                parkedSeconds: one.parkedFor.map { $0 / .seconds(1) }, place: one.place)
        }
    }

    func slugs(_ tenants: [TenantID]) async throws -> [TenantID: String] {
        let found = try await self.tenants(numbers: Set(tenants).map(\.description))
        return Dictionary(found.map { ($0.id, $0.slug) }) { first, _ in first }
    }

    /// What is changed of a share; what is nil stays as it is.
    package struct ShareChange: Sendable, Codable {
        package var weight: Double?
        package var cap: Int?
        package var rate: Double?
        package var burst: Double?

        package init(weight: Double? = nil, cap: Int? = nil, rate: Double? = nil, burst: Double? = nil) {
            self.weight = weight
            self.cap = cap
            self.rate = rate
            self.burst = burst
        }

        /// What can't be taken, in words.
        package var fault: String? {
            if let weight, !(weight > 0 && weight <= 1000) { return "weight is above 0 and at most 1000" }
            if let cap, !(0...1_000_000).contains(cap) { return "cap is 0 (the queue's usual) to 1000000" }
            if let rate, !(rate >= 0 && rate <= 1_000_000) { return "rate is 0 (any) to 1000000 per second" }
            if let burst, !(burst >= 0 && burst <= 1_000_000) { return "burst is 0 to 1000000" }
            if weight == nil && cap == nil && rate == nil && burst == nil {
                return "say what is to change: weight, cap, rate or burst"
            }
            return nil
        }
    }

    /// Changes a tenant's share in a queue, or in every queue for `*`, and gives it as it stands.
    package func setShare(_ change: ShareChange, of tenant: Tenant, in queue: String) async throws
        -> RedisQueue.Share
    {
        if queue != "*" { try require(queue) }
        if let fault = change.fault { throw OperatorRefusal("invalid_share", fault) }
        let shares = QueueShares(database: database)
        let known = try await shares.all(in: queue)[tenant.id] ?? RedisQueue.Share()
        let share = RedisQueue.Share(
            weight: change.weight ?? known.weight, cap: change.cap ?? known.cap, rate: change.rate ?? known.rate,
            burst: change.burst ?? known.burst)
        try await shares.set(share, of: tenant.id, in: queue)
        try await apply(to: tenant.id, in: queue == "*" ? queues : [queue])
        return share
    }

    /// Tells Redis what a tenant may do in every queue, as PostgreSQL has it: after it was suspended or resumed.
    /// Without it workers do so within a minute.
    package func applyShares(of tenant: TenantID) async throws { try await apply(to: tenant, in: queues) }

    private func apply(to tenant: TenantID, in queues: [String]) async throws {
        for name in queues {
            // As it holds in this queue: one of its own goes before that of all.
            let holds = try await QueueShares(database: database).all(in: name)[tenant] ?? RedisQueue.Share()
            try await redisQueue(name).setShares([tenant: holds])
        }
    }

    /// Forgets all of an erased tenant's jobs that wait in Redis.
    package func forget(_ tenant: TenantID) async throws {
        for name in queues { _ = try await redisQueue(name).forget(tenant) }
    }

    // MARK: Workers

    /// One worker of a queue; a process has one in each queue it serves.
    package struct WorkerLine: Encodable, Sendable {
        package var name: String
        package var queue: String
        package var host: String
        package var pid: Int32?
        package var running: Int
        package var leaseSeconds: Double
        package var isQuiet: Bool
    }

    /// The workers of every queue that is looked after here.
    package func workers() async throws -> [WorkerLine] {
        var all: [WorkerLine] = []
        for queue in queues {
            var lines: [String: WorkerLine] = [:]
            for worker in try await redisQueue(queue).workers() {
                let (host, pid) = Self.process(of: worker.name)
                var line =
                    lines[worker.name]
                    ?? WorkerLine(
                        name: worker.name, queue: queue, host: host, pid: pid, running: 0,
                        leaseSeconds: worker.leaseLasts / .seconds(1), isQuiet: worker.isQuiet)
                line.running += worker.running
                line.leaseSeconds = min(line.leaseSeconds, worker.leaseLasts / .seconds(1))
                lines[worker.name] = line
            }
            all += lines.values.sorted { $0.name < $1.name }
        }
        return all
    }

    /// Lets the process of a worker fetch nothing more, for a day, or fetch again; what it runs goes on. Gives its workers,
    /// one for each of its queues.
    package func setQuiet(_ isQuiet: Bool, _ name: String) async throws -> [WorkerLine] {
        let all = try await workers()
        guard let worker = all.first(where: { $0.name == name }) else {
            throw OperatorRefusal("unknown_worker", "there is no worker \(name)")
        }
        // A name that is none of ours tells no process, and stands for itself.
        let process = all.filter {
            $0.name == name || (worker.pid != nil && $0.pid == worker.pid && $0.host == worker.host)
        }
        for one in process {
            try await redisQueue(one.queue).setQuiet(one.name, for: isQuiet ? .seconds(86_400) : nil)
        }
        let names = Set(process.map(\.name))
        return try await workers().filter { names.contains($0.name) }
    }

    /// The host and process of a worker, from its name: host, process, chance, number, with hyphens between; a host may
    /// have hyphens too.
    package static func process(of name: String) -> (host: String, pid: Int32?) {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count >= 4, let pid = Int32(parts[parts.count - 3]) else { return (name, nil) }
        return (parts.dropLast(3).joined(separator: "-"), pid)
    }
}

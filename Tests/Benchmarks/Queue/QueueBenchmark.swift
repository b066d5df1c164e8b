import ArgumentParser
import Database
import Foundation
import Jobs
import Logging
import Records
import Redis
import ServiceLifecycle
import Synchronization
import Tenancy

/// The parts that `scripts/benchmarks/queue` puts together: a worker that does next to nothing, and whoever gives it
/// work. Each prints one line of JSON.
@main
struct QueueBenchmark: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "queue-benchmark", abstract: "Works and fills one queue, and says how fast.",
        subcommands: [Work.self, Fill.self, Enqueue.self, Trickle.self])
}

/// Where the servers are, as every part is told.
struct Servers: ParsableArguments {
    @Option var redis: String
    @Option var database: String
    @Option var queue = "contacts.benchmark"

    func open(pipelined: Int = 4, interactive: Int = 16) throws -> (RedisClient, Database, Outbox) {
        var logger = Logger(label: "benchmark")
        logger.logLevel = .error
        let client = try RedisClient(url: redis, logger: logger)
        let database = Database(
            settings: ConnectionSettings(connection: database, applicationName: "benchmark"), pipelined: pipelined,
            interactive: interactive, logger: logger)
        let vault = SecretVault(secret: Array(repeating: 7, count: 32), purpose: TenantKeyring.purpose)
        let outbox = Outbox(
            schema: "contacts", database: database, redis: client,
            keyring: TenantKeyring(database: database, vault: vault), logger: logger)
        return (client, database, outbox)
    }
}

/// A job of the benchmark. `at` is when it was handed over: seconds since 1970.
protocol BenchmarkJob: Job {
    var at: Double { get }
    var tag: String { get }
    var milliseconds: Double? { get }
    /// Names a job whose start is to be known to the microsecond.
    var number: Int? { get }
    init(at: Double, tag: String, milliseconds: Double?, number: Int?, filler: String)
}

struct NoOperation: BenchmarkJob {
    static let name = "contacts.benchmark-nothing"
    static let queue = "contacts.benchmark"
    var at: Double
    var tag: String
    var milliseconds: Double?
    var number: Int?
    var filler: String
}

struct OneRow: BenchmarkJob {
    static let name = "contacts.benchmark-row"
    static let queue = "contacts.benchmark"
    var at: Double
    var tag: String
    var milliseconds: Double?
    var number: Int?
    var filler: String
}

struct ManyRows: BenchmarkJob {
    static let name = "contacts.benchmark-rows"
    static let queue = "contacts.benchmark"
    var at: Double
    var tag: String
    var milliseconds: Double?
    var number: Int?
    var filler: String
}

/// A worker, until SIGTERM; then it prints what it saw: per tag how many, from when to when, how long each waited and
/// how long they ran.
struct Work: AsyncParsableCommand {
    @OptionGroup var servers: Servers
    @Option var concurrency = 64
    @Option var tenantCap = 0

    func run() async throws {
        let (redis, database, outbox) = try servers.open()
        let ledger = Ledger()
        var registry = JobRegistry()
        registry.handle(NoOperation.self) { job, context in try await ledger.run(job, context) {} }
        registry.handle(OneRow.self) { job, context in
            try await ledger.run(job, context) {
                try await context.once([Effect.statement([context.jobID], context.tenant)])
            }
        }
        registry.handleSet(of: ManyRows.self) { jobs, transaction in
            ledger.note(jobs, transaction.tenant)
            transaction.later(Effect.statement(jobs.map { _ in UUID.v7() }, transaction.tenant))
        }
        var settings = QueueWorker.Settings()
        settings.concurrency = concurrency
        settings.tenantCap = tenantCap
        var logger = Logger(label: "benchmark")
        logger.logLevel = .error
        let worker = QueueWorker(
            queue: servers.queue, registry: registry, outbox: outbox, database: database, redis: redis,
            settings: settings, logger: logger)
        FileHandle.standardOutput.write(Data("ready\n".utf8))
        let group = ServiceGroup(services: [worker], gracefulShutdownSignals: [.sigterm], logger: logger)
        try await group.run()
        print(ledger.json(memory: Memory.peak))
        database.close()
        redis.close()
    }
}

/// Puts jobs into the queue as fast as it can, in large calls.
struct Fill: AsyncParsableCommand {
    @OptionGroup var servers: Servers
    @Option var jobs = 100_000
    @Option var tenants = 1
    @Option var firstTenant = 1
    @Option var kind = "nothing"
    @Option var milliseconds = 0.0
    @Option var payload = 100
    @Option var tag = "fill"
    @Option var batch = 500
    /// Jobs per second; 0 for as fast as it can.
    @Option var perSecond = 0.0
    @Flag var ephemeral = false

    func run() async throws {
        let (redis, database, outbox) = try servers.open()
        let start = ContinuousClock.now
        let service = Task { try? await outbox.run() }
        var done = 0
        while done < jobs {
            let count = min(batch, jobs - done)
            let tenant = TenantID(Int64(firstTenant + (done / batch) % tenants))
            let pending = try (0..<count).map { _ in
                try make(kind, tag: tag, milliseconds: milliseconds, payload: payload)
            }
            if ephemeral {
                try await outbox.enqueueEphemeral(pending, tenant: tenant)
            } else {
                _ = try await database.batch(tenant: tenant, outbox.statements(for: pending, tenant: tenant))
                outbox.push(pending, tenant: tenant)
            }
            done += count
            if perSecond > 0 { try await Task.sleep(until: start + .seconds(Double(done) / perSecond)) }
        }
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        if !ephemeral { try await Task.sleep(for: .milliseconds(700)) }
        service.cancel()
        print("{\"jobs\": \(jobs), \"seconds\": \(seconds), \"rate\": \(Double(jobs) / seconds)}")
        database.close()
        redis.close()
    }
}

/// Enqueues from `tasks` tasks, each a job at a time, for some seconds.
struct Enqueue: AsyncParsableCommand {
    @OptionGroup var servers: Servers
    @Option var tasks = 1
    @Option var seconds = 3.0
    @Option var batch = 1
    @Flag var ephemeral = false

    func run() async throws {
        let (redis, database, outbox) = try servers.open()
        let end = ContinuousClock.now + .seconds(seconds)
        let start = ContinuousClock.now
        let service = Task { try? await outbox.run() }
        let count = try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 0..<tasks {
                group.addTask {
                    var done = 0
                    let tenant = TenantID(Int64(1 + number % 8))
                    while ContinuousClock.now < end {
                        let jobs = try (0..<batch).map { _ in
                            try make("nothing", tag: "enqueue", milliseconds: 0, payload: 100)
                        }
                        if ephemeral {
                            try await outbox.enqueueEphemeral(jobs, tenant: tenant)
                        } else {
                            let statements = outbox.statements(for: jobs, tenant: tenant)
                            _ = try await database.batch(
                                tenant: tenant, [Effect.statement(jobs.map(\.id), tenant)] + statements)
                            outbox.push(jobs, tenant: tenant)
                        }
                        done += batch
                    }
                    return done
                }
            }
            return try await group.reduce(0, +)
        }
        let took = (ContinuousClock.now - start) / .seconds(1)
        service.cancel()
        print("{\"jobs\": \(count), \"seconds\": \(took), \"rate\": \(Double(count) / took)}")
        database.close()
        redis.close()
    }
}

/// Enqueues single jobs at a steady pace: for how long each waits.
struct Trickle: AsyncParsableCommand {
    @OptionGroup var servers: Servers
    @Option var tenant = 1
    @Option var jobs = 1000
    @Option var interval = 5.0
    @Option var milliseconds = 0.0
    @Option var kind = "nothing"
    @Option var tag = "trickle"
    @Flag var ephemeral = false

    func run() async throws {
        let (redis, database, outbox) = try servers.open()
        let service = Task { try? await outbox.run() }
        try await Task.sleep(for: .milliseconds(200))
        let tenant = TenantID(Int64(tenant))
        var handedOver: [String] = []
        let begin = ContinuousClock.now
        for number in 1...jobs {
            let job = try make(kind, tag: tag, milliseconds: milliseconds, payload: 100, number: number)
            if ephemeral {
                handedOver.append("\(Date().timeIntervalSince1970)")
                try await outbox.enqueueEphemeral([job], tenant: tenant)
            } else {
                _ = try await database.batch(tenant: tenant, outbox.statements(for: [job], tenant: tenant))
                // Committed: from here on it waits.
                handedOver.append("\(Date().timeIntervalSince1970)")
                outbox.push([job], tenant: tenant)
            }
            // By the clock: however long an enqueue takes, the pace is the one asked for.
            try await Task.sleep(until: begin + .milliseconds(interval * Double(number)))
        }
        try await Task.sleep(for: .milliseconds(500))
        service.cancel()
        print("{\"jobs\": \(jobs), \"at\": [\(handedOver.joined(separator: ", "))]}")
        database.close()
        redis.close()
    }
}

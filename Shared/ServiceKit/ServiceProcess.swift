import ArgumentParser
import CoreMetrics
import Database
import Foundation
import HTTPTypes
import Hummingbird
import Jobs
import Logging
import Records
import Redis
import ServiceLifecycle
import Spans
import Tenancy

/// One process of a service, from its configuration to its end. A service's executable is nothing but a call of this.
package struct ServiceProcess: Sendable {
    private let description: ServiceDescription
    private let configuration: ServiceConfiguration
    private let logger: Logger
    private let metrics: PrometheusMetrics
    private let database: Database
    private let redis: RedisClient
    private let outbox: Outbox
    private let exporter: SpanExporter?
    private let tracer: SpanTracer
    private let store: RecordStore

    /// Reads the configuration; connects to nothing yet.
    package init(_ description: ServiceDescription) async throws {
        let configuration = try await ServiceConfiguration()
        let level = try configuration.logLevel()
        LoggingSystem.bootstrap { JSONLogHandler(label: $0, level: level) }
        let metrics = PrometheusMetrics()
        MetricsSystem.bootstrap(metrics)
        let logger = Logger(label: description.name)
        try description.configure(configuration)
        let settings = ConnectionSettings(
            connection: configuration.string("database.url"), applicationName: "guanxi-\(description.name)")
        self.description = description
        self.configuration = configuration
        self.logger = logger
        self.metrics = metrics
        database = Database(
            settings: settings, pipelined: try configuration.int("database.pipelined", minimum: 1),
            interactive: try configuration.int("database.interactive", minimum: 2), logger: logger)
        redis = try RedisClient(url: configuration.string("redis.url"), logger: logger)
        let secret = try configuration.secret()
        let vault = SecretVault(secret: secret, purpose: TenantKeyring.purpose)
        outbox = Outbox(
            schema: description.name, database: database, redis: redis,
            keyring: TenantKeyring(database: database, vault: vault), logger: logger)
        exporter = try configuration.spanExporter(service: description.name, logger: logger)
        tracer = exporter.map(SpanTracer.init) ?? .propagatingOnly()
        store = RecordStore(catalogue: description.catalogue, database: database, outbox: outbox, secret: secret)
    }

    /// Answers HTTP until SIGTERM or SIGINT.
    package func serve() async throws {
        _ = try configuration.required("database.url")
        let authenticator = Authenticator(database: database)
        var endpoints = RecordEndpoints(store: store).all
        let signIn = SignIn(database: database, vault: SecretVault(key: store.key(for: SecretVault.purpose)))
        endpoints += CommonEndpoints(store: store, signIn: signIn).all
        let meter = UsageMeter(schema: description.name)
        let maximumBody = try configuration.int("http.maximumBody", minimum: 1024)
        endpoints += [
            PermissionEndpoint(store: store).endpoint,
            UsageEndpoint(store: store, meter: meter, maximumBody: maximumBody).endpoint,
        ]
        if !description.types.isEmpty { endpoints.append(BatchEndpoint(store: store).endpoint) }
        // A service may say more than all do, at the same address.
        let own = description.endpoints(store)
        endpoints.removeAll { common in own.contains { $0.path == common.path && $0.method == common.method } }
        endpoints += own
        let live = LiveStreams(
            store: store, redis: redis, authenticator: authenticator, views: description.liveViews, logger: logger)
        endpoints.append(live.endpoint)
        let common = OpenAPIDocument(service: description.name, endpoints: endpoints).json
        endpoints += CustomFieldEndpoints(catalogue: description.catalogue, document: common).all
        let document = OpenAPIDocument(service: description.name, endpoints: endpoints)
        let json = document.json.encodedBytes
        let page = DocumentationPage(document: document).html
        endpoints += [
            Endpoint(.get, "/openapi.json", "The service's description", isPublic: true) { _ in
                EndpointResponse(200, json)
            },
            Endpoint(.get, "/docs", "The description for people", isPublic: true) { _ in
                EndpointResponse(200, page, contentType: "text/html; charset=utf-8")
            },
        ]
        let responder = ServiceResponder(
            service: description.name, table: RouteTable(endpoints), authenticator: authenticator, meter: meter,
            maximumBody: maximumBody, proxies: try configuration.trustedProxies(), tracer: tracer, logger: logger)
        let host = configuration.string("http.host")
        let port = try configuration.int("http.port")
        let announced = Announcement(service: description.name, role: "serve")
        let application = Application(
            responder: responder,
            server: .http1(
                configuration: .init(
                    idleTimeout: .seconds(75),
                    httpDecoderConfiguration: .init(
                        maxHeaderFieldSize: 16_384, maxHeaderListSize: 65_536, maxHeaderFieldCount: 200))),
            configuration: .init(address: .hostname(host, port: port)),
            onServerRunning: { channel in announced.print(address: host, port: channel.localAddress?.port) },
            logger: quietLogger)
        let housekeeping = Housekeeping(schema: description.name, database: database, logger: logger)
        let usage = UsageFlush(meter: meter, database: database, logger: logger)
        // The last begins the shutdown: streams end before the server waits for its requests.
        let demand = try demandWatch()
        try await run([
            outbox, housekeeping, usage, demand, try internalServer(workers: [], demand: demand), application, live,
        ])
        authenticator.close()
    }

    /// Works the queues until SIGTERM or SIGINT.
    package func work(queues: [String]?, concurrency: Int?) async throws {
        _ = try configuration.required("database.url")
        let names = (queues ?? description.queues).map { $0.contains(".") ? $0 : "\(description.name).\($0)" }
        var settings = QueueWorker.Settings()
        settings.concurrency = try concurrency ?? configuration.int("worker.concurrency", minimum: 1)
        settings.grace = .seconds(try configuration.int("worker.grace"))
        // Without a collector a run's own span would be known to nobody: what it causes stays below its cause.
        settings.tracer = exporter == nil ? nil : tracer
        let registry = description.registry(store)
        let workers = names.map { name in
            var settings = settings
            if let share = description.shares[name] {
                settings.concurrency = concurrency ?? share.concurrency
                settings.tenantCap = share.perTenant
            }
            return QueueWorker(
                queue: name, registry: registry, outbox: outbox, database: database, redis: redis, settings: settings,
                logger: logger)
        }
        let scheduler = RecurringScheduler(jobs: registry.recurring, outbox: outbox, database: database, logger: logger)
        Announcement(service: description.name, role: "work").print(address: nil, port: nil)
        let load = LoadReport(queues: names, metrics: metrics, redis: redis, logger: logger)
        let server = try internalServer(workers: workers, demand: try demandWatch())
        try await run([outbox, scheduler, load, server, WorkerGroup(workers: workers)])
    }

    /// Creates roles where the administrator's connection is given, then applies what is pending.
    package func migrate() async throws {
        let setup = SchemaSetup(services: [description], logger: logger)
        let admin = configuration.string("database.adminUrl")
        if !admin.isEmpty {
            try await setup.bootstrap(connection: admin)
        }
        let owner = Database(
            settings: ConnectionSettings(
                connection: try configuration.required("database.ownerUrl"), statementTimeout: 0),
            pipelined: 1, interactive: 1, logger: logger)
        for id in try await setup.migrate(owner: owner) { print("applied \(id)") }
        owner.close()
    }

    private func run(_ services: [any ServiceLifecycle.Service]) async throws {
        // No event is published before it is known who wants it.
        while true {
            do {
                try await outbox.subscriptions.refresh()
                break
            } catch {
                logger.warning("waiting for PostgreSQL", metadata: ["error": "\(error)"])
                try await Task.sleep(for: .seconds(1))
            }
        }
        // Those that end alone (a worker that has nothing left to do) end everything in good order.
        // The first is shut down last, and so the others' last spans still go out.
        let all = (exporter.map { [$0] } ?? []) + services
        var group = ServiceGroupConfiguration(
            services: all.map { .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup) },
            gracefulShutdownSignals: [.sigterm, .sigint], logger: quietLogger)
        group.maximumGracefulShutdownDuration = .seconds(try configuration.int("worker.grace") + 10)
        try await ServiceGroup(configuration: group).run()
        database.close()
        redis.close()
    }

    /// The libraries' own talk is of interest when something is wrong.
    private var quietLogger: Logger {
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        return quiet
    }

    private var queueOperator: QueueOperator {
        QueueOperator(queues: description.queues, database: database, redis: redis, logger: logger)
    }

    /// Processes that serve look by themselves, four times a minute as autoscalers do; those that work when asked.
    private func demandWatch() throws -> DemandWatch {
        let goals = try description.workerGoals(configuration)
        return DemandWatch(queueOperator, interval: .seconds(15), logger: logger) { goals[$0] ?? .init() }
    }

    /// Health, metrics and the operators' surface, for operators and their tools alone.
    private func internalServer(workers: [QueueWorker], demand: DemandWatch) throws -> some ServiceLifecycle.Service {
        let (database, redis, metrics, exporter) = (database, redis, metrics, exporter)
        let router = Router()
        router.get("/healthz") { _, _ in
            // A worker that has not reached Redis for a minute is of no use: let the supervisor decide.
            workers.allSatisfy { $0.secondsSinceFetch < 60 || $0.runningCount > 0 }
                ? HTTPResponse.Status.ok : .serviceUnavailable
        }
        router.get("/readyz") { _, _ -> HTTPResponse.Status in
            do {
                _ = try await database.query(tenant: nil, Statement("select 1"), readOnly: true)
                _ = try await redis.command(key: "gx:ready", ["EXISTS", "gx:ready"])
                return .ok
            } catch {
                return .serviceUnavailable
            }
        }
        router.get("/metrics") { _, _ in
            for pool in database.pools {
                Gauge(label: "guanxi_pool_connections", dimensions: [("pool", pool.name)]).record(pool.connections)
                Gauge(label: "guanxi_pool_waiting", dimensions: [("pool", pool.name)]).record(pool.waiting)
            }
            exporter?.counts.record()
            return Response(
                status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: .init(byteBuffer: ByteBuffer(string: metrics.text)))
        }
        if let token = try configuration.operatorToken() {
            OperatorEndpoints(queues: queueOperator, demand: demand, token: token, logger: logger).add(to: router)
        }
        let host = configuration.string("http.host")
        return Application(
            router: router,
            configuration: .init(address: .hostname(host, port: try configuration.int("internal.port"))),
            logger: quietLogger)
    }
}

/// Each hour lets go of what has expired: kept answers of requests, and files of imports that never began.
private struct Housekeeping: ServiceLifecycle.Service {
    let schema: String
    let database: Database
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    _ = try await database.query(tenant: nil, Statement("select \(schema).forget_expired()"))
                } catch {
                    logger.warning("nothing was let go of", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: .seconds(3600))
            }
        }
    }
}

/// All workers of a process as one service: one signal reaches them together, and none fetches while another drains.
private struct WorkerGroup: ServiceLifecycle.Service {
    let workers: [QueueWorker]

    func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in workers { group.addTask { try await worker.run() } }
            try await group.waitForAll()
        }
    }
}

/// The one line that a process prints when it is ready, for whoever started it.
private struct Announcement: Sendable {
    let service: String
    let role: String

    func print(address: String?, port: Int?) {
        var line = "ready \(service) \(role)"
        if let address, let port { line += " \(address):\(port)" }
        FileHandle.standardOutput.write(Data((line + "\n").utf8))
    }
}

/// The command line that every service has: `serve`, `work`, `migrate`.
package struct ServiceCommand {
    private let description: ServiceDescription

    package init(_ description: ServiceDescription) { self.description = description }

    /// Runs the command line and ends the process with a status that means something: 0 done, 64 wrong usage, 78 wrong
    /// configuration, 1 anything else.
    package func main() async {
        var arguments = Array(CommandLine.arguments.dropFirst())
        let verb = arguments.isEmpty ? "" : arguments.removeFirst()
        do {
            switch verb {
            case "serve" where arguments.isEmpty: try await ServiceProcess(description).serve()
            case "migrate" where arguments.isEmpty: try await ServiceProcess(description).migrate()
            case "work":
                let options: WorkOptions
                do { options = try WorkOptions.parse(arguments) } catch {
                    FileHandle.standardError.write(Data("\(WorkOptions.message(for: error))\n".utf8))
                    exit(64)
                }
                try await ServiceProcess(description).work(
                    queues: options.queues?.split(separator: ",").map(String.init), concurrency: options.concurrency)
            default:
                FileHandle.standardError.write(
                    Data("usage: \(description.name) serve | work [--queues a,b] [--concurrency n] | migrate\n".utf8))
                exit(64)
            }
        } catch let error as ConfigurationProblem {
            FileHandle.standardError.write(Data("\(error)\n".utf8))
            exit(78)
        } catch {
            FileHandle.standardError.write(Data("\(description.name): \(error)\n".utf8))
            exit(1)
        }
    }
}

private struct WorkOptions: ParsableArguments {
    @Option(help: "Queues to serve, separated by commas; the service's name may be left out.")
    var queues: String?
    @Option(help: "Jobs to run at once in each queue: 1 to 10,000.")
    var concurrency: Int?

    func validate() throws {
        if let concurrency, !(1...10_000).contains(concurrency) {
            throw ValidationError("--concurrency is 1 to 10,000")
        }
    }
}

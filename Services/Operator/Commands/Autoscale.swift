import ArgumentParser
import Foundation
import Jobs
import ServiceKit
import ServiceLifecycle

struct Autoscale: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows how many workers the queues want, or starts and ends them on this machine.",
        discussion: """
            Wanted are as many workers as keep up with what arrives (jobs per second × seconds each takes) and empty the
            backlog within GUANXI_WORKER_OBJECTIVE seconds. Fewer are wanted only once fewer were enough for a minute.

            With --apply it starts `<service> work` from the folder --binaries, drains what is too many (SIGTERM, its jobs
            end first), replaces what died, and on SIGTERM has all of them end and waits. Each gets the connection string of
            GUANXI_DATABASE_SERVICE_URL with its name for {service}, and the rest of this environment. Workers that others
            started are counted, and left alone.

            Examples:
              guanxi autoscale --watch
              guanxi autoscale --apply --binaries .build/release --minimum 1 --maximum 4
            """)
    @Flag(help: "Start and end workers, until interrupted.") var apply = false
    @Option(help: "The folder of the services' executables.") var binaries: String?
    @Option(help: "Seconds between looks, such as 5s.") var interval = "5s"
    @Option(help: "Workers of each service at least; otherwise GUANXI_WORKER_MINIMUM.") var minimum: Int?
    @Option(help: "Workers of each service at most; otherwise GUANXI_WORKER_MAXIMUM.") var maximum: Int?
    @Flag(help: "Show it again each second.") var watch = false
    @Flag(help: "Answer in JSON.") var json = false

    private var seconds: Double? {
        Double(interval.hasSuffix("s") ? String(interval.dropLast()) : interval).flatMap { $0 >= 0.5 ? $0 : nil }
    }

    func validate() throws {
        guard seconds != nil else { throw ValidationError("--interval is at least 0.5s, not \(interval)") }
        if let minimum, minimum < 0 { throw ValidationError("--minimum is at least 0") }
        if let maximum, maximum < max(1, minimum ?? 0) {
            throw ValidationError("--maximum is at least 1, and the minimum")
        }
        if apply && binaries == nil {
            throw ValidationError("--apply needs --binaries, the folder of the services' executables")
        }
        if apply && (watch || json) {
            throw ValidationError("--apply shows what it does by itself: leave out --watch and --json")
        }
    }

    func run() async throws {
        try await operating { session in
            let goals = try goals(session.configuration)
            let demand = DemandWatch(session.queues, logger: session.logger) { goals[$0] ?? .init() }
            if apply { return try await supervise(session, demand) }
            try await watching(watch) {
                let services = try await demand.look()
                if json { try printOperatorJSON(services) } else { show(services) }
            }
        }
    }

    private func goals(_ configuration: ServiceConfiguration) throws -> [String: WorkerDemand.Goal] {
        var goals: [String: WorkerDemand.Goal] = [:]
        for service in services {
            for (queue, goal) in try service.workerGoals(configuration) {
                var goal = goal
                goal.minimum = minimum ?? goal.minimum
                goal.maximum = max(maximum ?? goal.maximum, goal.minimum)
                goals[queue] = goal
            }
        }
        return goals
    }

    private func show(_ services: [DemandWatch.ServiceDemand]) {
        let rows = services.flatMap { service in
            [[service.service, "", "\(service.wanted)", "", "", "", "", ""]]
                + service.queues.map { one in
                    [
                        "", one.queue, "\(one.wanted)", "\(one.workers)", "\(one.backlog)",
                        rateText(one.arrivalPerSecond), secondsText(one.meanSeconds),
                        one.predictedDrainSeconds.map(JobDiagnosis.text) ?? "never",
                    ]
                }
        }
        printTable(["SERVICE", "QUEUE", "WANTED", "WORKERS", "BACKLOG", "IN", "RUN", "DRAINED IN"], rows)
    }

    private func supervise(_ session: OperatorSession, _ demand: DemandWatch) async throws {
        let connection = session.configuration.string("database.serviceUrl")
        guard connection.contains("{service}") else {
            throw WrongCall(
                "GUANXI_DATABASE_SERVICE_URL is the services' connection string with {service} for the name, such as "
                    + "\"host=127.0.0.1 dbname=guanxi user=guanxi_{service}\"")
        }
        let folder = URL(filePath: binaries!)
        for service in services {
            let path = folder.appending(path: service.name).path
            guard FileManager.default.isExecutableFile(atPath: path) else {
                throw WrongCall("there is no executable \(path)")
            }
        }
        let plan = WorkerSupervisor.Plan(
            binaries: folder, connection: connection,
            // A worker's own grace, what it needs to hand back, and then some.
            grace: Double(try session.configuration.int("worker.grace")) + 15, interval: .seconds(seconds!))
        let supervisor = WorkerSupervisor(plan: plan, demand: demand, queues: session.queues)
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: supervisor)], gracefulShutdownSignals: [.sigterm, .sigint],
                logger: session.logger))
        try await group.run()
    }
}

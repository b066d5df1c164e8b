import Foundation
import Jobs
import Processes
import ServiceKit
import ServiceLifecycle

/// Keeps as many worker processes on this machine as the queues want: starts them, drains what is too many, replaces what
/// died, and at its own end has all of them end in good order.
actor WorkerSupervisor: ServiceLifecycle.Service {
    /// How workers are started.
    struct Plan: Sendable {
        /// Where the services' executables lie.
        let binaries: URL
        /// A connection string with `{service}` where the service's name belongs.
        let connection: String
        /// Seconds that a process may take to end before it is killed.
        let grace: Double
        let interval: Duration
    }

    private let plan: Plan
    private let demand: DemandWatch
    private let queues: QueueOperator
    private var fleets: [String: WorkerFleet] = [:]
    private var processes: [Int32: (service: String, process: ChildProcess)] = [:]
    /// Every process that was ever started here: what a dead one leaves in Redis for a few seconds is nobody else's.
    private var own: Set<Int32> = []
    private var wanted: [String: Int] = [:]
    private var isEnding = false

    init(plan: Plan, demand: DemandWatch, queues: QueueOperator) {
        self.plan = plan
        self.demand = demand
        self.queues = queues
    }

    private static let epoch = ContinuousClock.now
    private var now: Double { (.now - Self.epoch) / .seconds(1) }

    /// Supervises until graceful shutdown, and then until the last process is gone.
    func run() async throws {
        await cancelWhenGracefulShutdown { await self.supervise() }
        await end()
    }

    private func supervise() async {
        var nextLook = ContinuousClock.now
        while !Task.isCancelled {
            reap()
            if ContinuousClock.now >= nextLook {
                nextLook = .now + plan.interval
                do { try await look() } catch { say("the demand could not be measured: \(error)") }
            }
            for service in wanted.keys.sorted() { take(service) }
            try? await Task.sleep(for: .milliseconds(200))
        }
    }

    /// Workers that somebody else started count too.
    private func look() async throws {
        let here = ProcessInfo.processInfo.hostName
        let foreign = try await queues.workers().filter { $0.host != here || !own.contains($0.pid ?? 0) }
        for service in try await demand.look() {
            let others = Set(
                foreign.filter { $0.queue.hasPrefix("\(service.service).") }.map { "\($0.host) \($0.pid ?? 0)" })
            let next = max(0, service.wanted - others.count)
            if wanted[service.service] != next {
                say("\(service.service): \(service.wanted) wanted, \(others.count) run elsewhere")
            }
            wanted[service.service] = next
        }
    }

    private func take(_ service: String) {
        var fleet = fleets[service] ?? WorkerFleet(grace: plan.grace)
        fleet.look(now: now)
        for step in fleet.steps(wanted: wanted[service] ?? 0, now: now) {
            switch step {
            case .start:
                do {
                    let process = try start(service)
                    let pid = process.pid
                    processes[pid] = (service, process)
                    own.insert(pid)
                    fleet.started(pid, now: now)
                    say("\(service): started \(pid)")
                } catch {
                    fleet.failedToStart(now: now)
                    say("\(service): could not be started: \(error)")
                }
            case .drain(let pid):
                fleet.draining(pid, now: now)
                processes[pid]?.process.signal(SIGTERM)
                say("\(service): draining \(pid)")
            case .kill(let pid):
                processes[pid]?.process.signal(SIGKILL)
                say("\(service): \(pid) did not end within its grace, killed")
            }
        }
        fleets[service] = fleet
    }

    private func start(_ service: String) throws -> ChildProcess {
        try ChildProcess(
            plan.binaries.appending(path: service).path, ["work"],
            environment: ProcessInfo.processInfo.environment.merging([
                "GUANXI_DATABASE_URL": plan.connection.replacing("{service}", with: service),
                "GUANXI_INTERNAL_PORT": "0",
            ]) { $1 }, output: .discarded)
    }

    private func reap() {
        for (pid, entry) in processes {
            guard let ending = entry.process.ending else { continue }
            processes[pid] = nil
            let isSurprise = fleets[entry.service]?.ended(pid, now: now) == true && !isEnding
            say("\(entry.service): \(pid) ended \(ending)" + (isSurprise ? ", it will be replaced" : ""))
        }
    }

    private func end() async {
        isEnding = true
        say("ending \(processes.count) processes")
        for entry in processes.values { entry.process.signal(SIGTERM) }
        let deadline = ContinuousClock.now + .seconds(plan.grace)
        var isKilled = false
        while !processes.isEmpty {
            reap()
            if !isKilled && ContinuousClock.now > deadline {
                isKilled = true
                for entry in processes.values { entry.process.signal(SIGKILL) }
            }
            // This task may be cancelled already, and would not sleep.
            await Task.detached { try? await Task.sleep(for: .milliseconds(50)) }.value
        }
    }

    /// Straight out, so that each line is seen as it is said, also in a file.
    private func say(_ line: String) {
        FileHandle.standardOutput.write(Data("\(Date().formatted(.iso8601))  \(line)\n".utf8))
    }
}

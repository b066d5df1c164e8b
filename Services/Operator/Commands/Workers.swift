import ArgumentParser
import Foundation
import Jobs

struct Workers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the workers, quiets one, and stops one.",
        discussion: """
            Examples:
              guanxi workers --watch
              guanxi workers quiet host-4711-1x2y3z-1
              guanxi workers stop host-4711-1x2y3z-1
            """,
        subcommands: [List.self, Quiet.self, Resume.self, Stop.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows every worker: where it runs, what it serves, how long its lease lasts.")
        @Flag(help: "Show it again each second.") var watch = false
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            try await operating { session in
                try await watching(watch) {
                    let workers = try await session.queues.workers()
                    if json { return try printOperatorJSON(workers) }
                    Workers.show(workers)
                }
            }
        }
    }

    struct Quiet: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lets a worker's process fetch no more, on whichever machine; what it runs goes on.",
            discussion: """
                For all of its queues, and for a day: then it fetches again, as after `guanxi workers resume`. A process that
                is to be replaced is quieted first, and stopped once it runs nothing.
                """)
        @Argument(help: "The worker, as `guanxi workers` names it.") var name: String
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws { try await Workers.setQuiet(true, name, json: json) }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets a quiet worker's process fetch again.")
        @Argument(help: "The worker, as `guanxi workers` names it.") var name: String
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws { try await Workers.setQuiet(false, name, json: json) }
    }

    private static func setQuiet(_ isQuiet: Bool, _ name: String, json: Bool) async throws {
        try await operating { session in
            let workers = try await session.queues.setQuiet(isQuiet, name)
            if json { try printOperatorJSON(workers) } else { show(workers) }
        }
    }

    private static func show(_ workers: [QueueOperator.WorkerLine]) {
        printTable(
            ["WORKER", "QUEUE", "HOST", "PID", "RUNNING", "LEASE", ""],
            workers.map { one in
                [
                    one.name, one.queue, one.host, one.pid.map { "\($0)" } ?? "-", "\(one.running)",
                    one.leaseSeconds < 0 ? "over" : secondsText(one.leaseSeconds), one.isQuiet ? "quiet" : "",
                ]
            })
    }

    struct Stop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ends a worker's process in good order: it fetches no more and lets its jobs end.",
            discussion: """
                The process serves other queues too, and stops for all of them. Only processes of this machine can be
                reached; elsewhere their supervisor stops them.
                """)
        @Argument(help: "The worker, as `guanxi workers` names it.") var name: String
        @Flag(help: "Answer in JSON.") var json = false
        @OptionGroup var consent: Consent

        func run() async throws {
            try await operating { session in
                let process = try await session.queues.process(ofWorker: name)
                try consent.confirm("Stop process \(process.pid)")
                try process.stop()
                if json { return try printOperatorJSON(process) }
                print("process \(process.pid) was asked to end")
            }
        }
    }
}

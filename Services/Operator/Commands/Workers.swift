import ArgumentParser
import Foundation
import Jobs

#if canImport(Glibc)
    import Glibc
#endif

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
        @OptionGroup var consent: Consent

        func run() async throws {
            try await operating { session in
                guard let worker = try await session.queues.workers().first(where: { $0.name == name }) else {
                    throw OperatorRefusal("unknown_worker", "there is no worker \(name)")
                }
                let here = ProcessInfo.processInfo.hostName
                guard worker.host == here, let pid = worker.pid else {
                    throw OperatorRefusal(
                        "elsewhere", "\(name) runs on \(worker.host), this is \(here): stop it there, by its supervisor"
                    )
                }
                guard Self.isWorker(pid) else {
                    throw OperatorRefusal("gone", "process \(pid) is no worker any more; its lease will end by itself")
                }
                try consent.confirm("Stop process \(pid)")
                guard kill(pid, SIGTERM) == 0 else {
                    throw OperatorRefusal(
                        "refused", "process \(pid) can't be signalled: \(String(cString: strerror(errno)))")
                }
                print("process \(pid) was asked to end")
            }
        }

        /// A number may have gone to another process since; in a container of its own, it is not seen from here at all.
        private static func isWorker(_ pid: Int32) -> Bool {
            guard let line = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") else { return false }
            return line.split(separator: 0).contains { $0.elementsEqual("work".utf8) }
        }
    }
}

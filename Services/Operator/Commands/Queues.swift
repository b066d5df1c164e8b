import ArgumentParser
import Database
import Foundation
import Jobs
import ServiceKit

struct Queues: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows every queue: what waits, what runs, how old the oldest is.")
    @Flag(help: "Answer in JSON.") var json = false

    private struct Line: Encodable {
        let queue: String
        let waiting: Int
        let running: Int
        let delayed: Int
        let dead: Int
        let workers: Int
        let tenants: Int
        let paused: Bool
        let oldestSeconds: Double
    }

    func run() async throws {
        let session = try await OperatorSession()
        defer { session.close() }
        var lines: [Line] = []
        for name in services.flatMap(\.queues) {
            let depth = try await RedisQueue(name: name, redis: session.redis).depth()
            lines.append(
                Line(
                    queue: name, waiting: depth.waiting, running: depth.running, delayed: depth.delayed,
                    dead: depth.dead,
                    workers: depth.workers, tenants: depth.tenants, paused: depth.isPaused,
                    oldestSeconds: depth.oldestAge))
        }
        if json { return try printJSON(lines) }
        printTable(
            ["QUEUE", "WAITING", "RUNNING", "DELAYED", "DEAD", "WORKERS", "TENANTS", "OLDEST", ""],
            lines.map {
                [
                    $0.queue, "\($0.waiting)", "\($0.running)", "\($0.delayed)", "\($0.dead)", "\($0.workers)",
                    "\($0.tenants)", String(format: "%.1f s", $0.oldestSeconds), $0.paused ? "paused" : "",
                ]
            })
    }
}

struct Jobs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Looks at jobs.", subcommands: [Show.self])

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows where a job came from and what became of it, as PostgreSQL knows it.")
        @Argument(help: "The job's id.") var id: String
        @Flag(help: "Answer in JSON.") var json = false

        private struct Story: Encodable {
            var id: String
            var tenant: Int?
            var name: String?
            var queue: String?
            var origin: String?
            var enqueuedAt: String?
            var outcome = "unknown"
            var finishedAt: String?
            var attempts: Int?
            var error: String?
        }

        func run() async throws {
            guard let job = UUID(uuidString: id) else { throw usage("\(id) is no id") }
            let session = try await OperatorSession()
            defer { session.close() }
            let story = try await session.owner.withoutTenant { transaction in
                _ = try await transaction.query(Statement("set local role guanxi_across"))
                var story = Story(id: job.lowercased)
                for service in services.map(\.name) {
                    let rows = try await transaction.batch([
                        Statement(
                            "select tenant_id, name, queue, created_at::text from \(service).outbox where id = $1",
                            [.uuid(job)]),
                        Statement(
                            "select outcome, finished_at::text from \(service).inbox where job_id = $1", [.uuid(job)]),
                    ])
                    if rows[0].count == 1 {
                        story.origin = service
                        story.tenant = rows[0].int(0, 0)
                        story.name = rows[0].text(0, 1)
                        story.queue = rows[0].text(0, 2)
                        story.enqueuedAt = rows[0].text(0, 3)
                        if story.outcome == "unknown" { story.outcome = "not finished" }
                    }
                    if rows[1].count == 1 {
                        story.outcome = ["done", "cancelled", "dead"][(rows[1].int(0, 0) ?? 1) - 1]
                        story.finishedAt = rows[1].text(0, 1)
                    }
                }
                return story
            }
            if story.outcome == "unknown" { throw usage("no outbox knows the job \(id)") }
            if json { return try printJSON(story) }
            printTable(
                ["", ""],
                [
                    ["job", story.id], ["name", story.name ?? "-"], ["queue", story.queue ?? "-"],
                    ["tenant", story.tenant.map(String.init) ?? "-"], ["from", story.origin ?? "-"],
                    ["enqueued", story.enqueuedAt ?? "-"], ["outcome", story.outcome],
                    ["finished", story.finishedAt ?? "-"],
                ])
        }
    }
}

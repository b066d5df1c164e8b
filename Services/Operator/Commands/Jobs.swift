import ArgumentParser
import Foundation
import Jobs

struct Jobs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Looks at jobs, and cancels, retries and replays them.",
        discussion: """
            Examples:
              guanxi jobs list --queue contacts.import --phase dead --since 2h
              guanxi jobs why 01a2031f-119c-7b8d-8c7a-975042ef0d88
              guanxi jobs replay --queue accounts.events --code internal --dry-run
              guanxi jobs replay --queue accounts.events --code internal --rate 20 --yes
            """,
        subcommands: [List.self, Show.self, Why.self, Retry.self, Cancel.self, Replay.self])

    /// Which jobs, as the command line says it.
    struct Selection: ParsableArguments {
        @Option(help: "A queue; may be given several times. All when left out.") var queue: [String] = []
        @Option(help: "The tenant's slug or number.") var tenant: String?
        @Option(help: "The job's name.") var name: String?
        @Option(help: "Of the dead: the error's code, such as internal, quarantined or expired.") var code: String?
        @Option(help: "Of the dead: since when, as 2026-01-31T12:00:00Z or 2h.") var since: String?
        @Option(help: "Of the dead: until when.") var until: String?

        func filter(_ queues: QueueOperator, limit: Int) async throws -> QueueOperator.Filter {
            guard limit > 0 else { throw WrongCall("--limit is at least 1") }
            var filter = QueueOperator.Filter()
            filter.queues = queue
            if let tenant { filter.tenant = try await queues.tenant(tenant).id }
            filter.name = name
            filter.code = code
            filter.since = try moment(since)
            filter.until = try moment(until)
            filter.limit = limit
            return filter
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists jobs that run, wait, are delayed or dead.",
            discussion: "The dead are listed from PostgreSQL, which remembers them whatever becomes of Redis.")
        @OptionGroup var selection: Selection
        @Option(help: "running, waiting, delayed or dead; may be given several times.") var phase: [String] = []
        @Option(help: "How many at most.") var limit = 50
        @Flag(help: "Show it again each second.") var watch = false
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let phases = try phase.map { word in
                guard let known = RedisQueue.Phase(rawValue: word) else {
                    throw WrongCall("\(word) is no phase: running, waiting, delayed or dead")
                }
                return known
            }
            try await operating { session in
                var filter = try await selection.filter(session.queues, limit: limit)
                filter.phases = filter.code != nil || filter.since != nil || filter.until != nil ? [.dead] : phases
                try await watching(watch) {
                    let lines = try await session.queues.jobs(filter)
                    if json { return try printOperatorJSON(lines) }
                    printTable(
                        ["JOB", "PHASE", "QUEUE", "NAME", "TENANT", "TRIES", "AT", ""],
                        lines.map { one in
                            [
                                one.id, one.phase, one.queue, one.name, one.tenant, "\(one.attempts)",
                                one.at.map { $0.formatted(.iso8601) } ?? "-", Self.remark(one),
                            ]
                        })
                }
            }
        }

        private static func remark(_ line: QueueOperator.Line) -> String {
            if let again = line.replayedAs { return "replayed as \(again)" }
            if let worker = line.worker { return "on \(worker)" }
            guard let code = line.code else { return "" }
            return "\(code): \((line.error ?? "").prefix(80))"
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows where a job came from, where it is, and what became of it.")
        @Argument(help: "The job's id.") var id: String
        @Flag(help: "Answer in JSON.") var json = false

        private struct Answer: Encodable {
            let job: JobStory
            let diagnosis: JobDiagnosis
        }

        func run() async throws {
            let id = try jobID(id)
            try await operating { session in
                let story = try await session.queues.story(id)
                let why = try await session.queues.why(story)
                if json { return try printOperatorJSON(Answer(job: story, diagnosis: why)) }
                printTable(["", ""], Self.rows(story, why).map { [$0.0, $0.1] })
            }
        }

        private static func rows(_ story: JobStory, _ why: JobDiagnosis) -> [(String, String)] {
            func time(_ date: Date?) -> String? { date.map { $0.formatted(.iso8601) } }
            let optional: [(String, String?)] = [
                ("job", story.id), ("name", story.name), ("queue", story.queue), ("tenant", story.tenantName),
                ("from", story.origin ?? "an outbox that is no longer kept"), ("enqueued", time(story.createdAt)),
                ("not before", time(story.runAt)), ("payload", story.payloadBytes.map { "\($0) bytes" }),
                (
                    "attempts",
                    story.attempts.map { "\($0)" + (story.maxAttempts.map { " of \($0)" } ?? "") }
                ),
                ("crashes", story.crashes.map { "\($0)" }),
                ("one at a time", story.serialKey),
                ("error", story.death.map { "\($0.code): \($0.error)" }),
                ("replayed", story.death?.replayedAs.map { "as \($0)" }),
                (
                    "group",
                    story.group.map { "\($0.remaining) outstanding, \($0.failed) failed, then \($0.completion)" }
                ),
                (
                    "progress",
                    story.status.map { "\($0.done)" + ($0.total.map { " of \($0)" } ?? "") + ", \($0.state)" }
                ),
                ("now", why.text), ("begins in", why.seconds.map { "about \(JobDiagnosis.text($0))" }),
            ]
            return optional.compactMap { row in row.1.map { (row.0, $0) } }
        }
    }

    struct Why: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Says in one line what holds a job, and about how long.")
        @Argument(help: "The job's id.") var id: String
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let id = try jobID(id)
            try await operating { session in
                let why = try await session.queues.why(try await session.queues.story(id))
                if json { return try printOperatorJSON(why) }
                let isAhead = ![.running, .notYetDue, .retryWait].contains(why.reason)
                let estimate = isAhead ? why.seconds.map { ", begins in about \(JobDiagnosis.text($0))" } ?? "" : ""
                print(why.text + estimate)
            }
        }
    }

    struct Retry: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Has a delayed job run now, and a dead one anew.")
        @Argument(help: "The job's id.") var id: String
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let id = try jobID(id)
            try await operating { session in
                let retried = try await session.queues.retry(id)
                if json { return try printOperatorJSON(retried.answer(of: id)) }
                switch retried {
                case .hastened: print("due now")
                case .replayed(let fresh): print("enqueued anew as \(fresh.lowercased)")
                }
            }
        }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Cancels a job that waits or runs.",
            discussion:
                "A job that runs hears of it within a second and can't commit its end. A job that is over stays so.")
        @Argument(help: "The job's id.") var id: String
        @Flag(help: "Answer in JSON.") var json = false
        @OptionGroup var consent: Consent

        func run() async throws {
            let id = try jobID(id)
            try await operating { session in
                let story = try await session.queues.story(id)
                try consent.confirm("Cancel \(story.name) of \(story.tenantName)")
                try await session.queues.cancel(id)
                if json { return try printOperatorJSON(try await session.queues.story(id)) }
                print("cancelled \(id.lowercased)")
            }
        }
    }

    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Enqueues dead jobs anew, each once.",
            discussion: """
                A replay is a new job under a fresh id: the old one is over, and is marked with the id that follows it. It
                stays in its group, whose completion may then come. Jobs can be replayed for nine days, as long as outboxes
                are kept.
                """)
        @Argument(help: "One job's id, in place of the filters.") var id: String?
        @OptionGroup var selection: Selection
        @Option(help: "How many at most, the oldest first.") var limit = 100_000
        @Option(help: "How many per second at most.") var rate: Double?
        @Flag(name: .customLong("dry-run"), help: "Count them, and do nothing.") var dryRun = false
        @Flag(help: "Answer in JSON.") var json = false
        @OptionGroup var consent: Consent

        func validate() throws {
            if let rate, !QueueOperator.replayRates.contains(rate) {
                throw ValidationError("--rate lies between 0.001 and 1,000,000 a second")
            }
        }

        func run() async throws {
            try await operating { session in
                if let id { return try await one(try jobID(id), session) }
                let filter = try await selection.filter(session.queues, limit: limit)
                let foretold = try await session.queues.replay(filter, dryRun: true)
                if dryRun || foretold.matched == 0 { return try show(foretold) }
                try consent.confirm("Replay \(foretold.matched) dead jobs")
                var told = ContinuousClock.now
                let report = try await session.queues.replay(filter, perSecond: rate, dryRun: false) { report in
                    if !json && ContinuousClock.now - told > .seconds(5) {
                        told = .now
                        print("\(report.replayed) of \(foretold.matched)")
                    }
                }
                try show(report)
            }
        }

        private func one(_ id: UUID, _ session: OperatorSession) async throws {
            let story = try await session.queues.story(id)
            guard let death = story.death else { throw OperatorRefusal("not_dead", "the job is not dead") }
            if dryRun {
                print(death.replayedAs.map { "replayed already, as \($0)" } ?? "would replay \(story.name)")
                return
            }
            try consent.confirm("Replay \(story.name) of \(story.tenantName)")
            if case .replayed(let fresh) = try await session.queues.retry(id) {
                print("enqueued anew as \(fresh.lowercased)")
            }
        }

        private func show(_ report: QueueOperator.Replay) throws {
            if json { return try printOperatorJSON(report) }
            for (name, count) in report.names.sorted(by: { $0.key < $1.key }) { print("\(count)  \(name)") }
            if report.dryRun { return print("\(report.matched) would be replayed") }
            let gone = report.payloadGone > 0 ? ", \(report.payloadGone) could not: what they carry is gone" : ""
            print("\(report.replayed) replayed\(gone)")
        }
    }
}

import ArgumentParser
import Foundation
import Jobs

struct Queues: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the queues, pauses and drains them, and shares them out among tenants.",
        discussion: """
            Examples:
              guanxi queues --watch
              guanxi queues tenants contacts.import
              guanxi queues pause contacts.import --yes
              guanxi queues share contacts.import acme --cap 4 --rate 50
            """,
        subcommands: [List.self, TenantList.self, Pause.self, Resume.self, Drain.self, Share.self],
        defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows every queue: what waits, what runs, how fast it goes, how old the oldest is.")
        @Flag(help: "Show it again each second.") var watch = false
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            try await operating { session in
                try await watching(watch) {
                    let figures = try await session.queues.figures()
                    if json { try printOperatorJSON(figures) } else { show(figures) }
                }
            }
        }

        private func show(_ figures: [QueueOperator.Figures]) {
            printTable(
                [
                    "QUEUE", "WAITING", "RUNNING", "DELAYED", "BACKLOG", "IN LINE", "DEAD", "WORKERS", "TENANTS", "IN",
                    "OUT", "RUN", "OLDEST", "",
                ],
                figures.map { one in
                    [
                        one.queue, "\(one.waiting)", "\(one.running)", "\(one.delayed + one.putOff)",
                        "\(one.backlog)",
                        "\(one.inLine)", "\(one.dead)", "\(one.workers)", "\(one.tenants)",
                        rateText(one.arrivalPerSecond), rateText(one.donePerSecond),
                        secondsText(one.meanSeconds), secondsText(one.oldestSeconds), one.paused ? "paused" : "",
                    ]
                })
        }
    }

    struct TenantList: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "tenants", abstract: "Shows the tenants of a queue: what each has there and may do.")
        @Argument(help: "The queue.") var queue: String
        @Option(help: "How many at most, those with the most first.") var limit = 50
        @Flag(help: "Show it again each second.") var watch = false
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            try await operating { session in
                try await watching(watch) {
                    let standings = try await session.queues.standings(in: queue, limit: limit)
                    if json { return try printOperatorJSON(standings) }
                    printTable(
                        ["TENANT", "WAITING", "RUNNING", "DELAYED", "WEIGHT", "CAP", "RATE", "BURST", ""],
                        standings.map { one in
                            let notes = [
                                one.isHeld ? "held" : nil, one.hasBacklog ? "backlog in PostgreSQL" : nil,
                                one.parkedSeconds.map { "parked \(secondsText($0))" },
                            ]
                            return [
                                one.tenant, "\(one.waiting)", "\(one.running)", "\(one.delayed)", "\(one.weight)",
                                one.cap == 0 ? "-" : "\(one.cap)", one.rate == 0 ? "-" : rateText(one.rate),
                                one.rate == 0 ? "-" : "\(one.burst)", notes.compactMap { $0 }.joined(separator: ", "),
                            ]
                        })
                }
            }
        }
    }

    struct Pause: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lets nothing more of a queue begin; what runs goes on.",
            discussion: "It is kept in PostgreSQL, and stands after Redis has lost everything.")
        @Argument(help: "The queue.") var queue: String
        @Flag(help: "Answer in JSON.") var json = false
        @OptionGroup var consent: Consent

        func run() async throws {
            try await operating { session in
                try session.queues.require(queue)
                try consent.confirm("Pause \(queue)")
                try await session.queues.setPaused(true, queue)
                if json { return try printOperatorJSON(try await session.queues.figures(of: queue)) }
                print("\(queue) is paused")
            }
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets a paused queue go on.")
        @Argument(help: "The queue.") var queue: String
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            try await operating { session in
                try await session.queues.setPaused(false, queue)
                if json { return try printOperatorJSON(try await session.queues.figures(of: queue)) }
                print("\(queue) goes on")
            }
        }
    }

    struct Drain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Pauses a queue and waits until nothing of it runs.",
            discussion: "Ends with 1 when something still runs after the time given. The queue stays paused.")
        @Argument(help: "The queue.") var queue: String
        @Option(help: "Seconds to wait at most.") var timeout = 300.0
        @Flag(help: "Answer in JSON.") var json = false
        @OptionGroup var consent: Consent

        func run() async throws {
            try await operating { session in
                try session.queues.require(queue)
                try consent.confirm("Pause \(queue) and wait until nothing of it runs")
                var last = -1
                let running = try await session.queues.drain(queue, within: timeout) { running in
                    if running != last && !json { print("\(running) running") }
                    last = running
                }
                if json {
                    try printOperatorJSON(try await session.queues.figures(of: queue))
                } else {
                    print(running == 0 ? "\(queue) is drained, and paused" : "\(queue) is paused, \(running) still run")
                }
                if running > 0 { throw ExitCode(1) }
            }
        }
    }

    struct Share: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Says what a tenant may do in a queue: its weight, its cap, its rate.",
            discussion: """
                What is left out stays as it is. It holds from the next job on, and after a loss of Redis.

                Examples:
                  guanxi queues share contacts.import acme --weight 2
                  guanxi queues share '*' acme --cap 8 --rate 100 --burst 200
                """)
        @Argument(help: "The queue, or * for all.") var queue: String
        @Argument(help: "The tenant's slug or number.") var tenant: String
        @Option(help: "Its share of running time; 1 is the usual.") var weight: Double?
        @Option(help: "How many of its jobs run at once; 0 for the queue's usual.") var cap: Int?
        @Option(help: "How many of its jobs start per second; 0 for any number.") var rate: Double?
        @Option(help: "How many may start at once after a rest.") var burst: Double?
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            try await operating { session in
                let found = try await session.queues.tenant(tenant)
                let share = try await session.queues.setShare(
                    .init(weight: weight, cap: cap, rate: rate, burst: burst), of: found, in: queue)
                if json { return try printOperatorJSON(share) }
                let cap = share.cap == 0 ? "the queue's usual cap" : "cap \(share.cap)"
                let rate = share.rate == 0 ? "no rate" : "rate \(share.rate)/s, burst \(share.burst)"
                print("\(found.slug) in \(queue): weight \(share.weight), \(cap), \(rate)")
            }
        }
    }
}

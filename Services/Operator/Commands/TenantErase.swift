import ArgumentParser
import Database
import Foundation
import Tenancy

extension Tenants {
    struct Erase: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Closes a tenant, and erases it for good when its time of grace is over.",
            discussion: """
                The first call closes the tenant: requests answer 403, jobs rest, and `guanxi tenants resume` takes it \
                back. The same call after the time of grace, or with --now, deletes everything and prints how much. It may \
                be killed at any moment: the same call goes on.
                """)
        @Argument(help: "The tenant's slug.") var slug: String
        @Option(help: "The time of grace: 30d, or 12h.") var after = "30d"
        @Flag(help: "Erase now, without a time of grace.") var now = false
        @Flag(help: "Do not ask.") var yes = false
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let grace = try seconds(after)
            let session = try await OperatorSession()
            defer { session.close() }
            let erasure = TenantErasure(owner: session.owner)
            let directory = TenantDirectory(owner: session.owner)
            let known = try await erasure.report(slug: slug)
            guard let found = try await directory.list(slug: slug).first else {
                guard let known else { throw WrongCall("there is no tenant \(slug)") }
                return try show(known)
            }
            let id = TenantID(found.id)
            let hasBegun = known.map { $0.tenant == found.id } ?? false
            let isDue =
                found.status == "closing" && found.eraseAfter.flatMap(Timestamp.parse).map { $0 <= Date() } ?? true
            guard now || hasBegun || isDue else {
                if found.status != "closing" {
                    try confirm("close \(slug)")
                    try await erasure.close(id, until: Date(timeIntervalSinceNow: grace))
                    await Tenants.tellRedis("workers learn of it within a minute") {
                        try await session.queues.applyShares(of: id)
                    }
                }
                guard let closing = try await directory.list(slug: slug).first else {
                    throw WrongCall("\(slug) is gone")
                }
                if json { return try printJSON(closing) }
                return print(
                    "\(slug) is closing: the same command erases it after \(closing.eraseAfter ?? "-"), `guanxi tenants resume \(slug)` takes it back"
                )
            }
            try confirm("erase \(slug) for good")
            let report = try await Tenants.refusing { try await erasure.erase(id, slug: slug) }
            await Tenants.tellRedis("workers forget its jobs later") { try await session.queues.forget(id) }
            try show(report)
        }

        private func seconds(_ text: String) throws -> Double {
            guard let number = Double(text.dropLast()), number >= 0, number <= 36_500,
                let unit = ["d": 86_400.0, "h": 3600.0][text.suffix(1)]
            else { throw WrongCall("--after takes days or hours, such as 30d or 12h") }
            return number * unit
        }

        /// Whoever sits at a terminal types the slug; a script says --yes.
        private func confirm(_ what: String) throws {
            if yes { return }
            guard isatty(STDIN_FILENO) == 1 else {
                throw WrongCall("there is nobody to ask: --yes says that you mean it")
            }
            FileHandle.standardError.write(Data("To \(what), type its slug: ".utf8))
            guard readLine() == slug else { throw WrongCall("nothing was done") }
        }

        private func show(_ report: TenantErasure.Report) throws {
            if json { return try printJSON(report) }
            let lines = report.counts.sorted { $0.key < $1.key }
            if !lines.isEmpty { printTable(["TABLE", "ROWS"], lines.map { [$0.key, "\($0.value)"] }) }
            print("\(slug) is erased: \(report.total) rows, from \(report.beganAt) to \(report.finishedAt ?? "-")")
        }
    }
}

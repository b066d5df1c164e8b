import ArgumentParser
import Database
import Foundation
import Tenancy

extension Tenants {
    struct Suspend: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Refuses a tenant's requests (403) and lets its jobs rest, until it is resumed.")
        @Argument(help: "The tenant's slug.") var slug: String
        @Flag(help: "Answer in JSON.") var json = false
        @OptionGroup var consent: Consent

        func run() async throws {
            try consent.confirm("Refuse every request of \(slug)")
            try await Tenants.set("suspended", slug, json: json)
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lets a suspended or closing tenant work again.",
            discussion: "Its jobs go on at once. A tenant whose erasure has begun can't be resumed.")
        @Argument(help: "The tenant's slug.") var slug: String
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws { try await Tenants.set("active", slug, json: json) }
    }

    private static func set(_ status: String, _ slug: String, json: Bool) async throws {
        let session = try await OperatorSession()
        defer { session.close() }
        let directory = TenantDirectory(owner: session.owner)
        let id = try await tenant(slug, directory)
        guard try await directory.setStatus(status, slug: slug) else {
            throw WrongCall("the erasure of \(slug) has begun: it can't be taken back")
        }
        await tellRedis("workers learn of it within a minute") { try await session.queues.applyShares(of: id) }
        try show(try await directory.list(slug: slug), json: json)
    }

    /// Tells Redis what PostgreSQL has already; while it can't be reached, says what comes of that.
    static func tellRedis(_ consequence: String, _ body: () async throws -> Void) async {
        do { try await body() } catch {
            FileHandle.standardError.write(Data("guanxi: Redis was not told, \(consequence): \(error)\n".utf8))
        }
    }

    struct Promote: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Moves a tenant's rows into partitions of its own, while services go on.",
            discussion: "May be stopped or killed at any moment: the same command goes on where it stopped.")
        @Argument(help: "The tenant's slug.") var slug: String
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            try await Tenants.move(slug, "dedicated", json: json) { try await $0.promote($1) }
        }
    }

    struct Demote: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Moves a tenant's rows from its own partitions back into the pool.",
            discussion: """
                While a table's rows are written back, nobody can read the table: about a second for 30,000 rows. More \
                than that is refused without --even-if-slow.
                """)
        @Argument(help: "The tenant's slug.") var slug: String
        @Flag(help: "Also tables whose readers would wait for seconds.") var evenIfSlow = false
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let isSlow = evenIfSlow
            try await Tenants.move(slug, "pooled", json: json) { try await $0.demote($1, evenIfSlow: isSlow) }
        }
    }

    private struct Moved: Encodable {
        let slug: String
        let placement: String
        let seconds: Double
        let moves: [TenantPlacement.Move]
    }

    private static func move(
        _ slug: String, _ placement: String, json: Bool,
        _ body: (TenantPlacement, TenantID) async throws -> [TenantPlacement.Move]
    ) async throws {
        let session = try await OperatorSession()
        defer { session.close() }
        let id = try await tenant(slug, TenantDirectory(owner: session.owner))
        let began = ContinuousClock.now
        let moves = try await refusing { try await body(TenantPlacement(owner: session.owner), id) }
        let seconds = (ContinuousClock.now - began) / .seconds(1)
        if json { return try printJSON(Moved(slug: slug, placement: placement, seconds: seconds, moves: moves)) }
        let filled = moves.filter { $0.rows > 0 }
        if !filled.isEmpty {
            printTable(
                ["TABLE", "ROWS", "WRITERS WAITED", "READERS WAITED", "ATTEMPTS"],
                filled.map {
                    [
                        $0.table, "\($0.rows)", milliseconds($0.writesBlocked), milliseconds($0.readsBlocked),
                        "\($0.attempts)",
                    ]
                })
        }
        let rows = moves.reduce(0) { $0 + $1.rows }
        print(
            moves.isEmpty
                ? "\(slug) is \(placement) already"
                : "\(slug) is \(placement): \(rows) rows of \(moves.count) tables in \(String(format: "%.1f", seconds)) s; writers waited \(milliseconds(moves.map(\.writesBlocked).max() ?? 0)) at most, readers \(milliseconds(moves.map(\.readsBlocked).max() ?? 0))"
        )
    }

    private static func milliseconds(_ value: Double) -> String { String(format: "%.0f ms", value) }

    /// Runs `body`; what it refuses is a mistake of whoever typed the command.
    static func refusing<Result>(_ body: () async throws -> Result) async throws -> Result {
        do { return try await body() } catch let error as TenantWorkError {
            switch error {
            case .refused, .damaged: throw WrongCall(error.description)
            case .busy, .notGranted: throw error
            }
        }
    }
}

// MARK: Export and import

extension Tenants {
    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Writes everything of a tenant into a folder.",
            discussion: """
                One file of lines for each table, as of one moment, and a manifest with their digests. Users come along \
                without their passwords; keys, passwords' hashes and the secrets of webhooks only with --with-credentials. \
                Sessions, second factors and jobs that have not run stay.
                """)
        @Argument(help: "The tenant's slug.") var slug: String
        @Argument(help: "A folder that is empty or not there yet.") var directory: String
        @Flag(help: "Also keys, and the hashes of passwords.") var withCredentials = false
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let session = try await OperatorSession()
            defer { session.close() }
            let id = try await tenant(slug, TenantDirectory(owner: session.owner))
            let manifest = try await refusing {
                try await TenantExport(owner: session.owner).write(
                    id, to: URL(filePath: directory), withCredentials: withCredentials)
            }
            try Tenants.show(manifest, slug: slug, json: json)
            if !json && manifest.unfinishedJobs > 0 {
                print("jobs that had not run, and will do what is not in the export: \(manifest.unfinishedJobs)")
            }
        }
    }

    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Makes a new tenant out of an export.",
            discussion: """
                All of it or nothing; every file is verified before anything is written. The tenant is suspended: nothing \
                goes out in its name before `guanxi tenants resume`.
                """)
        @Argument(help: "The export's folder.") var directory: String
        @Option(help: "The new tenant's slug.") var slug: String
        @Flag(help: "Answer in JSON.") var json = false

        func run() async throws {
            let session = try await OperatorSession()
            defer { session.close() }
            let (_, manifest) = try await creating(slug) {
                try await refusing {
                    try await TenantImport(owner: session.owner).read(URL(filePath: directory), slug: slug)
                }
            }
            try Tenants.show(manifest, slug: slug, json: json)
            if !json { print("\(slug) is suspended: `guanxi tenants resume \(slug)` lets it work") }
        }
    }

    private struct Transferred: Encodable {
        let slug: String
        let digest: String
        let rows: Int
        let unfinishedJobs: Int
        let tables: [TenantManifest.Table]
    }

    private static func show(_ manifest: TenantManifest, slug: String, json: Bool) throws {
        let rows = manifest.tables.reduce(0) { $0 + $1.rows }
        if json {
            return try printJSON(
                Transferred(
                    slug: slug, digest: manifest.digest, rows: rows, unfinishedJobs: manifest.unfinishedJobs,
                    tables: manifest.tables))
        }
        let filled = manifest.tables.filter { $0.rows > 0 }
        printTable(
            ["TABLE", "ROWS", "BYTES", "SHA-256"],
            filled.map { [$0.name, "\($0.rows)", "\($0.bytes)", "\($0.sha256.prefix(16))…"] })
        print("\(slug): \(rows) rows, digest \(manifest.digest)")
    }
}

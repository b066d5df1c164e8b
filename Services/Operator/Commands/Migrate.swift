import ArgumentParser
import Database
import Foundation
import ServiceKit

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Brings the database's schemas up to date.",
        discussion:
            "With GUANXI_DATABASE_ADMIN_URL set it also creates roles and extensions. Any number may run at once.")

    @Flag(help: "Show what is applied and what is pending, and change nothing.")
    var status = false
    @Flag(name: .customLong("dry-run"), help: "The same as --status.")
    var dryRun = false
    @Flag(help: "Answer in JSON.") var json = false

    private struct Line: Encodable {
        let migration: String
        let state: String
        let appliedAt: String?
    }

    func run() async throws {
        let session = try await OperatorSession()
        defer { session.close() }
        let setup = SchemaSetup(services: services, logger: session.logger)
        if status || dryRun {
            let all = try await setup.status(owner: session.owner).map {
                Line(migration: "\($0.schema)/\($0.id)", state: $0.state.rawValue, appliedAt: $0.appliedAt)
            }
            if json { return try printOperatorJSON(all) }
            printTable(["MIGRATION", "STATE", "APPLIED"], all.map { [$0.migration, $0.state, $0.appliedAt ?? "-"] })
            return
        }
        let admin = session.configuration.string("database.adminUrl")
        if !admin.isEmpty {
            try await setup.bootstrap(connection: admin)
        }
        let applied = try await setup.migrate(owner: session.owner)
        if json { return try printOperatorJSON(applied) }
        for id in applied { print("applied \(id)") }
        if applied.isEmpty { print("nothing pending") }
    }
}

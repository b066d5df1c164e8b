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

    func run() async throws {
        let session = try await OperatorSession()
        defer { session.close() }
        let setup = SchemaSetup(services: services, logger: session.logger)
        if status || dryRun {
            let all = try await setup.status(owner: session.owner)
            printTable(
                ["MIGRATION", "STATE", "APPLIED"],
                all.map { ["\($0.schema)/\($0.id)", $0.state.rawValue, $0.appliedAt ?? "-"] })
            return
        }
        let admin = session.configuration.string("database.adminUrl")
        if !admin.isEmpty {
            try await setup.bootstrap(connection: admin)
        }
        let applied = try await setup.migrate(owner: session.owner)
        for id in applied { print("applied \(id)") }
        if applied.isEmpty { print("nothing pending") }
    }
}

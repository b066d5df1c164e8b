import Accounts
import Analytics
import Contacts
import Database
import Foundation
import Logging
import Opportunities
import ServiceKit
import Synchronization
import Tickets

/// The private servers that `scripts/test` started, as the environment names them.
package enum TestServers {
    /// A libpq connection string of a superuser, without a database.
    package static var postgres: String {
        guard let value = ProcessInfo.processInfo.environment["GUANXI_TEST_POSTGRES"] else {
            fatalError("GUANXI_TEST_POSTGRES is not set: run the tests with scripts/test, which starts the servers")
        }
        return value
    }

    package static var postgresPassword: String {
        postgres.split(separator: " ").first { $0.hasPrefix("password=") }.map { String($0.dropFirst(9)) } ?? ""
    }

    /// Where the built executables lie: beside the tests' own bundle.
    package static let binaries: URL = {
        if let path = ProcessInfo.processInfo.environment["GUANXI_TEST_BINARIES"] { return URL(filePath: path) }
        return URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
    }()

    package static let logger: Logger = {
        var logger = Logger(label: "test")
        logger.logLevel = .error
        return logger
    }()
}

/// The services under test.
package let allServices = [
    contactsService, opportunitiesService, ticketsService, analyticsService, accountsService,
]

/// A database of a test's own: a copy of one migrated template, which takes a moment instead of a migration.
package final class TestDatabase: Sendable {
    package let name: String

    private static let template = Mutex<Task<String, any Error>?>(nil)
    /// The databases nobody needs any more, oldest first.
    private static let ended = Mutex<[String]>([])
    /// How many of them are left alone: a pool may still be using the database of a test that let go of this object.
    private static let leftAlone = 8

    /// Copies the template, and drops what earlier tests left: a hundred megabytes each, of hundreds of tests.
    package init() async throws {
        let template = try await Self.migratedTemplate()
        name = "t_\(UUID().uuidString.lowercased().replacing("-", with: ""))"
        let admin = Self.admin("postgres")
        defer { admin.close() }
        await Self.dropEnded(admin)
        try await Self.create(name, template: template, admin)
    }

    deinit {
        Self.ended.withLock { $0.append(name) }
    }

    private static func dropEnded(_ admin: Database) async {
        let old = ended.withLock { ended in
            let old = ended.dropLast(leftAlone)
            ended.removeFirst(old.count)
            return old
        }
        for name in old {
            // Not by force: whoever is still connected keeps it, and it comes again later.
            let drop = Statement("drop database \(name)")
            if (try? await admin.query(tenant: nil, drop)) == nil { ended.withLock { $0.append(name) } }
        }
    }

    private static func migratedTemplate() async throws -> String {
        let task = template.withLock { known in
            if let known { return known }
            let task = Task { try await makeTemplate() }
            known = task
            return task
        }
        return try await task.value
    }

    private static func makeTemplate() async throws -> String {
        let name = "template_\(UUID().uuidString.lowercased().prefix(8))"
        let server = admin("postgres")
        try await create(name, template: "template0", server)
        server.close()
        let setup = SchemaSetup(services: allServices, logger: TestServers.logger)
        let superuser = admin(name)
        try await setup.bootstrap(admin: superuser)
        try await setup.setPassword(TestServers.postgresPassword, admin: superuser)
        superuser.close()
        let owner = Database(
            settings: ConnectionSettings(connection: connection(name, role: "guanxi_owner"), statementTimeout: 0),
            pipelined: 1, interactive: 1, logger: TestServers.logger)
        _ = try await setup.migrate(owner: owner)
        owner.close()
        // A template can only be copied while nobody is connected to it.
        try await Task.sleep(for: .milliseconds(200))
        return name
    }

    private static func create(_ name: String, template: String, _ admin: Database) async throws {
        for attempt in 0... {
            do {
                _ = try await admin.query(
                    tenant: nil, Statement("create database \(name) template \(template) encoding 'UTF8'"))
                return
            } catch {
                // Sessions of the template end a moment after their connections are closed.
                if attempt == 50 { throw error }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private static func admin(_ database: String) -> Database {
        Database(
            settings: ConnectionSettings(
                connection: "\(TestServers.postgres) dbname=\(database)", statementTimeout: 0), pipelined: 1,
            interactive: 1,
            logger: TestServers.logger)
    }

    private static func connection(_ database: String, role: String) -> String {
        let server = TestServers.postgres.split(separator: " ").filter {
            $0.hasPrefix("host=") || $0.hasPrefix("port=")
        }
        return server.joined(separator: " ")
            + " dbname=\(database) user=\(role) password=\(TestServers.postgresPassword)"
    }

    /// The connection string of a role.
    package func connection(role: String) -> String { Self.connection(name, role: role) }

    /// A pool that signs in as `role`; `postgres` for the superuser.
    package func pool(role: String, interactive: Int = 4) -> Database {
        let connection = role == "postgres" ? "\(TestServers.postgres) dbname=\(name)" : connection(role: role)
        return Database(
            settings: ConnectionSettings(connection: connection), pipelined: 2, interactive: interactive,
            logger: TestServers.logger)
    }
}

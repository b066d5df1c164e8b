import Accounts
import Analytics
import ArgumentParser
import Contacts
import Database
import Foundation
import Logging
import Opportunities
import Redis
import ServiceKit
import Tickets

/// The operator's command.
@main
struct GuanxiCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "guanxi",
        abstract: "Runs and looks after Guanxi.",
        discussion: """
            Settings come from the environment, as for the services: GUANXI_DATABASE_OWNER_URL, GUANXI_REDIS_URL and the
            others that `guanxi doctor` names.
            """,
        subcommands: [
            Migrate.self, Tenants.self, Users.self, Keys.self, Queues.self, Jobs.self, Workers.self, Autoscale.self,
            Doctor.self, Bench.self, Demo.self,
        ])

    /// Ends with 78 where a setting is missing or wrong, which no supervisor should try again, with 64 where it was called
    /// wrongly, and with 1 where it failed.
    static func main() async {
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let problem as ConfigurationProblem {
            FileHandle.standardError.write(Data("guanxi: \(problem)\n".utf8))
            Foundation.exit(78)
        } catch let mistake as WrongCall {
            FileHandle.standardError.write(Data("Error: \(mistake.message)\n".utf8))
            Foundation.exit(64)
        } catch {
            exit(withError: error)
        }
    }
}

/// The services there are.
let services = [contactsService, opportunitiesService, ticketsService, analyticsService, accountsService]

/// What every subcommand needs, opened from the configuration and closed when it is done.
struct OperatorSession: Sendable {
    let configuration: ServiceConfiguration
    let owner: Database
    let redis: RedisClient
    let logger: Logger

    init() async throws {
        configuration = try await ServiceConfiguration()
        LoggingSystem.bootstrap { JSONLogHandler(label: $0, level: .warning) }
        logger = Logger(label: "guanxi")
        owner = Database(
            settings: ConnectionSettings(
                connection: try configuration.required("database.ownerUrl"), applicationName: "guanxi-operator",
                statementTimeout: 0),
            pipelined: 1, interactive: 4, logger: logger)
        redis = try RedisClient(url: configuration.string("redis.url"), logger: logger)
    }

    func close() {
        owner.close()
        redis.close()
    }
}

/// A value as JSON for programs.
func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    print(String(decoding: try encoder.encode(value), as: UTF8.self))
}

/// A mistake of whoever typed the command that shows only when it runs, such as a tenant that is not there. Nothing was
/// done; told in one line, without the words on usage that follow what the parser refuses.
struct WrongCall: Error {
    let message: String

    init(_ message: String) {
        self.message = message
    }
}

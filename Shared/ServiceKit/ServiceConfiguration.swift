import Configuration
import Foundation
import Jobs
import Logging
import SystemPackage

/// A configuration value that can't be used. The process ends with it before it does anything.
package struct ConfigurationProblem: Error, CustomStringConvertible {
    package let key: String
    package let message: String
    package var description: String { "\(ServiceConfiguration.environmentName(key)): \(message)" }

    package init(key: String, message: String) {
        self.key = key
        self.message = message
    }
}

/// Everything a process can be told, with type, default and meaning in one table, which the README shows.
///
/// Values come from the environment (`GUANXI_HTTP_PORT` for `http.port`) and, below it, from the JSON file that
/// `GUANXI_CONFIG_FILE` names. Secrets are never logged.
package struct ServiceConfiguration: Sendable {
    /// One line of the table.
    package struct Key: Sendable {
        package let name: String
        package let defaultValue: String
        package let meaning: String
    }

    package static let keys: [Key] = [
        Key(
            name: "database.url", defaultValue: "",
            meaning: "libpq connection string of the service's own role; required"),
        Key(
            name: "database.adminUrl", defaultValue: "",
            meaning: "connection string of a superuser, for the first `migrate` alone"),
        Key(
            name: "database.ownerUrl", defaultValue: "",
            meaning: "connection string of the role guanxi_owner, for `migrate` and `guanxi`"),
        Key(
            name: "database.serviceUrl", defaultValue: "",
            meaning:
                "connection string of the services' own roles, with {service} where the name belongs, for `guanxi autoscale --apply`"
        ),
        Key(
            name: "database.pipelined", defaultValue: "2",
            meaning: "connections for pipelined requests that only read, and as many for the others"),
        Key(name: "database.interactive", defaultValue: "8", meaning: "connections for interactive transactions"),
        Key(
            name: "redis.url", defaultValue: "redis://127.0.0.1:6379",
            meaning: "redis://, sentinel:// or cluster:// address"),
        Key(name: "http.host", defaultValue: "127.0.0.1", meaning: "address that the service listens on"),
        Key(name: "http.port", defaultValue: "8081", meaning: "port that the service listens on; 0 takes a free one"),
        Key(
            name: "internal.port", defaultValue: "0",
            meaning: "port of health and metrics, on the same host; 0 takes a free one"),
        Key(
            name: "http.maximumBody", defaultValue: "1048576",
            meaning: "bytes of a request's body (imports have no limit)"),
        Key(
            name: "http.trustedProxies", defaultValue: "127.0.0.0/8,::1",
            meaning: "addresses and networks whose X-Forwarded-For is believed"),
        Key(
            name: "secret", defaultValue: "",
            meaning:
                "at least 32 characters, the same in all processes: signs cursors, seals secrets of one-time codes and the tenants' keys; required"
        ),
        Key(
            name: "worker.concurrency", defaultValue: "16",
            meaning: "jobs that a worker runs at once in each of its queues"),
        Key(name: "worker.grace", defaultValue: "20", meaning: "seconds that running jobs may go on after SIGTERM"),
        Key(
            name: "worker.objective", defaultValue: "10",
            meaning: "seconds within which waiting jobs are to have begun: what the workers wanted follow from"),
        Key(name: "worker.minimum", defaultValue: "1", meaning: "workers of a service that are wanted at least"),
        Key(name: "worker.maximum", defaultValue: "8", meaning: "workers of a service that are wanted at most"),
        Key(
            name: "operator.token", defaultValue: "",
            meaning:
                "at least 32 characters: opens the operators' HTTP surface on the internal port, which is not there without it"
        ),
        Key(
            name: "webhooks.http", defaultValue: "false",
            meaning: "true lets webhooks go to http:// too, where what they say can be read on its way"),
        Key(
            name: "webhooks.networks", defaultValue: "",
            meaning:
                "networks such as 10.1.0.0/16, separated by commas, that webhooks may reach though they are not public"
        ),
        Key(
            name: "webhooks.retries", defaultValue: "5,300,1800,7200,18000,36000,50400,72000,86400",
            meaning: "seconds between the attempts of a webhook's delivery, up to 20 of them"),
        Key(name: "webhooks.timeout", defaultValue: "15", meaning: "seconds that a webhook's receiver may take"),
        Key(
            name: "webhooks.patience", defaultValue: "3",
            meaning: "days without a success after which a delivery that fails for good disables its webhook"),
        Key(
            name: "traces.endpoint", defaultValue: "",
            meaning: "an OpenTelemetry collector's address for OTLP over HTTP, such as http://127.0.0.1:4318"),
        Key(
            name: "traces.headers", defaultValue: "",
            meaning: "header fields for the collector, key=value, separated by commas, values percent-encoded"),
        Key(
            name: "traces.ratio", defaultValue: "0.1",
            meaning: "share of the traces begun here that are recorded, 0 to 1; others follow their sender"),
        Key(name: "log.level", defaultValue: "info", meaning: "trace, debug, info, notice, warning, error or critical"),
    ]

    private let reader: ConfigReader

    /// Reads the environment, and the file that `GUANXI_CONFIG_FILE` names.
    package init() async throws {
        var providers: [any ConfigProvider] = [EnvironmentVariablesProvider()]
        if let path = ProcessInfo.processInfo.environment["GUANXI_CONFIG_FILE"], !path.isEmpty {
            providers.append(
                try await FileProvider<JSONSnapshot>(filePath: FilePath(path)).prefixKeys(with: "guanxi"))
        }
        reader = ConfigReader(providers: providers).scoped(to: "guanxi")
    }

    /// For tests: the values themselves, by key.
    package init(values: [String: String]) {
        let prefixed = Dictionary(uniqueKeysWithValues: values.map { (Self.environmentName($0.key), $0.value) })
        reader = ConfigReader(provider: EnvironmentVariablesProvider(environmentVariables: prefixed)).scoped(
            to: "guanxi")
    }

    /// `http.port` is `GUANXI_HTTP_PORT` in the environment.
    package static func environmentName(_ key: String) -> String {
        let snake = key.reduce(into: "") { result, character in
            if character == "." {
                result.append("_")
            } else {
                if character.isUppercase { result.append("_") }
                result.append(character.uppercased())
            }
        }
        return "GUANXI_" + snake
    }

    /// The value of `key`, or its default from the table. Traps for a key that the table does not list.
    package func string(_ key: String) -> String {
        let fallback = Self.keys.first { $0.name == key }!.defaultValue
        return reader.string(
            forKey: ConfigKey(key),
            isSecret: key.contains("rl") || ["secret", "operator.token", "traces.headers"].contains(key),
            default: fallback)
    }

    /// A value that must be there.
    package func required(_ key: String) throws -> String {
        let value = string(key)
        if value.isEmpty { throw ConfigurationProblem(key: key, message: "is required: \(meaning(key))") }
        return value
    }

    /// A whole number of at least `minimum`.
    package func int(_ key: String, minimum: Int = 0) throws -> Int {
        let text = string(key)
        guard let value = Int(text), value >= minimum else {
            throw ConfigurationProblem(key: key, message: "must be a whole number of at least \(minimum), not \(text)")
        }
        return value
    }

    /// The secret that signs cursors.
    package func secret() throws -> [UInt8] {
        let text = try required("secret")
        guard text.utf8.count >= 32 else {
            throw ConfigurationProblem(key: "secret", message: "must have at least 32 characters")
        }
        return Array(text.utf8.prefix(64))
    }

    /// What opens the operators' HTTP surface; nil where it is to stay shut.
    package func operatorToken() throws -> [UInt8]? {
        let text = string("operator.token")
        if text.isEmpty { return nil }
        guard text.utf8.count >= 32 else {
            throw ConfigurationProblem(key: "operator.token", message: "must have at least 32 characters")
        }
        return Array(text.utf8)
    }

    /// What is wanted of workers that run `concurrency` jobs at once in a queue.
    package func workerGoal(concurrency: Int) throws -> WorkerDemand.Goal {
        var goal = WorkerDemand.Goal()
        goal.concurrency = concurrency
        goal.objective = Double(try int("worker.objective", minimum: 1))
        goal.minimum = try int("worker.minimum")
        goal.maximum = try int("worker.maximum", minimum: max(1, goal.minimum))
        return goal
    }

    /// Whose word on the caller's address counts.
    package func trustedProxies() throws -> TrustedProxies {
        guard let proxies = TrustedProxies(string("http.trustedProxies")) else {
            throw ConfigurationProblem(
                key: "http.trustedProxies", message: "must be addresses or networks, separated by commas")
        }
        return proxies
    }

    /// The level from which on lines are logged; throws for a word that is none.
    package func logLevel() throws -> Logger.Level {
        let text = string("log.level")
        guard let level = Logger.Level(rawValue: text) else {
            throw ConfigurationProblem(key: "log.level", message: "\(text) is no level")
        }
        return level
    }

    private func meaning(_ key: String) -> String { Self.keys.first { $0.name == key }!.meaning }
}

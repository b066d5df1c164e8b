import Foundation
import ServiceKit
import Synchronization
import Webhooks

/// What the configuration says of webhooks.
struct WebhookSettings: Sendable {
    /// Which addresses may be reached.
    var policy = AddressPolicy.publicOnly
    var allowsHTTP = false
    /// Seconds from one attempt to the next; one attempt more than there are of them.
    var retries: [Double] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    /// Seconds that a receiver may take.
    var timeout = 15
    /// Days without a success after which a delivery that fails for good disables its webhook.
    var patience = 3

    init() {}

    /// Throws `ConfigurationProblem` for a value that can't be used.
    init(_ configuration: ServiceConfiguration) throws {
        switch configuration.string("webhooks.http") {
        case "true": allowsHTTP = true
        case "false": allowsHTTP = false
        case let other:
            throw ConfigurationProblem(key: "webhooks.http", message: "must be true or false, not \(other)")
        }
        let networks = try Self.entries("webhooks.networks", configuration) { IPNetwork($0) }
        policy = AddressPolicy(allowing: networks)
        retries = try Self.entries("webhooks.retries", configuration) { text in
            Double(text).flatMap { (0...604_800).contains($0) ? $0 : nil }
        }
        guard (1...20).contains(retries.count) else {
            throw ConfigurationProblem(key: "webhooks.retries", message: "must be 1 to 20 numbers of seconds")
        }
        timeout = try configuration.int("webhooks.timeout", minimum: 1)
        patience = try configuration.int("webhooks.patience")
    }

    private static func entries<Value>(
        _ key: String, _ configuration: ServiceConfiguration, _ read: (String) -> Value?
    ) throws -> [Value] {
        try configuration.string(key).split(separator: ",").map { part in
            let text = part.trimmingCharacters(in: .whitespaces)
            guard let value = read(text) else {
                throw ConfigurationProblem(key: key, message: "\(text) can't be used")
            }
            return value
        }
    }

    /// Seconds until the attempt after the `failures`-th failed one; nil when that was the last.
    ///
    /// - Parameters:
    ///   - asked: what the receiver asked for, which is kept where it is longer.
    ///   - jitter: from 0 to 1: up to a tenth more, so that what failed together does not come back together.
    func delay(afterFailures failures: Int, asked: Duration?, jitter: Double) -> Double? {
        guard failures >= 1, failures <= retries.count else { return nil }
        return max(retries[failures - 1] * (1 + jitter / 10), (asked ?? .zero) / .seconds(1))
    }
}

extension WebhookSettings {
    private static let bootstrapped = Mutex(WebhookSettings())

    /// What this process was told; the defaults until `bootstrap`.
    static var current: WebhookSettings { bootstrapped.withLock { $0 } }

    /// Takes over the process's configuration: once, before it does anything.
    static func bootstrap(_ configuration: ServiceConfiguration) throws {
        let settings = try WebhookSettings(configuration)
        bootstrapped.withLock { $0 = settings }
    }
}

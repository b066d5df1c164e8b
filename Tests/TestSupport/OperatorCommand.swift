import Foundation
import Records

/// The operator's command, run as a process against a test's servers.
package struct OperatorCommand: Sendable {
    /// What one run came to.
    package struct Outcome: Sendable {
        package let status: Int32
        package let output: String
        package let error: String

        /// The output as JSON.
        package var json: JSONValue { get throws { try JSONParser.parse(output.utf8) } }
    }

    private let environment: [String: String]
    private let folder: URL

    package init(_ database: TestDatabase, redis: String = "redis://127.0.0.1:1") throws {
        environment = [
            "GUANXI_DATABASE_OWNER_URL": database.connection(role: "guanxi_owner"), "GUANXI_REDIS_URL": redis,
            "GUANXI_DATABASE_SERVICE_URL": database.connection(role: "guanxi_{service}"),
            "GUANXI_SECRET": "0123456789abcdef0123456789abcdef",
        ]
        folder = FileManager.default.temporaryDirectory.appending(path: "guanxi-operator-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    /// A folder of the test's own, not there yet.
    package func directory(_ name: String) -> URL { folder.appending(path: name) }

    /// Takes the folder with everything in it away.
    package func clean() { try? FileManager.default.removeItem(at: folder) }

    /// Starts `guanxi` with these words; what it says of its errors goes to `log` when given.
    package func start(_ words: [String], log: URL? = nil) throws -> TestProcess {
        try TestProcess(TestServers.binaries.appending(path: "guanxi"), words, environment: environment, log: log)
    }

    /// Runs `guanxi` with these words to its end.
    package func run(_ words: String...) async throws -> Outcome { try await run(words) }

    package func run(_ words: [String]) async throws -> Outcome {
        let log = directory(UUID().uuidString)
        let process = try start(words, log: log)
        let status = try await process.finished()
        return Outcome(status: status, output: process.text, error: try String(contentsOf: log, encoding: .utf8))
    }
}

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

    /// Starts `guanxi` with these words.
    package func start(_ words: [String], into name: String = UUID().uuidString) throws -> ChildProcess {
        let program = TestServers.binaries.appending(path: "guanxi").path
        // The shell writes to files: what a pipe still held when its process had ended would be lost.
        return try ChildProcess(
            URL(filePath: "/bin/sh"),
            ["-c", "exec \"$@\" >\"$OUT.out\" 2>\"$OUT.err\"", "sh", program] + words,
            environment: environment.merging(["OUT": folder.appending(path: name).path]) { $1 })
    }

    /// Runs `guanxi` with these words to its end.
    package func run(_ words: String...) async throws -> Outcome { try await run(words) }

    package func run(_ words: [String]) async throws -> Outcome {
        let name = UUID().uuidString
        let status = try await start(words, into: name).finished()
        func text(_ kind: String) -> String {
            (try? String(contentsOf: folder.appending(path: "\(name).\(kind)"), encoding: .utf8)) ?? ""
        }
        return Outcome(status: status, output: text("out"), error: text("err"))
    }
}

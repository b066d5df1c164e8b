import Foundation
import Redis

/// A Redis server of a test's own, on a free port of the loopback.
package final class TestRedis: Sendable {
    package let port: Int
    package let process: TestProcess
    private let folder: URL

    /// Starts a server with `arguments` added to its command line.
    package init(_ arguments: [String] = [], port: Int? = nil) async throws {
        let port = try port ?? freePort()
        self.port = port
        folder = FileManager.default.temporaryDirectory.appending(path: "guanxi-redis-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        process = try TestProcess(
            URL(filePath: "/usr/bin/redis-server"),
            [
                "--port", "\(port)", "--bind", "127.0.0.1", "--dir", folder.path, "--save", "", "--appendonly", "no",
                "--maxmemory-policy", "noeviction",
            ] + arguments)
        try await eventually("redis answers on \(port)") {
            let client = try client()
            defer { client.close() }
            return (try? await client.command(key: "x", ["PING"])) != nil
        }
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    package var url: String { "redis://127.0.0.1:\(port)" }

    package func client() throws -> RedisClient { try RedisClient(url: url, logger: TestServers.logger) }
}

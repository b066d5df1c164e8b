import Foundation
import Redis

/// Six nodes of a cluster on loopback, three of them replicas. They end with the object.
package final class TestCluster: Sendable {
    package let nodes: [TestRedis]

    /// Returns when the cluster takes writes and every replica is in step: one that never had its master's data can't
    /// take its place.
    package init() async throws {
        var nodes: [TestRedis] = []
        for _ in 0..<6 {
            nodes.append(
                try await TestRedis([
                    "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf",
                    "--cluster-port", "\(try freePort())", "--repl-diskless-sync-delay", "0",
                ]))
        }
        self.nodes = nodes
        let create = try TestProcess(
            URL(filePath: "/usr/bin/redis-cli"),
            ["--cluster", "create"] + nodes.map { "127.0.0.1:\($0.port)" } + [
                "--cluster-replicas", "1", "--cluster-yes",
            ])
        try await eventually("the cluster is made") { !create.isRunning }
        let client = try client()
        defer { client.close() }
        try await eventually("the cluster takes writes") {
            (try? await client.command(key: "warm", ["SET", "warm", "1"])) != nil
        }
        let direct = try nodes.map { try $0.client() }
        defer { direct.forEach { $0.close() } }
        try await eventually("every replica is in step") {
            for node in direct {
                let text = try await node.command(key: "x", ["INFO", "replication"]).text ?? ""
                if text.contains("role:slave") && !text.contains("master_link_status:up") { return false }
            }
            return true
        }
    }

    package func client() throws -> RedisClient {
        try RedisClient(
            url: "cluster://127.0.0.1:\(nodes[0].port),127.0.0.1:\(nodes[1].port)", timeout: 2,
            logger: TestServers.logger)
    }

    /// The port of the master of each slot, as the cluster says now.
    package func mastersBySlot() async throws -> @Sendable (Int) -> Int? {
        for node in nodes where node.process.isRunning {
            let client = try node.client()
            defer { client.close() }
            let ranges = (try await client.command(key: "x", ["CLUSTER", "SLOTS"]).array ?? []).compactMap {
                range -> (ClosedRange<Int>, Int)? in
                guard let parts = range.array, let first = parts[0].int, let last = parts[1].int,
                    let port = parts[2].array?[1].int
                else { return nil }
                return (first...last, port)
            }
            return { slot in ranges.first { $0.0.contains(slot) }?.1 }
        }
        return { _ in nil }
    }
}

/// A master with one replica, watched by three sentinels. They end with the object.
package final class TestSentinels: Sendable {
    package let master: TestRedis
    package let replica: TestRedis
    package let url: String
    private let sentinels: [TestProcess]
    private let folder: URL

    /// Returns when the sentinels know each other and the replica, which is in step.
    package init() async throws {
        let master = try await TestRedis(["--repl-diskless-sync-delay", "0"])
        self.master = master
        replica = try await TestRedis([
            "--replicaof", "127.0.0.1 \(master.port)", "--repl-diskless-sync-delay", "0",
        ])
        let folder = FileManager.default.temporaryDirectory.appending(path: "guanxi-sentinel-\(UUID().uuidString)")
        self.folder = folder
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var sentinels: [TestProcess] = []
        var ports: [Int] = []
        while sentinels.count < 3 {
            let port = try freePort()
            let file = folder.appending(path: "sentinel-\(port).conf")
            try """
            port \(port)
            bind 127.0.0.1
            dir \(folder.path)
            sentinel monitor main 127.0.0.1 \(master.port) 2
            sentinel down-after-milliseconds main 500
            sentinel failover-timeout main 2000
            """.write(to: file, atomically: true, encoding: .utf8)
            let sentinel = try TestProcess(URL(filePath: "/usr/bin/redis-server"), [file.path, "--sentinel"])
            // Another program may have taken the port meanwhile: then this one ends, and the next gets another.
            if try await Self.answers(sentinel, port) {
                sentinels.append(sentinel)
                ports.append(port)
            }
        }
        self.sentinels = sentinels
        url = "sentinel://" + ports.map { "127.0.0.1:\($0)" }.joined(separator: ",") + "/main"
        let client = try client()
        defer { client.close() }
        try await eventually("the master is found") { (try? await client.command(key: "a", ["SET", "a", "1"])) != nil }
        let watch = try replica.client()
        defer { watch.close() }
        try await eventually("the replica has it") {
            (try? await watch.command(key: "a", ["GET", "a"]))?.text == "1"
        }
        let sentinelClient = try RedisClient(url: "redis://127.0.0.1:\(ports[0])", logger: TestServers.logger)
        defer { sentinelClient.close() }
        try await eventually("the sentinels know each other and the replica") {
            let reply = try? await sentinelClient.command(key: "x", ["SENTINEL", "MASTER", "main"])
            let masters = reply?.array?.compactMap(\.text) ?? []
            func value(_ name: String) -> String? { masters.firstIndex(of: name).map { masters[$0 + 1] } }
            return value("num-other-sentinels") == "2" && value("num-slaves") == "1"
        }
    }

    /// True once a sentinel answers; false where it ended.
    private static func answers(_ sentinel: TestProcess, _ port: Int) async throws -> Bool {
        let client = try RedisClient(url: "redis://127.0.0.1:\(port)", logger: TestServers.logger)
        defer { client.close() }
        try await eventually("the sentinel answers, or has ended") {
            if !sentinel.isRunning { return true }
            return (try? await client.command(key: "x", ["PING"])) != nil
        }
        return sentinel.isRunning
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    package func client() throws -> RedisClient { try RedisClient(url: url, timeout: 2, logger: TestServers.logger) }
}

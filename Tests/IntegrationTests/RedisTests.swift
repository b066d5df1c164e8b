import Foundation
import Redis
import TestSupport
import Testing

@Suite("Redis")
struct RedisTests {
    @Test("concurrent callers get their own answers, binary values unharmed")
    func pipelining() async throws {
        let redis = try await TestRedis()
        let client = try redis.client()
        defer { client.close() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for n in 0..<500 {
                group.addTask {
                    let value: [UInt8] = [0, 13, 10, 255, UInt8(n % 256)] + Array("关系\(n)".utf8)
                    _ = try await client.command(key: "k\(n)", ["SET", "k\(n)", .bytes(value)])
                    #expect(try await client.command(key: "k\(n)", ["GET", "k\(n)"]).bytes == value)
                }
            }
            try await group.waitForAll()
        }
    }

    @Test("a script that the server forgot is loaded again")
    func scripts() async throws {
        let redis = try await TestRedis()
        let client = try redis.client()
        defer { client.close() }
        let script = RedisScript("return {KEYS[1], ARGV[1], 7}")
        for _ in 0..<3 {
            let reply = try await client.run(script, keys: ["a"], ["b"])
            #expect(reply == .array([.bytes(Array("a".utf8)), .bytes(Array("b".utf8)), .integer(7)]))
            _ = try await client.command(key: "a", ["SCRIPT", "FLUSH"])
        }
        await #expect(throws: RedisError.self) { try await client.run(RedisScript("return nope("), keys: ["a"], []) }
    }

    @Test("a blocked read gets what is pushed, and nothing after its time")
    func blocking() async throws {
        let redis = try await TestRedis()
        let client = try redis.client()
        let blocking = client.blockingConnection()
        defer {
            blocking.close()
            client.close()
        }
        #expect(try await blocking.pop(keys: ["empty"], within: 0.05) == nil)
        async let popped = blocking.pop(keys: ["list"], within: 4)
        try await Task.sleep(for: .milliseconds(100))
        _ = try await client.command(key: "list", ["RPUSH", "list", "x"])
        let got = try await popped
        #expect(got?.key == "list" && got?.value == [120])
    }

    @Test("a server that dies and comes back is found again, and a hanging one is given up in time")
    func reconnect() async throws {
        let redis = try await TestRedis()
        let client = try RedisClient(url: redis.url, timeout: 0.3, logger: TestServers.logger)
        defer { client.close() }
        _ = try await client.command(key: "a", ["SET", "a", "1"])
        redis.process.signal(SIGSTOP)
        await #expect(throws: RedisError.self) { try await client.command(key: "a", ["GET", "a"]) }
        redis.process.signal(SIGCONT)
        try await eventually("it answers again") { (try? await client.command(key: "a", ["GET", "a"]))?.text == "1" }
        try await redis.process.crash()
        await #expect(throws: RedisError.self) { try await client.command(key: "a", ["GET", "a"]) }
        let again = try await TestRedis(port: redis.port)
        try await eventually("the new server answers") { (try? await client.command(key: "a", ["GET", "a"])) == .null }
        _ = again
    }

    @Test("key slots are those of the cluster specification")
    func slots() {
        #expect(redisSlot(of: "123456789") == 0x31c3)
        #expect(redisSlot(of: "{user1000}.following") == redisSlot(of: "{user1000}.followers"))
        #expect(redisSlot(of: "foo{}{bar}") != redisSlot(of: "bar"))
    }

    @Test("the master that sentinels elect is followed through a failover")
    func sentinel() async throws {
        let master = try await TestRedis(["--repl-diskless-sync-delay", "0"])
        let replica = try await TestRedis([
            "--replicaof", "127.0.0.1 \(master.port)", "--repl-diskless-sync-delay", "0",
        ])
        var sentinels: [ChildProcess] = []
        var ports: [Int] = []
        let folder = FileManager.default.temporaryDirectory.appending(path: "guanxi-sentinel-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        for index in 0..<3 {
            let port = try freePort()
            let file = folder.appending(path: "sentinel-\(index).conf")
            try """
            port \(port)
            bind 127.0.0.1
            dir \(folder.path)
            sentinel monitor main 127.0.0.1 \(master.port) 2
            sentinel down-after-milliseconds main 500
            sentinel failover-timeout main 2000
            """.write(to: file, atomically: true, encoding: .utf8)
            sentinels.append(try ChildProcess(URL(filePath: "/usr/bin/redis-server"), [file.path, "--sentinel"]))
            ports.append(port)
        }
        let url = "sentinel://" + ports.map { "127.0.0.1:\($0)" }.joined(separator: ",") + "/main"
        let client = try RedisClient(url: url, timeout: 2, logger: TestServers.logger)
        defer { client.close() }
        try await eventually("the master is found") { (try? await client.command(key: "a", ["SET", "a", "1"])) != nil }
        let watch = try replica.client()
        try await eventually("the replica has it") { try await watch.command(key: "a", ["GET", "a"]).text == "1" }
        let sentinelClient = try RedisClient(url: "redis://127.0.0.1:\(ports[0])", logger: TestServers.logger)
        try await eventually("the sentinels know each other and the replica") {
            let masters =
                try await sentinelClient.command(key: "x", ["SENTINEL", "MASTER", "main"]).array?.compactMap(\.text)
                ?? []
            func value(_ name: String) -> String? { masters.firstIndex(of: name).map { masters[$0 + 1] } }
            return value("num-other-sentinels") == "2" && value("num-slaves") == "1"
        }
        sentinelClient.close()
        try await master.process.crash()
        try await eventually("the new master takes writes") {
            (try? await client.command(key: "a", ["SET", "a", "2"])) != nil
        }
        // The new master drops its clients once when it is made one.
        try await eventually("it went to the replica") {
            (try? await watch.command(key: "a", ["GET", "a"]))?.text == "2"
        }
        watch.close()
        for sentinel in sentinels { sentinel.signal(SIGKILL) }
    }

    @Test("a cluster of six is routed, through a slot that moves and a master that dies")
    func cluster() async throws {
        var nodes: [TestRedis] = []
        for _ in 0..<6 {
            nodes.append(
                try await TestRedis([
                    "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf",
                    "--cluster-port", "\(try freePort())", "--repl-diskless-sync-delay", "0",
                ]))
        }
        let create = try ChildProcess(
            URL(filePath: "/usr/bin/redis-cli"),
            ["--cluster", "create"] + nodes.map { "127.0.0.1:\($0.port)" } + [
                "--cluster-replicas", "1", "--cluster-yes",
            ])
        try await eventually("the cluster is made") { !create.isRunning }
        let client = try RedisClient(
            url: "cluster://127.0.0.1:\(nodes[0].port),127.0.0.1:\(nodes[1].port)", timeout: 2,
            logger: TestServers.logger)
        defer { client.close() }
        try await eventually("the cluster takes writes") {
            (try? await client.command(key: "warm", ["SET", "warm", "1"])) != nil
        }
        for n in 0..<200 { _ = try await client.command(key: "k\(n)", ["SET", "k\(n)", "\(n)"]) }
        for n in 0..<200 { #expect(try await client.command(key: "k\(n)", ["GET", "k\(n)"]).text == "\(n)") }

        // Move one slot while it is in use: the client is told ASK on the way and MOVED at the end.
        let slot = redisSlot(of: "{moving}")
        let direct = try nodes.map { try $0.client() }
        defer { direct.forEach { $0.close() } }
        var ids: [String] = []
        for node in direct { ids.append(try await node.command(key: "x", ["CLUSTER", "MYID"]).text ?? "") }
        let masters = try await mastersBySlot(direct[0])
        let from = nodes.firstIndex { $0.port == masters(slot) }!
        let to = nodes.firstIndex { candidate in
            candidate.port != nodes[from].port && (0..<16_384).contains { masters($0) == candidate.port }
        }!
        _ = try await client.command(key: "{moving}", ["SET", "{moving}", "before"])
        _ = try await direct[to].command(key: "x", ["CLUSTER", "SETSLOT", .int(slot), "IMPORTING", .text(ids[from])])
        _ = try await direct[from].command(key: "x", ["CLUSTER", "SETSLOT", .int(slot), "MIGRATING", .text(ids[to])])
        _ = try await direct[from].command(
            key: "x", ["MIGRATE", "127.0.0.1", .int(nodes[to].port), "{moving}", 0, 2000])
        #expect(try await client.command(key: "{moving}", ["GET", "{moving}"]).text == "before", "by ASK")
        for index in [to, from] {
            _ = try await direct[index].command(key: "x", ["CLUSTER", "SETSLOT", .int(slot), "NODE", .text(ids[to])])
        }
        #expect(try await client.command(key: "{moving}", ["GET", "{moving}"]).text == "before", "by MOVED")

        // A replica that never had its master's data can't take its place.
        try await eventually("every replica is in step") {
            for node in direct {
                let text = try await node.command(key: "x", ["INFO", "replication"]).text ?? ""
                if text.contains("role:slave") && !text.contains("master_link_status:up") { return false }
            }
            return true
        }
        let victim = nodes.firstIndex { $0.port == masters(redisSlot(of: "k7")) }!
        try await nodes[victim].process.crash()
        try await eventually("the dead master's slots are served again") {
            (try? await client.command(key: "k7", ["SET", "k7", "again"])) != nil
        }
        #expect(try await client.command(key: "k7", ["GET", "k7"]).text == "again")
    }

    private func mastersBySlot(_ client: RedisClient) async throws -> (Int) -> Int? {
        let ranges = (try await client.command(key: "x", ["CLUSTER", "SLOTS"]).array ?? []).compactMap {
            range -> (ClosedRange<Int>, Int)? in
            guard let parts = range.array, let first = parts[0].int, let last = parts[1].int,
                let port = parts[2].array?[1].int
            else { return nil }
            return (first...last, port)
        }
        return { slot in ranges.first { $0.0.contains(slot) }?.1 }
    }
}

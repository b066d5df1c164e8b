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

    @Test("a reply that takes its time reaches who asked, whoever asks meanwhile")
    func slowReplies() async throws {
        let redis = try await TestRedis()
        let client = try redis.client()
        defer { client.close() }
        // Busy for longer than a caller waits on its own thread.
        let slow = RedisScript("for i = 1, 400000 do local x = i * i end return ARGV[1]")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in 0..<6 {
                group.addTask {
                    for turn in 0..<200 {
                        let name = "\(caller)-\(turn)"
                        // By turns alone and in a crowd, so that replies are read by callers and by the thread.
                        if turn % 50 < 25 && caller > 0 { continue }
                        let reply =
                            turn % 7 == caller
                            ? try await client.run(slow, keys: ["k"], [.text(name)])
                            : try await client.command(key: "k", ["ECHO", .text(name)])
                        #expect(reply.text == name)
                    }
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

    @Test("calls that travel together are run in their order, whatever others send meanwhile")
    func calls() async throws {
        let redis = try await TestRedis()
        let client = try redis.client()
        let append = RedisScript("return redis.call('RPUSH', KEYS[1], unpack(ARGV))")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in 0..<4 {
                group.addTask {
                    for turn in 0..<20 {
                        let calls: [[RedisArgument]] = (0..<30).map { [.text("\(turn * 30 + $0)")] }
                        let replies = try await client.run(append, keys: ["l\(caller)"], calls: calls)
                        #expect(replies.map(\.int) == (0..<30).map { turn * 30 + $0 + 1 })
                    }
                }
            }
            try await group.waitForAll()
        }
        for caller in 0..<4 {
            let list = try await client.command(key: "a", ["LRANGE", "l\(caller)", 0, -1]).array ?? []
            #expect(list.map(\.text) == (0..<600).map { "\($0)" })
        }
        let picky = RedisScript("if ARGV[1] == 'x' then return redis.error_reply('BAD x') end return ARGV[1]")
        _ = try await client.run(picky, keys: ["a"], ["a"])
        await #expect(throws: RedisError.self) {
            try await client.run(picky, keys: ["a"], calls: [["a"], ["x"], ["b"]])
        }
        #expect(try await client.run(picky, keys: ["a"], calls: []).isEmpty)
        _ = try await client.command(key: "a", ["SCRIPT", "FLUSH"])
        #expect(try await client.run(picky, keys: ["a"], calls: [["a"], ["b"]]).map(\.text) == ["a", "b"])
        client.close()
        await #expect(throws: RedisError.self) { try await client.run(picky, keys: ["a"], calls: [["a"], ["b"]]) }
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
        let sentinels = try await TestSentinels()
        let client = try sentinels.client()
        defer { client.close() }
        let watch = try sentinels.replica.client()
        try await sentinels.master.process.crash()
        try await eventually("the new master takes writes") {
            (try? await client.command(key: "a", ["SET", "a", "2"])) != nil
        }
        // The new master drops its clients once when it is made one.
        try await eventually("it went to the replica") {
            (try? await watch.command(key: "a", ["GET", "a"]))?.text == "2"
        }
        watch.close()
    }

    @Test("a cluster of six is routed, through a slot that moves and a master that dies")
    func cluster() async throws {
        let cluster = try await TestCluster()
        let nodes = cluster.nodes
        let client = try cluster.client()
        defer { client.close() }
        for n in 0..<200 { _ = try await client.command(key: "k\(n)", ["SET", "k\(n)", "\(n)"]) }
        for n in 0..<200 { #expect(try await client.command(key: "k\(n)", ["GET", "k\(n)"]).text == "\(n)") }

        // Move one slot while it is in use: the client is told ASK on the way and MOVED at the end.
        let slot = redisSlot(of: "{moving}")
        let direct = try nodes.map { try $0.client() }
        defer { direct.forEach { $0.close() } }
        var ids: [String] = []
        for node in direct { ids.append(try await node.command(key: "x", ["CLUSTER", "MYID"]).text ?? "") }
        let masters = try await cluster.mastersBySlot()
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

        let victim = nodes.firstIndex { $0.port == masters(redisSlot(of: "k7")) }!
        try await nodes[victim].process.crash()
        try await eventually("the dead master's slots are served again") {
            (try? await client.command(key: "k7", ["SET", "k7", "again"])) != nil
        }
        #expect(try await client.command(key: "k7", ["GET", "k7"]).text == "again")
    }
}

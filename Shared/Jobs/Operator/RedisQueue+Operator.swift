import Database
import Foundation
import Redis

extension RedisQueue {
    /// Makes a delayed job due now; false when it is not delayed here.
    func hasten(_ id: UUID, tenant: TenantID) async throws(RedisError) -> Bool {
        let prefix = prefix(shard(of: tenant))
        // Due since ever: the next exchange of whichever worker takes it.
        let changed = try await redis.command(
            key: prefix, ["ZADD", .text(prefix + "d"), "XX", "CH", 0, .bytes(id.rawBytes)])
        guard changed.int == 1 else { return false }
        // An idle worker sleeps until the next job that it knows of is due.
        try await ring(shard(of: tenant))
        return true
    }

    /// Takes a job off the list of the dead: it was replayed.
    func forgetDead(_ id: UUID, tenant: TenantID) async throws(RedisError) {
        let prefix = prefix(shard(of: tenant))
        _ = try await redis.command(key: prefix, ["ZREM", .text(prefix + "x"), .bytes(id.rawBytes)])
        _ = try await redis.command(key: prefix, ["HDEL", .text(prefix + "xj"), .bytes(id.rawBytes)])
    }

    /// A delayed job as it lies there, which says how often it was tried; nil when it is not delayed here.
    func delayed(_ id: UUID, tenant: TenantID) async throws(RedisError) -> JobEnvelope? {
        let prefix = prefix(shard(of: tenant))
        return try await redis.command(key: prefix, ["HGET", .text(prefix + "dj"), .bytes(id.rawBytes)]).bytes
            .flatMap { JobEnvelope($0) }
    }

    /// How many delayed jobs are due: they wait for a worker like any other.
    func overdue() async throws(RedisError) -> Int {
        var count = 0
        let now = Self.milliseconds(Date())
        for shard in 0..<shards {
            let key = prefix(shard) + "d"
            count += try await redis.command(key: key, ["ZCOUNT", .text(key), "-inf", .int(now)]).int ?? 0
        }
        return count
    }
}

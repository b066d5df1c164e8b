import Database
import Foundation
import Redis

extension RedisQueue {
    /// Sets the epoch of every shard.
    package func setEpoch(_ epoch: Int) async throws(RedisError) {
        for shard in 0..<shards {
            _ = try await scripts.run(QueueScripts.setEpoch, keys: [prefix(shard)], [.int(epoch)])
        }
    }

    /// Deletes all that Redis holds of the queue: of these tenants' and workers' own lists, and of everything else.
    package func remove(tenants: [TenantID] = [], workers: [String] = []) async throws(RedisError) {
        for shard in 0..<shards {
            let prefix = prefix(shard)
            let names =
                ["T", "act", "park", "u", "wk", "d", "dj", "x", "xj", "cx", "al", "qt", "sh", "bell"]
                + workers.map { "w:\($0)" } + tenants.flatMap { tenant in (0...2).map { "r:\(tenant):\($0)" } }
            _ = try await redis.command(key: prefix, ["UNLINK"] + names.map { .text(prefix + $0) })
        }
        if shards > 1 { _ = try await redis.command(key: bell, ["UNLINK", .text(bell)]) }
    }

    /// Stops or resumes fetching; what runs goes on.
    package func setPaused(_ paused: Bool) async throws(RedisError) {
        for shard in 0..<shards {
            _ = try await scripts.run(QueueScripts.setPaused, keys: [prefix(shard)], [paused ? 1 : 0])
        }
    }

    /// Lets a worker's process, under whichever lease, fetch nothing more here for `duration`, or fetch again; what it
    /// runs goes on.
    package func setQuiet(_ worker: String, for duration: Duration?) async throws(RedisError) {
        let process = worker.lastIndex(of: "-").map { String(worker[..<$0]) } ?? worker
        for shard in 0..<shards {
            let key = RedisArgument.text(prefix(shard) + "qt")
            if let duration {
                let until = Self.milliseconds(Date()) + Int(duration / .milliseconds(1))
                _ = try await redis.command(key: prefix(shard), ["ZADD", key, .int(until), .text(process)])
            } else {
                _ = try await redis.command(key: prefix(shard), ["ZREM", key, .text(process)])
            }
        }
    }

    /// Sets tenants' shares in this queue, at once and exactly: no fetch after it goes by the old ones.
    package func setShares(_ shares: [TenantID: Share]) async throws(RedisError) {
        for (shard, tenants) in Dictionary(grouping: shares.keys, by: shard(of:)) {
            try await setShares(shares, of: tenants, in: shard, areAll: false)
        }
    }

    /// Sets the shares of all tenants: those not named have the usual one, whatever they had.
    package func replaceShares(_ shares: [TenantID: Share]) async throws(RedisError) {
        let tenants = Dictionary(grouping: shares.keys, by: shard(of:))
        for shard in 0..<shards { try await setShares(shares, of: tenants[shard] ?? [], in: shard, areAll: true) }
    }

    private func setShares(_ shares: [TenantID: Share], of tenants: [TenantID], in shard: Int, areAll: Bool)
        async throws(RedisError)
    {
        var arguments: [RedisArgument] = [areAll ? 1 : 0]
        for tenant in tenants {
            let share = shares[tenant]!
            arguments += [
                .text(tenant.description), .text(String(share.weight)), .int(share.cap), .text(String(share.rate)),
                .text(String(share.burst)), share.isHeld ? 1 : 0,
            ]
        }
        _ = try await scripts.run(QueueScripts.setShares, keys: [prefix(shard)], arguments)
    }

    /// Cancels a waiting or running job as far as Redis knows it; false when it does not.
    package func cancel(_ id: UUID, tenant: TenantID, isEphemeral: Bool = false) async throws(RedisError) -> Bool {
        try await scripts.run(
            QueueScripts.cancel, keys: [prefix(shard(of: tenant))], [.bytes(id.rawBytes), isEphemeral ? 1 : 0]
        ).int == 1
    }

    /// Forgets all of a tenant's jobs that wait in this queue. Gives how many there were.
    package func forget(_ tenant: TenantID) async throws(RedisError) -> Int {
        var went = 0
        while true {
            let piece =
                try await scripts.run(
                    QueueScripts.forgetTenant, keys: [prefix(shard(of: tenant))], [.text(tenant.description)]
                ).int ?? 0
            if piece == 0 { return went }
            went += piece
        }
    }
}

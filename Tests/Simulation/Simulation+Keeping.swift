import Database
import Foundation
import Redis

@testable import Jobs

/// What every worker does for its queue besides running jobs: `QueueKeeper`, `Reconciler` and `Backlog`, step by step.
extension Simulation {
    func keep(_ me: ProcessID) async throws {
        let host = processes[me].host
        var looks = 0
        while true {
            looks += 1
            do {
                if elapsed >= redisUpAt { try hear(dataSet, host) }
                if looks % 4 == 1 { try await applyShares(me) }
                try await recover(me)
                try await refill(me)
                try await bringBack(me)
                if looks % 5 == 0 { try await resend(me, olderThan: now.addingTimeInterval(-60)) }
            } catch is RedisError {
            } catch is DatabaseError {
            }
            try await turn(me, after: random.number(1000...4000))
        }
    }

    /// Redis may have lost the last writes: what it lacks is sent again, and what it thinks that this worker holds is as old
    /// as the rest.
    private func hear(_ dataSet: Int, _ host: Int) throws(DatabaseError) {
        if hosts[host].dataSet ?? dataSet != dataSet {
            try postgres.check()
            postgres.isRecovered = false
            note("Redis has another data set: not to be trusted")
        }
        hosts[host].dataSet = dataSet
        if case .outdatedLeaseGoesOn = mutation?.change { return }
        if hosts[host].worker!.dataSet ?? dataSet != dataSet {
            hosts[host].worker!.isOutdated = true
            wake(hosts[host].worker!.laneProcess)
        }
    }

    /// As `QueueKeeper.repair`: the epoch in PostgreSQL first, then in Redis, then the tenants' shares.
    func repair(_ me: ProcessID) async throws -> Int {
        let xid = try postgres.begin(host: processes[me].host, at: elapsed)
        defer { postgres.rollBack(xid) }
        while try !postgres.take(.epoch, in: xid, at: elapsed) { try await turn(me, after: 30) }
        let known = postgres.ensureEpoch()
        let inRedis = try await queue.depth().epoch
        try await turn(me)
        var epoch = known
        if inRedis != known {
            epoch = max(known, inRedis) + 1
            try postgres.write([.epoch(epoch)], in: xid, at: elapsed)
        }
        try postgres.commit(xid)
        if inRedis != known {
            try await turn(me)
            try await queue.setEpoch(epoch)
            note("epoch \(epoch)")
        }
        try await turn(me)
        try await applyShares(me)
        return epoch
    }

    func applyShares(_ me: ProcessID) async throws {
        try postgres.check()
        var told: [TenantID: RedisQueue.Share]
        repeat {
            told = postgres.shares
            try await turn(me)
            try await audit()
            for tenant in plan.tenants { auditor.isTold(told[tenant] ?? RedisQueue.Share(), of: tenant) }
            try await queue.replaceShares(told)
            for tenant in plan.tenants { auditor.inForce(told[tenant] ?? RedisQueue.Share(), of: tenant) }
            try await turn(me)
            try postgres.check()
        } while told != postgres.shares
        while true {
            let isPaused = postgres.isPaused
            try await turn(me)
            if try await queue.depth().isPaused == isPaused { break }
            try await turn(me)
            try await queue.setPaused(isPaused)
        }
    }

    func setShares(_ shares: [TenantID: RedisQueue.Share]) async throws {
        try await audit()
        for (tenant, share) in shares { auditor.isTold(share, of: tenant) }
        // One call whatever the order of a dictionary is.
        try await queue.setShares(shares)
        for (tenant, share) in shares { auditor.inForce(share, of: tenant) }
    }

    private func recover(_ me: ProcessID) async throws {
        try postgres.check()
        if postgres.isRecovered || postgres.epoch == nil { return }
        let xid = try postgres.begin(host: processes[me].host, at: elapsed)
        defer { postgres.rollBack(xid) }
        guard try postgres.take(.recovery, in: xid, at: elapsed), !postgres.isRecovered else { return }
        let epoch = postgres.ensureEpoch()
        try await turn(me)
        if case .repairForgets = mutation?.change {
        } else {
            try await resend(me, olderThan: now.addingTimeInterval(5), keeping: xid)
        }
        try postgres.write([.recovered(epoch: epoch)], in: xid, at: elapsed)
        try postgres.commit(xid)
        note("recovered at epoch \(epoch)")
    }

    /// As `Reconciler.resend`, in slices of five; a tenant whose window is full has its backlog noted from the oldest on.
    private func resend(_ me: ProcessID, olderThan bound: Date, keeping xid: Int? = nil) async throws {
        if case .repairForgets = mutation?.change { return }
        var after = UUID.v7LowerBound(at: Date(timeIntervalSince1970: Double(Self.start - 60_000) / 1000))
        let oldest = after
        let end = UUID.v7LowerBound(at: bound)
        var spilled: Set<TenantID> = []
        while true {
            try postgres.check()
            let rows = postgres.unfinished(after: after, before: end, limit: 5)
                .filter { !spilled.contains($0.envelope.tenant) }
            let last = postgres.unfinished(after: after, before: end, limit: 5).last
            try await turn(me)
            if !rows.isEmpty {
                let result = try await queue.enqueue(rows.map { ($0.envelope, $0.runAt) }, window: plan.window)
                note("sent again \(rows.map(\.envelope.id.short)), \(result.added) new, refused \(result.refused)")
                for tenant in Set(result.refused.map { rows[$0].envelope.tenant }).sorted(by: {
                    $0.rawValue < $1.rawValue
                })
                where spilled.insert(tenant).inserted {
                    try await turn(me)
                    if case .refusedAreForgotten = mutation?.change { continue }
                    try await noteBacklog(me, tenant, since: oldest)
                }
            }
            if let xid { try postgres.write([], in: xid, at: elapsed) }
            guard let last else { return }
            after = last.envelope.id
            try await turn(me)
        }
    }

    /// As `Retries.bringBack`, of which each takes those that nobody else is at.
    private func bringBack(_ me: ProcessID) async throws {
        try postgres.check()
        if case .retriesAreForgotten = mutation?.change { return }
        if postgres.dueRetries(before: now.addingTimeInterval(0.5)).isEmpty { return }
        let xid = try postgres.begin(host: processes[me].host, at: elapsed)
        defer { postgres.rollBack(xid) }
        var due: [FakePostgres.Retry] = []
        for retry in postgres.dueRetries(before: now.addingTimeInterval(0.5)) {
            let id = retry.envelope.id
            guard try postgres.take(.retry(id), in: xid, at: elapsed) else { continue }
            if postgres.inbox[id] != nil {
                try postgres.write([.retryEnds(id, lookAgain: nil)], in: xid, at: elapsed)
            } else {
                due.append(retry)
            }
        }
        try await turn(me)
        let result = try await queue.enqueue(
            due.map { ($0.envelope, $0.due) }, window: plan.window, from: .tries)
        note("brought back \(due.map(\.envelope.id.short)), \(result.added) new, refused \(result.refused)")
        let (refused, known) = (Set(result.refused), Set(result.known))
        let ends = due.indices.map { position in
            let again = refused.contains(position) ? 1.0 : known.contains(position) ? 3.0 : nil
            return FakePostgres.Write.retryEnds(
                due[position].envelope.id, lookAgain: again.map { now.addingTimeInterval($0) })
        }
        try await turn(me)
        try postgres.write(ends, in: xid, at: elapsed)
        try await turn(me)
        try postgres.commit(xid)
    }

    /// As `Backlog.refill`: the row is locked from the look to the move.
    private func refill(_ me: ProcessID) async throws {
        try postgres.check()
        for tenant in postgres.backlog.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
            try await turn(me)
            let room = try await queue.room(of: tenant, window: plan.window)
            guard room > plan.window * 3 / 4 else { continue }
            try await turn(me)
            let xid = try postgres.begin(host: processes[me].host, at: elapsed)
            defer { postgres.rollBack(xid) }
            guard try postgres.take(.backlog(tenant), in: xid, at: elapsed), let since = postgres.backlog[tenant] else {
                continue
            }
            let rows = postgres.unfinished(after: since, of: tenant, limit: room)
            try await turn(me)
            let result = try await queue.enqueue(
                rows.map { ($0.envelope, $0.runAt) }, window: plan.window, from: .backlog)
            let isEmpty = rows.count < room && result.refused.isEmpty
            let reached =
                result.refused.min().map { $0 > 0 ? rows[$0 - 1].envelope.id : since } ?? rows.last?.envelope.id
            try postgres.write([.backlog(tenant, isEmpty ? nil : reached ?? since)], in: xid, at: elapsed)
            try await turn(me)
            if isEmpty { try await queue.endSpill(of: tenant) }
            note("refilled \(tenant) with \(rows.map(\.envelope.id.short)), \(result.added) new, empty: \(isEmpty)")
            try await turn(me)
            try postgres.commit(xid)
        }
    }
}

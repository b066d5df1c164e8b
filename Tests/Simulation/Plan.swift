import Database
import Foundation
import TestSupport

@testable import Jobs

/// What one seed decides beforehand: how large its world is, and what may go wrong in it.
struct Plan {
    enum Trouble: CaseIterable {
        case kill, stall, stop, flush, restore, redisOutage, postgresOutage, clockForward, clockBack, lostCalls
        case pause, shares, cancel, hasten, poison, lateCommits, unknownCommits
    }

    let tenants: [TenantID]
    let workers: Int
    let producers: Int
    let concurrency: Int
    /// How many jobs of a tenant may wait in Redis.
    let window: Int
    /// How far the processes' clock is ahead of Redis's, in ms.
    let skew: Int
    let tenantCap: Int
    let jobs: Int
    /// How many serial keys each tenant has.
    let serialKeys: Int
    /// Every run takes exactly what its job was charged beforehand: then fairness can be checked to the millisecond.
    let isHonest: Bool
    let troubles: [Trouble]
    /// Milliseconds until the troubles end.
    let duration: Int
    /// Milliseconds between two troubles, at most.
    let calm: Int

    init(_ random: inout SeededGenerator) {
        isHonest = random.number(1...4) == 1
        tenants = (1...random.number(isHonest ? 2...3 : 1...4)).map { TenantID(Int64($0)) }
        workers = random.number(1...(isHonest ? 2 : 4))
        producers = random.number(1...3)
        concurrency = random.number(1...(isHonest ? 2 : 4))
        // Fairness shows only among tenants that have something waiting for long.
        window = isHonest ? 20 : random.number(3...6)
        skew = random.pick([0, 0, -300, 300])
        tenantCap = random.pick([0, 0, 1, 2])
        jobs = isHonest ? random.number(30...60) : random.number(8...32)
        serialKeys = random.pick([0, 0, 1, 2])
        duration = random.number(3000...12_000)
        calm = random.number(300...3000)
        let count = random.number(0...6)
        var left = Trouble.allCases
        var chosen: [Trouble] = []
        for _ in 0..<count { chosen.append(left.remove(at: random.number(0...left.count - 1))) }
        troubles = chosen
    }

    func has(_ trouble: Trouble) -> Bool { troubles.contains(trouble) }
}

/// What the seed decides of one job, and what has become of it so far.
struct Fact {
    let envelope: JobEnvelope
    let runAt: Date?
    /// Milliseconds that a run takes.
    let duration: Int
    /// How often it fails before it goes well; 99 for always.
    let failures: Int
    /// Takes its worker's process down with it.
    let isPoisonous: Bool
    /// The line it stands in, where its like run one at a time.
    let line: FakePostgres.LineKey?
    var isCommitted = false
    /// The completion of a group: there once the group's members are done.
    var completes: UUID?
    var runs = 0
    var tries = 0
}

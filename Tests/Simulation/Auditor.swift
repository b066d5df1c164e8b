import Database
import Foundation
import Redis

@testable import Jobs

/// Looks whether the state of one shard is sound, and whether what was started was allowed.
struct Auditor {
    private struct Standing {
        var isInLine = false
        var running = 0
        /// What is in force as far as anybody told Redis; nil where that is not known.
        var share: RedisQueue.Share? = RedisQueue.Share()
        /// Starts under the share in force, each at the earliest time up to which its bucket may have been filled then:
        /// that never goes back.
        var starts: [Int] = []
        /// The latest time up to which the bucket may be filled: how far Redis's clock ever was under that share.
        var filled = 0
        /// Cost of what was started, and of the dearest job there is, for fairness.
        var served = 0.0
        var dearest = 0.0
        /// What was served under a weight of before stays charged by it.
        var leastWeight = 1.0
    }

    private struct Pair: Hashable {
        let one: TenantID
        let other: TenantID
    }

    private let plan: Plan
    private let prefix: String
    private(set) var problems: [String] = []
    /// Every lease that was ever begun.
    var workers: [String] = []
    private var standing: [TenantID: Standing] = [:]
    /// Where two tenants' service stood when both were last known to wait.
    private var bases: [Pair: (Double, Double)] = [:]
    private var virtualTime = -1.0
    private var lastAudit = 0

    init(plan: Plan, prefix: String) {
        self.plan = plan
        self.prefix = prefix
        for tenant in plan.tenants { standing[tenant] = Standing() }
    }

    /// Fairness is a matter of every single fetch.
    var watchesEveryFetch: Bool { plan.isHonest && plan.tenants.count > 1 }

    mutating func report(_ problem: String) { problems.append(problem) }

    mutating func isDue(_ turn: Int) -> Bool {
        if turn - lastAudit < 12 { return false }
        lastAudit = turn
        return true
    }

    // MARK: What happens

    /// Redis lost what it knew: empty, or at an older state, where its shares are older too.
    mutating func redisForgot(isOlder: Bool) {
        virtualTime = -1
        rest()
        for tenant in plan.tenants {
            // At the older state a cap may just have been lowered below what ran.
            standing[tenant]!.running = isOlder ? .max : 0
            if isOlder { standing[tenant]!.share = nil }
            emptyBucket(of: tenant)
        }
    }

    private mutating func emptyBucket(of tenant: TenantID) {
        standing[tenant]!.starts = []
        standing[tenant]!.filled = 0
    }

    /// Redis's clock says `time` to whatever comes next.
    mutating func clock(_ time: Int) {
        for tenant in plan.tenants { standing[tenant]!.filled = max(time, standing[tenant]!.filled) }
    }

    /// Something came between two tenants' service that fairness says nothing of.
    mutating func rest() { bases.removeAll() }

    mutating func sharesAreUnsure() { for tenant in plan.tenants { sharesAreUnsure(of: tenant) } }

    mutating func sharesAreUnsure(of tenant: TenantID) {
        standing[tenant]!.share = nil
        emptyBucket(of: tenant)
        rest()
    }

    /// Redis is told of a share, and may hear of it at any time from now on.
    mutating func isTold(_ share: RedisQueue.Share, of tenant: TenantID) {
        sharesAreUnsure(of: tenant)
        standing[tenant]!.leastWeight = min(share.weight, standing[tenant]!.leastWeight)
    }

    mutating func inForce(_ share: RedisQueue.Share, of tenant: TenantID) {
        standing[tenant]!.share = share
        emptyBucket(of: tenant)
    }

    /// A job that may be fetched one day.
    mutating func made(_ job: JobEnvelope) {
        standing[job.tenant]!.dearest = max(standing[job.tenant]!.dearest, Double(job.cost))
    }

    /// Jobs that a fetch gave at a time of Redis's clock.
    mutating func started(_ jobs: [JobEnvelope], at time: Int) {
        for job in jobs {
            let tenant = job.tenant
            let cost = Double(job.cost)
            guard let share = standing[tenant]!.share else { continue }
            standing[tenant]!.served += cost / share.weight
            if share.isHeld { report("a job of tenant \(tenant) was started while it was held") }
            if share.rate == 0 { continue }
            standing[tenant]!.starts.append(max(time, standing[tenant]!.starts.last ?? time))
            let starts = standing[tenant]!.starts
            for (index, start) in starts.enumerated() {
                let count = Double(starts.count - index)
                let allowed = share.burst + share.rate * Double(standing[tenant]!.filled - start) / 1000
                if count > allowed + 0.001 {
                    report("tenant \(tenant) started \(count) jobs where \(allowed) were allowed")
                    break
                }
            }
        }
    }

    // MARK: The look

    /// Gives the arguments of `look`.
    var arguments: [RedisArgument] {
        [.int(plan.tenants.count)] + plan.tenants.map { .text($0.description) } + workers.map { .text($0) }
    }

    /// Reads what `look` gave.
    mutating func read(_ reply: RedisValue) {
        guard let parts = reply.array, parts.count == 3, let found = parts[0].array, let rows = parts[2].array,
            let time = parts[1].text.flatMap(Double.init)
        else { return report("the look at Redis gave \(reply)") }
        for problem in found { report(problem.text ?? "") }
        if time < virtualTime { report("virtual time went back from \(virtualTime) to \(time)") }
        virtualTime = time
        for (tenant, row) in zip(plan.tenants, rows) {
            guard let numbers = row.array?.map({ $0.int ?? 0 }), numbers.count == 3 else { continue }
            read(tenant, running: numbers[0], cap: numbers[1], isInLine: numbers[2] == 1)
        }
        if watchesEveryFetch { checkFairness() }
    }

    private mutating func read(_ tenant: TenantID, running: Int, cap: Int, isInLine: Bool) {
        let before = standing[tenant]!.running
        if cap > 0 && running > cap && running > before {
            report("tenant \(tenant) runs \(running) jobs, its cap is \(cap)")
        }
        if let share = standing[tenant]!.share {
            let told = share.cap > 0 ? share.cap : plan.tenantCap
            if told > 0 && running > told && running > before {
                report("tenant \(tenant) runs \(running) jobs, Redis was told a cap of \(told)")
            }
        }
        standing[tenant]!.running = running
        standing[tenant]!.isInLine = isInLine
    }

    /// Start-time fair queueing's bound: between two tenants that both have work all the time, service per weight
    /// differs by no more than the dearest job of each.
    private mutating func checkFairness() {
        for (index, one) in plan.tenants.enumerated() {
            for other in plan.tenants.dropFirst(index + 1) {
                let (a, b) = (standing[one]!, standing[other]!)
                let pair = Pair(one: one, other: other)
                guard a.isInLine, b.isInLine, a.share != nil, b.share != nil else {
                    bases[pair] = nil
                    continue
                }
                guard let base = bases[pair] else {
                    bases[pair] = (a.served, b.served)
                    continue
                }
                let difference = abs((a.served - base.0) - (b.served - base.1))
                let bound = a.dearest / a.leastWeight + b.dearest / b.leastWeight
                if difference > bound + 0.01 {
                    report(
                        "tenants \(one) and \(other) both wait, and were served unequally by \(difference), more than \(bound)"
                    )
                }
            }
        }
    }

    /// Reads everything and changes nothing. Arguments: how many tenants, the tenants, every worker that ever was.
    /// Gives what is wrong, virtual time, and per tenant (running, cap in force, in line).
    static let look = RedisScript(
        """
        local P = KEYS[1]
        local problems, places, held, delayed, rows = {}, {}, {}, {}, {}
        local function bad(...) problems[#problems + 1] = table.concat({...}) end
        local function hex(id)
            return (string.gsub(string.sub(id, 1, 11), '.', function(c) return string.format('%02x', string.byte(c)) end))
        end
        local function tenantOf(blob) return string.format('%.0f', (struct.unpack('<i8', blob, 25))) end
        local function at(id, place)
            if places[id] then bad('job ', hex(id), ' is in ', places[id], ' and in ', place) end
            places[id] = place
        end
        local count = tonumber(ARGV[1])
        for i = count + 2, #ARGV do
            local entries = redis.call('HGETALL', P .. 'w:' .. ARGV[i])
            if #entries > 0 and not redis.call('ZSCORE', P .. 'wk', ARGV[i]) then
                bad('worker ', ARGV[i], ' holds jobs and has no lease that could end')
            end
            for j = 1, #entries, 2 do
                local tenant = tenantOf(entries[j + 1])
                held[tenant] = (held[tenant] or 0) + 1
                at(entries[j], 'w:' .. ARGV[i])
            end
        end
        local due = redis.call('ZRANGE', P .. 'd', 0, -1)
        for _, id in ipairs(due) do
            local blob = redis.call('HGET', P .. 'dj', id)
            if blob then
                local tenant = tenantOf(blob)
                delayed[tenant] = (delayed[tenant] or 0) + 1
            else
                bad('delayed job ', hex(id), ' has no body')
            end
            at(id, 'd')
        end
        if redis.call('HLEN', P .. 'dj') ~= #due then bad('dj has other jobs than d') end
        local raw = redis.call('HGET', P .. 'T', '#')
        local vt, epoch, paused, usual = 0, 0, 0, 0
        if raw then vt, epoch, paused, usual = struct.unpack('<dI4I1I4', raw) end
        for i = 2, count + 1 do
            local id = ARGV[i]
            local raw = redis.call('HGET', P .. 'T', id)
            local finish, running, w1, w2, w3, later, cap, flags = 0, 0, 0, 0, 0, 0, 0, 0
            if raw then finish, running, w1, w2, w3, later, cap, flags = struct.unpack('<dI4I4I4I4I4I4I1', raw) end
            for p, n in ipairs({w1, w2, w3}) do
                local list = redis.call('LRANGE', P .. 'r:' .. id .. ':' .. (p - 1), 0, -1)
                if #list ~= n then bad('tenant ', id, ' counts ', n, ' waiting, its list ', p - 1, ' has ', #list) end
                for _, blob in ipairs(list) do at(string.sub(blob, 1, 16), 'r:' .. id) end
            end
            if running ~= (held[id] or 0) then
                bad('tenant ', id, ' counts ', running, ' running, workers hold ', held[id] or 0)
            end
            if later ~= (delayed[id] or 0) then
                bad('tenant ', id, ' counts ', later, ' delayed, there are ', delayed[id] or 0)
            end
            local force = cap > 0 and cap or usual
            local can = w1 + w2 + w3 > 0 and flags < 2 and (force == 0 or running < force)
            local inLine = redis.call('ZSCORE', P .. 'act', id)
            if can and not inLine and not redis.call('ZSCORE', P .. 'park', id) then
                bad('tenant ', id, ' could run and is neither in line nor parked')
            end
            if inLine and not can then bad('tenant ', id, ' is in line and can\\'t run') end
            rows[#rows + 1] = {running, force, inLine and 1 or 0}
        end
        for _, id in ipairs(redis.call('SMEMBERS', P .. 'u')) do
            if not places[id] then bad('job ', hex(id), ' is known and nowhere') end
        end
        for id, place in pairs(places) do
            if redis.call('SISMEMBER', P .. 'u', id) == 0 then bad('job ', hex(id), ' is in ', place, ' and not known') end
        end
        return {problems, string.format('%.17g', vt), rows}
        """)
}

extension Simulation {
    /// Looks at the whole state once.
    func audit() async throws {
        auditor.read(try await redis.look(Auditor.look, key: queue.prefix(0), auditor.arguments))
    }
}

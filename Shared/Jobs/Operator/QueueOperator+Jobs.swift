import Database
import Foundation
import Redis

extension QueueOperator {
    // MARK: Looking

    /// Which jobs are asked for.
    package struct Filter: Sendable {
        /// Empty for every queue.
        package var queues: [String] = []
        /// Empty for every phase.
        package var phases: [RedisQueue.Phase] = []
        package var tenant: TenantID?
        package var name: String?
        /// Of the dead alone: the code of the error.
        package var code: String?
        /// Of the dead alone: when they died.
        package var since: Date?
        package var until: Date?
        package var limit = 50

        package init() {}
    }

    /// A job in a list.
    package struct Line: Encodable, Sendable {
        package var id: String
        package var queue: String
        package var name: String
        package var tenant: String
        package var phase: String
        package var attempts: Int
        package var crashes: Int
        package var worker: String?
        /// When a delayed job is due, or a dead one died.
        package var at: Date?
        package var code: String?
        package var error: String?
        package var replayedAs: String?
    }

    /// Jobs as they lie in Redis, those that are next first; the dead, newest first, as PostgreSQL remembers them.
    package func jobs(_ filter: Filter) async throws -> [Line] {
        var lines: [Line] = []
        var tenants: [TenantID] = []
        let phases = filter.phases.isEmpty ? RedisQueue.Phase.allCases : filter.phases
        for queue in filter.queues.isEmpty ? queues : filter.queues {
            try require(queue)
            for phase in phases where lines.count < filter.limit {
                let room = filter.limit - lines.count
                var found =
                    phase == .dead
                    ? try await dead(in: queue, filter, limit: room).map { ($0.tenant, $0.line) }
                    : try await live(phase, in: queue, filter, limit: room)
                if phase == .dead && found.count < room && filter.code == nil && filter.since == nil
                    && filter.until == nil
                {
                    found += try await live(phase, in: queue, filter, limit: room - found.count, isEphemeral: true)
                }
                if phase == .delayed && found.count < room {
                    found += try await putOff(in: queue, filter, limit: room - found.count)
                }
                tenants += found.map { $0.0 }
                lines += found.map { $0.1 }
            }
        }
        let names = try await slugs(tenants)
        for index in lines.indices { lines[index].tenant = names[tenants[index]] ?? lines[index].tenant }
        return lines
    }

    private func live(
        _ phase: RedisQueue.Phase, in queue: String, _ filter: Filter, limit: Int, isEphemeral: Bool = false
    ) async throws -> [(TenantID, Line)] {
        // Names are told apart here: Redis gives more where one is asked for.
        let wanted = filter.name == nil && !isEphemeral ? limit : Self.lookedThrough
        let found = try await redisQueue(queue).jobs(phase, tenant: filter.tenant, limit: wanted).filter {
            (filter.name == nil || $0.job.name == filter.name) && (!isEphemeral || $0.job.isEphemeral)
        }
        return found.prefix(limit).map { one in
            (
                one.job.tenant,
                Line(
                    id: one.job.id.lowercased, queue: queue, name: one.job.name, tenant: "\(one.job.tenant)",
                    phase: phase.rawValue, attempts: Int(one.job.attempts), crashes: Int(one.job.crashes),
                    worker: one.worker, at: one.at)
            )
        }
    }

    /// Failed jobs whose next try PostgreSQL keeps.
    private func putOff(in queue: String, _ filter: Filter, limit: Int) async throws -> [(TenantID, Line)] {
        let rows = try await database.query(
            tenant: nil,
            Statement(
                "select tenant_id, job_id, name, attempts, crashes, due from platform.waiting_retries($1, $2, $3, $4)",
                [.text(queue), filter.tenant?.parameter ?? .null, .optional(filter.name), .int(limit)]), readOnly: true)
        return (0..<rows.count).map { row in
            let tenant = TenantID(Int64(rows.int(row, 0)!))
            return (
                tenant,
                Line(
                    id: rows.uuid(row, 1)!.lowercased, queue: queue, name: rows.text(row, 2)!, tenant: "\(tenant)",
                    phase: RedisQueue.Phase.delayed.rawValue, attempts: rows.int(row, 3) ?? 0,
                    crashes: rows.int(row, 4) ?? 0, at: rows.time(row, 5))
            )
        }
    }

    private struct Dead {
        let id: UUID
        let tenant: TenantID
        let diedAt: Date
        let line: Line
    }

    private func dead(
        in queue: String, _ filter: Filter, limit: Int, withReplayed: Bool = true, oldestFirst: Bool = false
    ) async throws -> [Dead] {
        let rows = try await database.query(
            tenant: nil,
            Statement(
                """
                select tenant_id, job_id, name, attempts, crashes, code, error, died_at, replayed_as
                from platform.dead_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9)
                """,
                [
                    .text(queue), filter.tenant?.parameter ?? .null, .optional(filter.name), .optional(filter.code),
                    filter.since.map(Parameter.time) ?? .null, filter.until.map(Parameter.time) ?? .null,
                    .bool(withReplayed), .bool(oldestFirst), .int(limit),
                ]), readOnly: true)
        return (0..<rows.count).map { row in
            let (id, tenant) = (rows.uuid(row, 1)!, TenantID(Int64(rows.int(row, 0)!)))
            let diedAt = rows.time(row, 7) ?? .distantPast
            return Dead(
                id: id, tenant: tenant, diedAt: diedAt,
                line: Line(
                    id: id.lowercased, queue: queue, name: rows.text(row, 2)!, tenant: "\(tenant)", phase: "dead",
                    attempts: rows.int(row, 3) ?? 0, crashes: rows.int(row, 4) ?? 0, at: diedAt,
                    code: rows.text(row, 5), error: rows.text(row, 6), replayedAs: rows.uuid(row, 8)?.lowercased))
        }
    }

    /// All that is known of a job; refuses an id that nobody knows.
    package func story(_ id: UUID) async throws -> JobStory {
        let rows = try await database.query(
            tenant: nil, Statement("select platform.describe_job($1)", [.uuid(id)]), readOnly: true)
        guard let text = rows.text(0, 0) else {
            if let story = try await ephemeral(id) { return story }
            throw OperatorRefusal("unknown_job", "no outbox knows the job \(id.lowercased)")
        }
        var story = try OperatorJSON.decode(JobStory.self, from: text)
        if let death = story.death {
            (story.attempts, story.crashes) = (death.attempts, death.crashes)
        } else if story.outcome == nil, let retry = story.retry {
            (story.attempts, story.crashes) = (retry.attempts, retry.crashes)
        } else if story.outcome == nil {
            let envelope = try await redisQueue(story.queue).delayed(id, tenant: story.tenantID)
            (story.attempts, story.crashes) = (envelope.map { Int($0.attempts) }, envelope.map { Int($0.crashes) })
        }
        return story
    }

    /// What holds a job, and about how long.
    package func why(_ story: JobStory) async throws -> JobDiagnosis {
        let (queue, id) = (redisQueue(story.queue), UUID(uuidString: story.id)!)
        let whereabouts: RedisQueue.Whereabouts =
            story.outcome == nil ? try await queue.whereabouts(of: id, tenant: story.tenantID) : .unknown
        var facts = JobDiagnosis.Facts(story: story, whereabouts: whereabouts, depth: try await queue.depth())
        facts.rate = try await QueueLoad(queue).read().rate
        if story.outcome == nil {
            facts.tenantWaiting =
                try await queue.tenants(limit: 100_000).first { $0.tenant == story.tenantID }?.waiting ?? 0
        }
        if whereabouts == .unknown, story.backlogSince != nil {
            let rows = try await database.query(
                tenant: nil,
                Statement(
                    "select platform.backlog_place($1, $2, $3, $4)",
                    [.text(story.queue), story.tenantID.parameter, .uuid(id), .int(Self.countLimit)]), readOnly: true)
            facts.backlogPlace = rows.int(0, 0) ?? 0
        }
        return JobDiagnosis(facts)
    }

    // MARK: Steering

    /// What became of a retry.
    package enum Retried: Sendable, Equatable {
        /// Due at once, under its own id.
        case hastened
        /// Enqueued anew under this id: it was dead.
        case replayed(UUID)

        /// What programs read: the id that the job goes on under, and where that is another, the one before.
        package func answer(of job: UUID) -> [String: String] {
            switch self {
            case .hastened: ["id": job.lowercased]
            case .replayed(let fresh): ["id": fresh.lowercased, "replay_of": job.lowercased]
            }
        }
    }

    /// Has a delayed job run now, and a dead one anew. Refuses any other, saying why it is not run.
    package func retry(_ id: UUID) async throws -> Retried {
        let story = try await story(id)
        if story.death != nil { return .replayed(try await replay(id, tenant: story.tenantID, queue: story.queue)) }
        if let ending = story.ending { throw OperatorRefusal("already_over", "the job is over: \(ending)") }
        if story.isScheduled {
            if try await changeScheduled(story, withdrawn: false) { return .hastened }
        } else if story.isEphemeral == true {
            let isHere = try await redisQueue(story.queue).hasten(id, tenant: story.tenantID)
            if isHere { return .hastened }
            if try await revive(story) { return .hastened }
        } else {
            let wasPutOff = try await hastenPutOff(story)
            let isHere = try await redisQueue(story.queue).hasten(id, tenant: story.tenantID)
            if wasPutOff || isHere { return .hastened }
        }
        throw OperatorRefusal("not_delayed", "the job is not delayed: \(try await why(story).text)")
    }

    /// Cancels a job that is not over: one that waits never runs, one that runs is told so within a second and can't
    /// commit its end.
    package func cancel(_ id: UUID) async throws {
        let story = try await story(id)
        if let ending = story.ending { throw OperatorRefusal("already_over", "the job is over: \(ending)") }
        if story.isScheduled, try await changeScheduled(story, withdrawn: true) { return }
        if story.isEphemeral == true {
            _ = try await redisQueue(story.queue).cancel(id, tenant: story.tenantID, isEphemeral: true)
            return
        }
        let outbox = Outbox(schema: story.consumer, database: database, redis: redis, logger: logger)
        do {
            try await outbox.settleAsCancelled(
                id, tenant: story.tenantID, group: story.groupId.flatMap(UUID.init(uuidString:)))
        } catch {
            guard error.code == .uniqueViolation else { throw error }
            throw OperatorRefusal("already_over", "the job is over")
        }
        // What Redis misses, the inbox refuses.
        _ = try? await redisQueue(story.queue).cancel(id, tenant: story.tenantID)
    }

    /// A worker brings it to Redis within a second or so.
    private func hastenPutOff(_ story: JobStory) async throws -> Bool {
        let rows = try await database.query(
            tenant: nil,
            Statement(
                "select platform.hasten_retry($1, $2, $3::uuid)",
                [.text(story.queue), story.tenantID.parameter, .text(story.id)]))
        return rows.bool(0, 0) == true
    }

    private func changeScheduled(_ story: JobStory, withdrawn: Bool) async throws -> Bool {
        let rows = try await database.query(
            tenant: nil,
            Statement(
                "select platform.change_scheduled($1, $2, $3::uuid, $4)",
                [.text(story.queue), story.tenantID.parameter, .text(story.id), .bool(withdrawn)]))
        return rows.bool(0, 0) == true
    }

    // MARK: Replay

    /// How many jobs a second a replay may be told to keep to.
    package static let replayRates = 0.001...1_000_000.0

    /// What a replay did, or would do.
    package struct Replay: Encodable, Sendable, Equatable {
        package var dryRun: Bool
        package var matched = 0
        package var replayed = 0
        /// Jobs whose payload is gone: their part of the outbox was dropped.
        package var payloadGone = 0
        /// How many of each name matched.
        package var names: [String: Int] = [:]
    }

    /// Enqueues the dead that fit the filter anew, the oldest first, each once in its life and in a transaction of its
    /// own; those that die again meanwhile are left alone.
    ///
    /// - Parameters:
    ///   - perSecond: how many at most; nil for as fast as it goes.
    ///   - dryRun: counts alone.
    package func replay(
        _ filter: Filter, perSecond: Double? = nil, dryRun: Bool, progress: (Replay) -> Void = { _ in }
    ) async throws -> Replay {
        var report = Replay(dryRun: dryRun)
        var filter = filter
        filter.until = min(filter.until ?? .distantFuture, Date())
        let start = ContinuousClock.now
        for queue in filter.queues.isEmpty ? queues : filter.queues {
            try require(queue)
            var seen: Set<UUID> = []
            var slice = filter
            while report.matched < filter.limit {
                // Those of one instant may come twice: the slices overlap by it.
                let found = try await dead(in: queue, slice, limit: 1000, withReplayed: false, oldestFirst: true)
                let fresh = found.filter { !seen.contains($0.id) }.prefix(filter.limit - report.matched)
                for one in fresh {
                    try Task.checkCancellation()
                    seen.insert(one.id)
                    report.matched += 1
                    report.names[one.line.name, default: 0] += 1
                    if dryRun { continue }
                    if let perSecond, perSecond > 0 {
                        try await Task.sleep(until: start + .seconds(Double(report.matched - 1) / perSecond))
                    }
                    do {
                        _ = try await replay(one.id, tenant: one.tenant, queue: queue)
                        report.replayed += 1
                    } catch let refusal as OperatorRefusal {
                        if refusal.code == "payload_gone" { report.payloadGone += 1 }
                    }
                    progress(report)
                }
                guard let last = fresh.last else { break }
                slice.since = last.diedAt
            }
        }
        return report
    }

    /// Enqueues one dead job anew and gives its new id.
    func replay(_ id: UUID, tenant: TenantID, queue: String) async throws -> UUID {
        let fresh = UUID.v7()
        let rows = try await database.query(
            tenant: nil,
            Statement(
                "select platform.replay_job($1, $2, $3, $4)",
                [.text(queue), tenant.parameter, .uuid(id), .uuid(fresh)]))
        switch rows.text(0, 0) {
        case "replayed":
            try? await redisQueue(queue).forgetDead(id, tenant: tenant)
            return fresh
        case "replayed_already":
            throw OperatorRefusal("already_replayed", "the job \(id.lowercased) was replayed before")
        case "payload_gone":
            throw OperatorRefusal(
                "payload_gone", "what the job \(id.lowercased) carries is gone: outboxes are kept for nine days")
        default: throw OperatorRefusal("unknown_job", "no dead job has the id \(id.lowercased)")
        }
    }
}

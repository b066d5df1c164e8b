import Database
import Foundation
import Redis

/// Ephemeral jobs, which PostgreSQL knows nothing of: what operators see of them is what lies in Redis now.
extension QueueOperator {
    /// How many jobs of a queue and phase are looked through for those that Redis can't tell apart.
    static let lookedThrough = 5000

    /// An ephemeral job's story; nil where it is not found, which may be because it is over.
    func ephemeral(_ id: UUID) async throws -> JobStory? {
        for name in queues {
            for phase in RedisQueue.Phase.allCases {
                let listed = try await redisQueue(name).jobs(phase, limit: Self.lookedThrough)
                guard let found = listed.first(where: { $0.job.id == id && $0.job.isEphemeral }) else { continue }
                return try await story(of: found, in: name, phase)
            }
        }
        return nil
    }

    private func story(
        of listed: RedisQueue.Listed, in queue: String, _ phase: RedisQueue.Phase
    ) async throws -> JobStory {
        let job = listed.job
        let tenant = try await tenants(numbers: [job.tenant.description]).first
        return JobStory(
            id: job.id.lowercased, tenantId: job.tenant.rawValue, tenant: tenant?.slug, tenantStatus: tenant?.status,
            queue: queue, name: job.name, origin: job.origin, isScheduled: false, createdAt: job.id.v7Time,
            runAt: phase == .delayed ? listed.at : nil, priority: Int(job.priority.rawValue),
            maxAttempts: Int(job.maxAttempts), timeoutSeconds: Int(job.timeout), payloadBytes: job.payload.count,
            traceparent: job.traceparent.isEmpty ? nil : job.traceparent, attempts: Int(job.attempts),
            crashes: Int(job.crashes), isEphemeral: true)
    }

    /// Takes a dead one from the list of the dead and enqueues it as if it had never failed. Under its own id: what it
    /// carries may be sealed for that. False where it is not there any more.
    func revive(_ story: JobStory) async throws -> Bool {
        let (queue, id) = (redisQueue(story.queue), UUID(uuidString: story.id)!)
        let dead = try await queue.jobs(.dead, tenant: story.tenantID, limit: Self.lookedThrough)
        guard var job = dead.first(where: { $0.job.id == id })?.job else { return false }
        job.attempts = 0
        job.crashes = 0
        job.runsAlone = false
        // In this order, or a death that follows at once would be forgotten.
        try await queue.forgetDead(id, tenant: story.tenantID)
        try await queue.enqueue([(job, nil)])
        return true
    }
}

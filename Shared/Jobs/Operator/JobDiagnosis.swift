import Foundation

/// Why a job is not done: the one thing that holds it, in words, and about how long it will take to begin.
package struct JobDiagnosis: Encodable, Sendable, Equatable {
    /// What holds a job, for programs.
    package enum Reason: String, Encodable, Sendable {
        case done, cancelled, dead, expired, quarantined, running
        case notYetDue = "not_yet_due"
        case retryWait = "retry_wait"
        case behindItsKey = "behind_its_key"
        case tenantSuspended = "tenant_suspended"
        case queuePaused = "queue_paused"
        case noWorker = "no_worker"
        case tenantCap = "tenant_cap"
        case rateLimited = "rate_limited"
        case behindItsTenant = "behind_its_tenant"
        case behindOthers = "behind_others"
        case next
        case backlog
        case notPushed = "not_pushed"
    }

    package let reason: Reason
    package let text: String
    /// About how long until it begins; nil where nobody can say.
    package var seconds: Double?

    /// What a diagnosis is made of.
    package struct Facts: Sendable {
        package var story: JobStory
        package var whereabouts: RedisQueue.Whereabouts
        package var depth: RedisQueue.Depth
        /// Jobs that the queue's workers end per second; 0 where that is not known.
        package var rate = 0.0
        /// Jobs of its tenant that wait before it in PostgreSQL.
        package var backlogPlace = 0
        /// Jobs of its tenant that wait in Redis.
        package var tenantWaiting = 0
        package var now = Date()

        package init(story: JobStory, whereabouts: RedisQueue.Whereabouts, depth: RedisQueue.Depth) {
            self.story = story
            self.whereabouts = whereabouts
            self.depth = depth
        }
    }

    /// The diagnosis that follows from the facts.
    package init(_ facts: Facts) {
        self = Self.ended(facts.story) ?? Self.held(facts) ?? Self.waiting(facts)
    }

    private init(_ reason: Reason, _ text: String, seconds: Double? = nil) {
        self.reason = reason
        self.text = text
        self.seconds = seconds
    }

    private static func ended(_ story: JobStory) -> JobDiagnosis? {
        guard let ending = story.ending else { return nil }
        let at = story.finishedAt.map { " at \(time($0))" } ?? ""
        let again = story.death?.replayedAs.map { "; replayed as \($0)" } ?? ""
        switch ending {
        case "done": return Self(.done, "done\(at)")
        case "cancelled": return Self(.cancelled, "cancelled\(at)")
        case "expired": return Self(.expired, "expired\(at): it did not begin in time\(again)")
        case "quarantined":
            return Self(
                .quarantined,
                "quarantined\(at): \(story.death?.crashes ?? 2) workers died while they ran it\(again)")
        default:
            let error = story.death.map { ": \($0.code): \($0.error)" } ?? ""
            return Self(.dead, "dead\(at) after \(count(story.death?.attempts ?? 0, "attempt"))\(error)\(again)")
        }
    }

    /// What runs, is not due, or is held by something that somebody set.
    private static func held(_ facts: Facts) -> JobDiagnosis? {
        let story = facts.story
        switch facts.whereabouts {
        case .running(let worker, let lease):
            let since = story.status?.startedAt.map { " since \(time($0))" } ?? ""
            return Self(
                .running, "running on worker \(worker)\(since); its lease lasts \(text(lease / .seconds(1))) more",
                seconds: 0)
        case .cancelled: return Self(.cancelled, "cancelled: a worker drops it when it comes to it")
        case .dead: return Self(.dead, "dead")
        case .delayed(let left):
            let seconds = left / .seconds(1)
            return again(after: story.attempts ?? 0, in: seconds)
        case .waiting, .farBack, .unknown: break
        }
        if let ahead = story.lineAhead {
            return Self(
                .behindItsKey,
                "behind \(count(ahead, "job")) of its key \(story.serialKey ?? ""), which run one at a time")
        }
        if story.isScheduled, let runAt = story.runAt {
            let seconds = max(0, runAt.timeIntervalSince(facts.now))
            return Self(.notYetDue, "not yet due, in \(text(seconds)), at \(time(runAt))", seconds: seconds)
        }
        if let retry = story.retry, facts.whereabouts == .unknown {
            return again(after: retry.attempts, in: max(0, retry.due.timeIntervalSince(facts.now)))
        }
        var isHeld = story.tenantStatus.map { $0 != "active" } ?? false
        if case .waiting(_, _, _, _, _, let held, _) = facts.whereabouts, held { isHeld = true }
        if isHeld {
            let status = story.tenantStatus.map { $0 == "active" ? "held" : $0 } ?? "held"
            return Self(
                .tenantSuspended, "tenant \(story.tenantName) is \(status): nothing of it runs until it is active")
        }
        if facts.depth.isPaused {
            return Self(.queuePaused, "queue \(story.queue) is paused: `guanxi queues resume \(story.queue)`")
        }
        if facts.depth.workers == 0 {
            return Self(
                .noWorker, "no worker serves \(story.queue), or all are quiet: start `\(story.consumer) work`")
        }
        return nil
    }

    private static func again(after attempts: Int, in seconds: Double) -> JobDiagnosis {
        if attempts == 0 { return Self(.notYetDue, "not yet due, in \(text(seconds))", seconds: seconds) }
        return Self(
            .retryWait, "failed \(count(attempts, "time")), is tried again in \(text(seconds))", seconds: seconds)
    }

    private static func waiting(_ facts: Facts) -> JobDiagnosis {
        let (story, tenant) = (facts.story, facts.story.tenantName)
        switch facts.whereabouts {
        case .waiting(let ahead, let place, let parkedFor, let running, let cap, _, _):
            let seconds = estimate(ahead, facts)
            if cap > 0 && running >= cap {
                return Self(
                    .tenantCap,
                    "tenant \(tenant)'s cap is reached (\(running) running of \(cap)), \(ahead) of its jobs "
                        + "before this one", seconds: seconds)
            }
            if let parkedFor {
                let wait = parkedFor / .seconds(1)
                return Self(
                    .rateLimited,
                    "tenant \(tenant) has used up its rate: parked for \(text(wait)), \(ahead) of its jobs "
                        + "before this one", seconds: max(wait, seconds ?? 0))
            }
            if ahead > 0 {
                return Self(.behindItsTenant, "behind \(count(ahead, "job")) of its tenant \(tenant)", seconds: seconds)
            }
            if let place, place > 0 {
                return Self(.behindOthers, "first of its tenant, behind \(count(place, "tenant"))", seconds: seconds)
            }
            return Self(.next, "next: it runs as soon as a worker is free", seconds: seconds)
        case .farBack(let ahead):
            return Self(
                .behindItsTenant, "behind at least \(count(ahead, "job")) of its tenant \(tenant)",
                seconds: estimate(ahead, facts))
        default:
            guard story.backlogSince != nil else {
                let age = story.createdAt.map { facts.now.timeIntervalSince($0) } ?? 0
                let hint =
                    age > 5
                    ? "; a long write transaction may hold the relay back, or no process of \(story.origin ?? "its service") runs"
                    : ""
                return Self(
                    .notPushed, "committed \(text(max(0, age))) ago and not in Redis yet: the relay sends it\(hint)")
            }
            let ahead = facts.tenantWaiting + facts.backlogPlace
            return Self(
                .backlog,
                "in the backlog in PostgreSQL, position about \(facts.backlogPlace + 1) there, "
                    + "\(count(facts.tenantWaiting, "job")) of its tenant before it in Redis",
                seconds: estimate(ahead, facts))
        }
    }

    /// Tenants take turns: each of the jobs before it waits for one of every tenant that has work, but for no more jobs
    /// than there are.
    private static func estimate(_ ahead: Int, _ facts: Facts) -> Double? {
        guard facts.rate > 0 else { return nil }
        let others = max(0, facts.depth.waiting - facts.tenantWaiting)
        let turns = (ahead + 1) * max(1, facts.depth.tenants)
        return Double(min(turns, max(ahead + 1, ahead + 1 + others))) / facts.rate
    }

    private static func time(_ date: Date) -> String { "\(date.formatted(.iso8601))" }

    private static func count(_ number: Int, _ thing: String) -> String {
        "\(number) \(thing)\(number == 1 ? "" : "s")"
    }

    /// Seconds as people read them.
    package static func text(_ seconds: Double) -> String {
        switch seconds {
        case ..<1: "\(Int((seconds * 1000).rounded())) ms"
        case ..<120: String(format: "%.1f s", seconds)
        case ..<7200: "\(Int(seconds / 60)) min"
        case ..<172_800: "\(Int(seconds / 3600)) h"
        default: "\(Int(seconds / 86_400)) days"
        }
    }
}

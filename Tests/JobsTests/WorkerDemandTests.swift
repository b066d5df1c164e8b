import Database
import Foundation
import Testing

@testable import Jobs

@Suite("Workers wanted")
struct WorkerDemandTests {
    private func goal(_ concurrency: Int = 10, objective: Double = 10, minimum: Int = 0, maximum: Int = 100)
        -> WorkerDemand.Goal
    {
        var goal = WorkerDemand.Goal()
        goal.concurrency = concurrency
        goal.objective = objective
        goal.minimum = minimum
        goal.maximum = maximum
        return goal
    }

    private func demand(_ rate: Double, _ seconds: Double, backlog: Int = 0) -> WorkerDemand {
        WorkerDemand(arrivalRate: rate, meanSeconds: seconds, backlog: backlog, workers: 1)
    }

    @Test("as many as keep up with what arrives, and as empty the backlog within the objective")
    func formula() {
        #expect(demand(100, 0.2).needed(for: goal()) == 2, "20 slots are busy, a worker has 10")
        #expect(demand(101, 0.2).needed(for: goal()) == 3)
        #expect(demand(0, 0.2, backlog: 1000).needed(for: goal()) == 2, "200 s of work within 10 s")
        #expect(demand(100, 0.2, backlog: 1000).needed(for: goal()) == 4)
    }

    @Test("nothing to do wants the minimum, little to do wants one, and nothing wants more than the maximum")
    func bounds() {
        #expect(demand(0, 0).needed(for: goal()) == 0)
        #expect(demand(0, 0).needed(for: goal(minimum: 2)) == 2)
        #expect(demand(0, 0, backlog: 1).needed(for: goal()) == 1)
        #expect(demand(0.01, 0.001).needed(for: goal()) == 1)
        #expect(demand(1e9, 1e3, backlog: .max / 2).needed(for: goal(maximum: 7)) == 7)
    }

    @Test(
        "whatever is measured, the number wanted meets the objective, and one less would not",
        arguments: [(3.0, 0.5, 400), (250, 0.01, 90_000), (0.2, 30, 12), (900, 0.004, 3)])
    func meetsObjective(rate: Double, seconds: Double, backlog: Int) throws {
        let goal = goal(8, objective: 5, maximum: 10_000)
        let demand = demand(rate, seconds, backlog: backlog)
        let needed = demand.needed(for: goal)
        let drain = try #require(demand.drainSeconds(workers: needed, concurrency: goal.concurrency))
        #expect(drain <= goal.objective + 1e-6)
        if needed > 1 {
            let slower = demand.drainSeconds(workers: needed - 1, concurrency: goal.concurrency)
            #expect(slower == nil || slower! > goal.objective)
        }
    }

    @Test("a backlog that grows faster than it is worked off is never drained")
    func never() {
        #expect(demand(100, 1, backlog: 5).drainSeconds(workers: 10, concurrency: 10) == nil)
        #expect(demand(1, 1, backlog: 5).drainSeconds(workers: 0, concurrency: 10) == nil)
        #expect(demand(1, 1).drainSeconds(workers: 0, concurrency: 10) == 0)
    }

    @Test("more are wanted at once; fewer only after a minute of less, and then by half at most")
    func hysteresis() {
        var scale = WorkerScale(wanted: 2)
        #expect(scale.follow(16, at: 0) == 16)
        #expect(scale.follow(1, at: 1) == 16)
        #expect(scale.follow(1, at: 60) == 16)
        #expect(scale.follow(1, at: 61) == 8)
        #expect(scale.follow(1, at: 120) == 8)
        #expect(scale.follow(1, at: 121) == 4)
        #expect(scale.follow(9, at: 122) == 9)
        #expect(scale.follow(2, at: 130) == 9)
        #expect(scale.follow(7, at: 150) == 9, "a need within the lull counts")
        #expect(scale.follow(2, at: 190) == 7)
        #expect(scale.follow(7, at: 200) == 7)
        #expect(scale.follow(3, at: 210) == 7, "the lull begins anew")
        #expect(scale.follow(3, at: 269) == 7)
    }

    @Test("a fleet starts what is wanted, drains its newest, and replaces what died, slower each time")
    func fleet() {
        var fleet = WorkerFleet(grace: 20)
        #expect(fleet.steps(wanted: 2, now: 0) == [.start, .start])
        fleet.started(1, now: 0)
        fleet.started(2, now: 1)
        #expect(fleet.steps(wanted: 2, now: 2).isEmpty)
        #expect(fleet.steps(wanted: 1, now: 2) == [.drain(pid: 2)])
        fleet.draining(2, now: 2)
        #expect(fleet.steps(wanted: 1, now: 22).isEmpty, "within its grace it is left alone")
        #expect(fleet.steps(wanted: 1, now: 23) == [.kill(pid: 2)])
        let wasSurprise = [fleet.ended(2, now: 23), fleet.ended(1, now: 24)]
        #expect(wasSurprise == [false, true], "one was asked to")
        #expect(fleet.steps(wanted: 1, now: 24).isEmpty, "not at once")
        #expect(fleet.steps(wanted: 2, now: 24.5) == [.start], "and one at a time")
        fleet.started(3, now: 24.5)
        let isSurprise = fleet.ended(3, now: 25)
        #expect(isSurprise)
        #expect(fleet.steps(wanted: 1, now: 25.9).isEmpty)
        #expect(fleet.steps(wanted: 1, now: 26) == [.start])
        fleet.started(4, now: 26)
        fleet.look(now: 56)
        #expect(fleet.steps(wanted: 3, now: 56) == [.start, .start], "what lived long enough has forgiven the rest")
        #expect(WorkerFleet.backoff(50) == 30)
    }

    @Test("jobs of tenants that are suspended, or at their rate or cap, want no workers")
    func held() {
        func standing(_ waiting: Int, _ share: RedisQueue.Share = .init(), hasBacklog: Bool = false)
            -> RedisQueue.TenantStanding
        {
            .init(
                tenant: TenantID(1), waiting: waiting, running: 0, delayed: 0, share: share, hasBacklog: hasBacklog,
                parkedFor: nil, place: nil)
        }
        let figures = QueueOperator.Figures(
            queue: "contacts.default", waiting: 2000, running: 0, delayed: 0, putOff: 0, dead: 0, backlog: 400,
            backlogTenants: 2, inLine: 0, workers: 1, tenants: 4, parkedTenants: 0, paused: false, oldestSeconds: 0,
            arrivalPerSecond: 0,
            donePerSecond: 0, meanSeconds: 0.1, overdue: 0)
        func held(_ one: RedisQueue.TenantStanding) -> Int { DemandWatch.held(figures, [one], objective: 10) }
        #expect(held(standing(500)) == 0)
        #expect(held(standing(500, .init(isHeld: true))) == 500)
        #expect(held(standing(500, .init(isHeld: true), hasBacklog: true)) == 700, "and its part of the backlog")
        #expect(held(standing(500, .init(rate: 5))) == 450, "fifty may start in time")
        #expect(held(standing(500, .init(cap: 2))) == 300, "two at once, a tenth of a second each")
        #expect(held(standing(5000, .init(isHeld: true))) == 2400, "never more than there is")
    }

    @Test("a worker's name tells its host, hyphens and all, and its process")
    func names() {
        #expect(QueueOperator.process(of: "web-1.example-4711-1x2y3z-2") == ("web-1.example", 4711))
        #expect(QueueOperator.process(of: "w") == ("w", nil))
    }
}

@Suite("Why a job waits")
struct JobDiagnosisTests {
    private func facts(
        _ whereabouts: RedisQueue.Whereabouts, workers: Int = 1, paused: Bool = false,
        _ change: (inout JobStory) -> Void = { _ in }
    ) -> JobDiagnosis.Facts {
        var story = JobStory(
            id: "01a2031f-119c-7b8d-8c7a-975042ef0d88", tenantId: 1, tenant: "acme", tenantStatus: "active",
            queue: "contacts.default", name: "contacts.probe", origin: "contacts", isScheduled: false)
        change(&story)
        var depth = RedisQueue.Depth()
        depth.workers = workers
        depth.isPaused = paused
        depth.tenants = 2
        depth.waiting = 30
        var facts = JobDiagnosis.Facts(story: story, whereabouts: whereabouts, depth: depth)
        facts.rate = 10
        return facts
    }

    private func waiting(
        ahead: Int = 0, place: Int? = 0, parkedFor: Duration? = nil, running: Int = 0, cap: Int = 0,
        isHeld: Bool = false
    ) -> RedisQueue.Whereabouts {
        .waiting(
            ahead: ahead, place: place, parkedFor: parkedFor, running: running, cap: cap, isHeld: isHeld,
            isPaused: false)
    }

    @Test("each blocker is named in words, the strongest first")
    func reasons() {
        func why(_ facts: JobDiagnosis.Facts) -> JobDiagnosis { JobDiagnosis(facts) }
        #expect(why(facts(waiting())).reason == .next)
        #expect(why(facts(waiting(place: 3))).text == "first of its tenant, behind 3 tenants")
        let behind = why(facts(waiting(ahead: 4)))
        #expect(behind.text == "behind 4 jobs of its tenant acme")
        #expect(behind.seconds == 1, "ten turns of two tenants, ten a second")
        #expect(
            why(facts(waiting(ahead: 1, place: nil, running: 3, cap: 3))).text
                == "tenant acme's cap is reached (3 running of 3), 1 of its jobs before this one")
        let parked = why(facts(waiting(place: nil, parkedFor: .seconds(5))))
        #expect(parked.reason == .rateLimited && parked.seconds == 5)
        #expect(why(facts(waiting(isHeld: true)) { $0.tenantStatus = "suspended" }).reason == .tenantSuspended)
        #expect(why(facts(waiting(), paused: true)).reason == .queuePaused)
        #expect(why(facts(waiting(), workers: 0)).reason == .noWorker)
        #expect(why(facts(.delayed(.seconds(30)))).text == "not yet due, in 30.0 s")
        #expect(why(facts(.delayed(.seconds(30))) { $0.attempts = 2 }).reason == .retryWait)
        #expect(why(facts(.running(worker: "w", leaseLasts: .seconds(4)), workers: 0)).reason == .running)
        #expect(why(facts(.unknown)).reason == .notPushed)
        #expect(why(facts(.unknown) { $0.backlogSince = "x" }).reason == .backlog)
        #expect(why(facts(.farBack(ahead: 10_000))).text == "behind at least 10000 jobs of its tenant acme")
    }

    @Test("a job that is over says how it ended, wherever Redis thinks it is")
    func ended() {
        for (outcome, reason) in [1: JobDiagnosis.Reason.done, 2: .cancelled, 3: .dead, 4: .expired] {
            #expect(JobDiagnosis(facts(waiting(ahead: 5)) { $0.outcome = outcome }).reason == reason)
        }
        let quarantined = JobDiagnosis(
            facts(.unknown) {
                $0.outcome = 3
                $0.death = .init(
                    code: "quarantined", error: "", attempts: 0, crashes: 2, diedAt: Date(timeIntervalSince1970: 0),
                    replayedAs: "y")
            })
        #expect(quarantined.reason == .quarantined)
        #expect(quarantined.text == "quarantined: 2 workers died while they ran it; replayed as y")
    }
}

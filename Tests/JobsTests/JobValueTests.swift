import Database
import Foundation
import Logging
import Redis
import Testing

@testable import Jobs

@Suite("Job values")
struct JobValueTests {
    @Test("an envelope comes back as it went in, whatever is in it")
    func envelope() {
        var options = JobOptions()
        options.priority = .low
        options.cost = 12.5
        options.isTracked = true
        let job = PendingJob(
            name: "x.do-关系", queue: "x.default", payload: Array("{\"a\":\"🤝\"}".utf8), options: options,
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        let envelope = JobEnvelope(job, tenant: TenantID(-7), origin: "contacts")
        #expect(JobEnvelope(envelope.encoded) == envelope)
        for length in 0..<envelope.encoded.count {
            #expect(JobEnvelope(Array(envelope.encoded.prefix(length))) == nil)
        }
    }

    @Test("a long payload stays in PostgreSQL")
    func longPayload() {
        let job = PendingJob(name: "x.y", queue: "x.default", payload: [UInt8](repeating: 65, count: 5000))
        let envelope = JobEnvelope(job, tenant: TenantID(1), origin: "x")
        #expect(envelope.payloadIsElsewhere && envelope.payload.isEmpty)
    }

    @Test("ids made later sort later, as text and as bytes")
    func ids() {
        let now = Date()
        let ids = (0..<1000).map { UUID.v7(at: now.addingTimeInterval(Double($0) / 100)).lowercased }
        #expect(ids == ids.sorted())
        #expect(abs(UUID.v7(at: now).v7Time.timeIntervalSince(now)) < 0.002)
        #expect(UUID.v7LowerBound(at: now).lowercased <= UUID.v7(at: now).lowercased)
    }

    @Test("an envelope keeps its expiry and its group")
    func expiryAndGroup() {
        var options = JobOptions()
        options.expiry = 90
        var job = PendingJob(name: "x.y", queue: "x.default", payload: [1, 2, 3], options: options)
        job.group = .v7()
        job.serialKey = "customer 关系"
        let envelope = JobEnvelope(job, tenant: TenantID(9), origin: "x")
        let read = JobEnvelope(envelope.encoded)
        #expect(read?.group == job.group)
        #expect(read?.isSerial == true)
        #expect(abs(read!.expiresAt!.timeIntervalSince(job.id.v7Time) - 90) < 0.01)
        for length in 0..<envelope.encoded.count {
            #expect(JobEnvelope(Array(envelope.encoded.prefix(length))) == nil)
        }
    }

    @Test("the shards of a cluster share the tenants evenly, and a tenant is always in the same one")
    func shards() throws {
        let redis = try RedisClient(url: "redis://127.0.0.1:1", logger: Logger(label: "none"))
        defer { redis.close() }
        let queue = RedisQueue(name: "x.default", redis: redis, shards: 64)
        let counts = Dictionary(grouping: (1...6400).map { queue.shard(of: TenantID($0)) }, by: { $0 })
        #expect(counts.count == 64)
        #expect(counts.values.allSatisfy { (60...140).contains($0.count) })
        #expect(queue.shard(of: TenantID(-5)) == queue.shard(of: TenantID(-5)))
    }
}

@Suite("A job's fate")
struct JobFateTests {
    private let envelope: JobEnvelope = {
        var options = JobOptions()
        options.maxAttempts = 3
        return JobEnvelope(
            PendingJob(name: "x.y", queue: "x.default", payload: [], options: options), tenant: TenantID(1), origin: "x"
        )
    }()

    private func fate(_ error: any Error, stop: JobFate.Stop? = nil, attempts: UInt8 = 0) -> JobFate {
        var envelope = envelope
        envelope.attempts = attempts
        return JobFate.after(error, stop: stop, of: envelope, jitter: 1)
    }

    @Test("a failure is tried again, later each time, up to an hour, and the last try is the last")
    func retries() {
        guard case .again(let first, let next) = fate(JobTimeout(seconds: 1)) else {
            Issue.record("not tried again")
            return
        }
        #expect(first == 2 && next.attempts == 1)
        guard case .dead(let last, "internal", _) = fate(JobTimeout(seconds: 1), attempts: 2) else {
            Issue.record("not dead")
            return
        }
        #expect(last.attempts == 3)
        let usual = RetryDelay()
        #expect((0...4).map { usual.seconds(after: $0) } == [1, 2, 4, 8, 16])
        #expect(usual.seconds(after: 12) == 3600 && usual.seconds(after: 255) == 3600)
        let even = RetryDelay(first: 30, factor: 1, longest: 30)
        #expect(even.seconds(after: 1) == 30 && even.seconds(after: 255) == 30)
        let patient = JobFate.after(
            JobTimeout(seconds: 1), stop: nil, of: envelope, delay: RetryDelay(first: 60, factor: 10), jitter: 0.5)
        guard case .again(30, _) = patient else {
            Issue.record("\(patient)")
            return
        }
    }

    @Test("however often a job may fail, there is an end that its counter reaches")
    func bounds() {
        for (wanted, taken) in [(1000, 255), (255, 255), (0, 1), (-5, 1)] {
            var options = JobOptions()
            options.maxAttempts = wanted
            let job = PendingJob(name: "x.y", queue: "x.default", payload: [], options: options)
            #expect(JobEnvelope(job, tenant: TenantID(1), origin: "x").maxAttempts == UInt16(taken))
        }
    }

    @Test("what can't be mended by trying again is dead at once")
    func permanent() {
        guard case .dead(_, "gone", "no more") = fate(PermanentFailure(code: "gone", message: "no more")) else {
            Issue.record("not dead")
            return
        }
    }

    @Test("an outage, a stop from outside and a job whose time has not come use up no attempt")
    func blameless() {
        let outage = fate(DatabaseError(code: .unavailable, message: "away"), attempts: 2)
        guard case .again(_, let next) = outage else {
            Issue.record("\(outage)")
            return
        }
        #expect(next.attempts == 2)
        let patient = JobFate.after(
            DatabaseError(code: .connectionLost, message: "away"), stop: nil, of: envelope,
            delay: RetryDelay(first: 3600), jitter: 1)
        guard case .again(JobFate.outageWait, _) = patient else {
            Issue.record("an outage is over when it is over: \(patient)")
            return
        }
        #expect(fate(CancellationError()) == .handedBack)
        #expect(fate(JobTimeout(seconds: 1), stop: .abandoned) == .handedBack)
        guard case .again(5, let later) = fate(NotYet(seconds: 5), attempts: 2) else {
            Issue.record("not put off")
            return
        }
        #expect(later.attempts == 2)
    }

    @Test("a time limit counts as a failure, whatever the handler threw when it was cancelled")
    func timeLimit() {
        guard case .again(_, let next) = fate(CancellationError(), stop: .timeLimit(seconds: 7)) else {
            Issue.record("not tried again")
            return
        }
        #expect(next.attempts == 1)
    }

    @Test("a job that was running as two workers died is set aside, and one that is too old is not begun")
    func beforehand() {
        var crashed = envelope
        crashed.crashes = 1
        #expect(JobFate.beforehand(crashed, now: Date()) == nil)
        crashed.crashes = 2
        guard case .dead(_, "quarantined", _) = JobFate.beforehand(crashed, now: Date()) else {
            Issue.record("not set aside")
            return
        }
        var old = envelope
        old.expiresAt = Date(timeIntervalSince1970: 1000)
        guard case .dead(_, "expired", _) = JobFate.beforehand(old, now: Date(timeIntervalSince1970: 1001)) else {
            Issue.record("not expired")
            return
        }
        #expect(JobFate.beforehand(old, now: Date(timeIntervalSince1970: 999)) == nil)
    }
}

@Suite("What a worker knows of its shard")
struct LaneStateTests {
    private let end = RedisQueue.Acknowledgement(
        JobEnvelope(PendingJob(name: "x.y", queue: "x.default", payload: []), tenant: TenantID(1), origin: "x"), .done,
        measured: 1)

    @Test("ends that were surely not sent are sent again, those that may have been are not")
    func failures() {
        var lane = LaneState<Int>()
        let key = lane.start(end.job, 1)
        #expect(!lane.isIdle)
        lane.end(key, [end])
        let ends = lane.takeEnds()
        #expect(ends == [end] && lane.isIdle)
        #expect(lane.exchangeFailed(ends, mayHaveRun: false) == .tryAgain)
        #expect(lane.takeEnds() == [end])
        #expect(lane.exchangeFailed(ends, mayHaveRun: true) == .abandonLease)
        #expect(lane.takeEnds().isEmpty)
    }

    @Test("how a run ends that began under a lost lease is not told under the next")
    func lostLease() {
        var lane = LaneState<Int>()
        let first = lane.start(end.job, 1)
        let unstarted = lane.beginLease()
        #expect(unstarted == 0)
        let second = lane.start(end.job, 2)
        lane.end(first, [end])
        #expect(!lane.hasEnds && lane.running.count == 1)
        lane.end(second, [end])
        #expect(lane.takeEnds() == [end] && lane.isIdle)
    }
}

extension LaneStateTests {
    @Test("jobs that run alone begin one after the other, beside all others; a new lease forgets those that wait")
    func alone() {
        var lane = LaneState<Int>()
        let suspects = (0..<3).map { _ in
            var job = end.job
            job.id = UUID.v7()
            job.runsAlone = true
            return job
        }
        let admitted = lane.admits(suspects[0])
        let first = lane.start(suspects[0], 1)
        let others = [end.job, suspects[1], suspects[2]].map { lane.admits($0) }
        #expect(admitted && others == [true, false, false], "what is no suspect goes on beside one")
        var next = lane.nextAlone()
        #expect(next == nil)
        lane.end(first, [end])
        next = lane.nextAlone()
        #expect(next == suspects[1])
        let second = lane.start(suspects[1], 2)
        let unstarted = lane.beginLease()
        #expect(unstarted == 1)
        lane.end(second, [end])
        next = lane.nextAlone()
        #expect(lane.isIdle && next == nil)
    }
}

@Suite("A worker's slots")
struct WorkerSlotsTests {
    @Test("one lane gets all there is; several get parts by their tenants, and none gets nothing for ever")
    func parts() {
        let slots = WorkerSlots(12, signals: [Signal(), Signal()])
        #expect(slots.take(for: 0) == 12)
        #expect(slots.take(for: 1) == 0)
        slots.give(12)
        slots.note(lane: 0, runnable: 2)
        slots.note(lane: 1, runnable: 1)
        #expect(slots.take(for: 0) == 8)
        #expect(slots.take(for: 1) == 1)
        #expect(slots.hasFree)
    }

    @Test("a lane that found none is woken when some come back")
    func hungry() async {
        let signal = Signal()
        let slots = WorkerSlots(1, signals: [signal, Signal()])
        _ = slots.take(for: 1)
        slots.note(lane: 0, runnable: 1)
        slots.give(1)
        await signal.wait()
        #expect(slots.hasFree)
    }
}

@Suite("Cron expressions")
struct CronScheduleTests {
    private func latest(_ text: String, _ date: String, _ zone: String) -> String? {
        CronSchedule(text)?.latest(atOrBefore: Timestamp.parse(date)!, in: TimeZone(identifier: zone)!).map(
            Timestamp.rfc3339)
    }

    @Test("the last firing before a moment, in the tenant's time zone")
    func latestFiring() {
        #expect(latest("30 9 * * *", "2026-11-22T08:00:00Z", "Asia/Shanghai") == "2026-11-22T01:30:00Z")
        #expect(latest("*/15 * * * *", "2026-11-22T08:14:59Z", "UTC") == "2026-11-22T08:00:00Z")
        #expect(latest("0 0 1 * *", "2026-11-22T08:00:00Z", "UTC") == "2026-11-01T00:00:00Z")
        #expect(latest("0 0 * * 0", "2026-11-22T08:00:00Z", "UTC") == "2026-11-22T00:00:00Z")
        #expect(latest("0 0 29 2 *", "2026-11-22T08:00:00Z", "UTC") == "2024-02-29T00:00:00Z")
    }

    @Test("an hour that the clocks skip fires nothing that day")
    func skippedHour() {
        // Berlin skipped 02:00 to 03:00 on 2026-03-29.
        #expect(latest("30 2 * * *", "2026-03-29T12:00:00Z", "Europe/Berlin") == "2026-03-28T01:30:00Z")
    }

    @Test(
        "what is no expression is refused",
        arguments: ["", "* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "* * * * * *"])
    func refused(text: String) { #expect(CronSchedule(text) == nil) }
}

import Database
import Foundation
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

    @Test("retries wait longer and longer, up to an hour")
    func backoff() {
        #expect((1...2).contains(JobRunner.delay(after: 1)))
        #expect(JobRunner.delay(after: 6) > JobRunner.delay(after: 1))
        #expect(JobRunner.delay(after: 200) <= 3600)
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

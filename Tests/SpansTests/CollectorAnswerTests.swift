import Testing

@testable import Spans

@Suite("Collector's answers")
struct CollectorAnswerTests {
    @Test(
        "success is success, whatever the body says",
        arguments: [
            ("", 0, ""), ("{}", 0, ""), ("\u{8}\u{2}", 0, ""), ("[1", 0, ""), (#"{"partialSuccess":{}}"#, 0, ""),
            (#"{"partialSuccess":null}"#, 0, ""), (#"{"partialSuccess":{"errorMessage":"hm"}}"#, 0, "hm"),
            (#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"old"}}"#, 3, "old"),
            (#"{"partialSuccess":{"rejectedSpans":3}}"#, 3, ""), (#"{"partialSuccess":{"rejectedSpans":-3}}"#, 0, ""),
            (#"{"partialSuccess":{"rejectedSpans":"many"}}"#, 0, ""),
        ])
    func success(body: String, rejected: Int, message: String) {
        let answer = CollectorAnswer(status: 200, body: Array(body.utf8), retryAfter: 0)
        #expect(answer == .taken(rejected: rejected, message: message))
    }

    @Test("a pause that is asked for is kept, up to five minutes")
    func pauses() {
        let answers = [0, 7, 86_400].map { CollectorAnswer(status: 503, body: [], retryAfter: $0) }
        let pauses: [Duration?] = [nil, .seconds(7), .seconds(300)]
        #expect(answers == pauses.map { .unavailable("status 503", pause: $0) })
    }

    @Test("what one answer says isn't taken for the next")
    func connection() throws {
        let long = String(repeating: "x", count: 1_000_000)
        let collector = try Collector(
            [
                // Twice: libcurl itself tries again where a connection that was kept turns out to be closed.
                .status(429, fields: "Retry-After: 5\r\n"), .status(503), .close, .close, .status(400, body: "bad"),
                .partialSuccess(rejected: 1, message: "old"), .status(200, body: long), .status(200),
            ])
        let settings = try SpanExporter.Settings(
            endpoint: collector.endpoint, resource: ["service.name": "contacts"])
        let connection = CollectorConnection(settings, timeout: .seconds(60))
        func post() -> CollectorAnswer { connection.post(Array("{}".utf8)) { false } }
        #expect(post() == .unavailable("status 429", pause: .seconds(5)))
        #expect(post() == .unavailable("status 503", pause: nil))
        guard case .unavailable(let reason, nil) = post() else {
            Issue.record("a closed connection was taken for an answer")
            return
        }
        #expect(!reason.isEmpty)
        #expect(post() == .refused("status 400: bad"))
        #expect(post() == .taken(rejected: 1, message: "old"))
        #expect(post() == .taken(rejected: 0, message: ""))
        #expect(post() == .taken(rejected: 0, message: ""))
    }

    @Test("pauses grow from the first to the longest, and differ")
    func backoff() {
        let backoff = Backoff(SpanExporter.Pace())
        for (failures, seconds) in [(1, 1...2), (2, 2...4), (3, 4...8), (4, 8...16), (5, 15...30), (1_000, 15...30)] {
            for _ in 0..<100 {
                let pause = backoff.pause(after: failures)
                #expect(pause >= .seconds(seconds.lowerBound) && pause <= .seconds(seconds.upperBound))
            }
        }
        #expect(Set((0..<100).map { _ in backoff.pause(after: 5) }).count > 1)
    }
}

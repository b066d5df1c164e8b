import Testing

@testable import Spans

@Suite("Span exporter")
struct SpanExporterTests {
    @Test("spans arrive with the headers of authentication, over one connection")
    func delivery() async throws {
        let collector = try Collector()
        let exporter = try SpanExporter(to: collector, headers: [("Authorization", "Bearer 秘密"), ("X-Empty", "")])
        try await exporter.running {
            for round in 0..<3 {
                exporter.tracer.end(["first \(round)", "second \(round)"])
                await eventually("the spans arrive") { collector.takenNames.count == 2 * round + 2 }
            }
        }
        let request = try #require(collector.requests.first).request
        #expect(request.head.hasPrefix("POST /v1/traces HTTP/1.1\r\n"))
        #expect(request.field("content-type") == "application/json")
        #expect(request.field("authorization") == "Bearer 秘密")
        #expect(request.field("x-empty") == "")
        #expect(request.field("expect") == nil)
        #expect(collector.connections == 1)
        #expect(exporter.counts == .init(exported: 6, dropped: 0, rejected: 0, failedBatches: 0, retries: 0, queued: 0))
    }

    @Test("no request has more spans than a batch may, and none is lost between batches")
    func batches() async throws {
        let collector = try Collector()
        var pace = SpanExporter.Pace.quick
        pace.batch = 10
        let exporter = try SpanExporter(to: collector, pace: pace)
        let names = (0..<95).map { "span \($0)" }
        exporter.tracer.end(names)
        try await exporter.running {
            await eventually("the spans arrive") { collector.takenNames.count == 95 }
        }
        #expect(collector.takenNames == names)
        #expect(collector.requests.map { $0.spans.count } == Array(repeating: 10, count: 9) + [5])
    }

    @Test("a full batch doesn't wait for its time")
    func fullBatch() async throws {
        let collector = try Collector()
        var pace = SpanExporter.Pace.quick
        (pace.batch, pace.interval) = (10, .seconds(3_600))
        let exporter = try SpanExporter(to: collector, pace: pace)
        try await exporter.running {
            exporter.tracer.end((0..<10).map { "span \($0)" })
            await eventually("the batch arrives") { collector.takenNames.count == 10 }
        }
    }

    @Test("when the queue is full the newest spans are dropped and counted, and nobody waits")
    func fullQueue() async throws {
        let collector = try Collector(otherwise: .hang)
        var pace = SpanExporter.Pace.quick
        (pace.capacity, pace.batch, pace.interval, pace.shutdown) = (100, 10, .seconds(3_600), .zero)
        let exporter = try SpanExporter(to: collector, pace: pace)
        try await exporter.running {
            exporter.tracer.end((0..<10).map { "first \($0)" })
            await eventually("the collector has a request, and keeps it") { collector.requests.count == 1 }
            exporter.tracer.end((0..<1_000).map { "span \($0)" })
            #expect(exporter.counts.dropped == 900)
            #expect(exporter.counts.queued == 100)
        }
        #expect(exporter.counts.dropped == 1_010)
    }

    @Test(
        "spans are kept while the collector fails and arrive when it is back, each once",
        arguments: [.status(503), .status(502), .status(504), .status(429), .close] as [Collector.Answer])
    func retry(failure: Collector.Answer) async throws {
        let collector = try Collector(otherwise: failure)
        let log = LogLines()
        var pace = SpanExporter.Pace.quick
        pace.batch = 10
        let exporter = try SpanExporter(to: collector, pace: pace, log: log)
        let names = (0..<50).map { "span \($0)" }
        try await exporter.running {
            exporter.tracer.end(names[..<25])
            await eventually("there are some tries") { collector.requests.count >= 4 }
            exporter.tracer.end(names[25...])
            collector.answer(.ok)
            await eventually("the spans arrive") { collector.takenNames.count == 50 }
        }
        #expect(collector.takenNames == names)
        #expect(exporter.counts.exported == 50)
        #expect(exporter.counts.dropped == 0)
        #expect(exporter.counts.failedBatches == 0)
        #expect(exporter.counts.retries >= 3)
        #expect(
            log.lines == [
                "warning the collector can't be reached; spans are kept", "info the collector takes spans again",
            ])
    }

    @Test("spans that end before the collector is there arrive when it is")
    func lateCollector() async throws {
        let collector = try Collector(isListening: false)
        let log = LogLines()
        let exporter = try SpanExporter(to: collector, log: log)
        try await exporter.running {
            exporter.tracer.end(["early"])
            await eventually("some tries fail") { exporter.counts.retries >= 2 }
            collector.listen()
            await eventually("the span arrives") { collector.takenNames == ["early"] }
        }
        #expect(log.lines.count == 2)
    }

    @Test("a collector that doesn't answer in time gets the spans again")
    func timeLimit() async throws {
        let collector = try Collector([.hang], otherwise: .ok)
        var pace = SpanExporter.Pace.quick
        pace.timeout = .milliseconds(200)
        let exporter = try SpanExporter(to: collector, pace: pace)
        try await exporter.running {
            exporter.tracer.end(["again"])
            await eventually("the span arrives") { collector.takenNames == ["again"] }
        }
    }

    @Test("a collector that asks for a pause gets it")
    func retryAfter() async throws {
        let collector = try Collector([.status(429, fields: "Retry-After: 1\r\n"), .status(503)], otherwise: .ok)
        let exporter = try SpanExporter(to: collector)
        let start = ContinuousClock.now
        try await exporter.running {
            exporter.tracer.end(["patient"])
            await eventually("the span arrives") { collector.takenNames == ["patient"] }
            #expect(ContinuousClock.now - start >= .seconds(1))
        }
        #expect(collector.requests.count == 3)
    }

    @Test(
        "a batch that is refused is dropped and counted, and not sent again",
        arguments: [400, 401, 404, 413, 500, 301])
    func refused(status: Int) async throws {
        let collector = try Collector([.status(status, body: "no"), .status(status)], otherwise: .ok)
        let log = LogLines()
        var pace = SpanExporter.Pace.quick
        pace.batch = 2
        let exporter = try SpanExporter(to: collector, pace: pace, log: log)
        exporter.tracer.end(["a", "b", "c", "d", "e", "f"])
        try await exporter.running {
            await eventually("the last batch arrives") { collector.takenNames == ["e", "f"] }
        }
        #expect(collector.requests.count == 3)
        #expect(exporter.counts == .init(exported: 2, dropped: 4, rejected: 0, failedBatches: 2, retries: 0, queued: 0))
        #expect(
            log.lines == [
                "warning the collector refuses spans; they are dropped", "info the collector takes spans again",
            ])
    }

    @Test("spans rejected out of a batch are counted and reported")
    func partialSuccess() async throws {
        let collector = try Collector(
            [.partialSuccess(rejected: 2, message: "too old"), .partialSuccess(rejected: 0, message: "slow down")])
        let log = LogLines()
        var pace = SpanExporter.Pace.quick
        pace.batch = 3
        let exporter = try SpanExporter(to: collector, pace: pace, log: log)
        exporter.tracer.end((0..<9).map { "span \($0)" })
        try await exporter.running {
            await eventually("the spans arrive") { collector.requests.count == 3 }
        }
        #expect(exporter.counts == .init(exported: 7, dropped: 0, rejected: 2, failedBatches: 0, retries: 0, queued: 0))
        #expect(log.lines == ["warning the collector rejected some spans"])
    }
}

import Testing

@testable import Spans

@Suite("Span exporter's end")
struct ExporterShutdownTests {
    @Test("shutdown sends what is queued, without waiting for its time")
    func flush() async throws {
        let collector = try Collector()
        var pace = SpanExporter.Pace.quick
        (pace.batch, pace.interval) = (10, .seconds(3_600))
        let exporter = try SpanExporter(to: collector, pace: pace)
        try await exporter.running {
            exporter.tracer.end((0..<25).map { "span \($0)" })
        }
        #expect(collector.takenNames.count == 25)
        #expect(exporter.counts.exported == 25)
        exporter.tracer.end(["too late"])
        #expect(exporter.counts.dropped == 1)
    }

    @Test("shutdown doesn't wait out the pause after a failure, but tries at once")
    func pauseEnds() async throws {
        let collector = try Collector([.status(503)], otherwise: .ok)
        var pace = SpanExporter.Pace.quick
        (pace.firstPause, pace.longestPause, pace.shutdown) = (.seconds(3_600), .seconds(3_600), .seconds(60))
        let exporter = try SpanExporter(to: collector, pace: pace)
        try await exporter.running {
            exporter.tracer.end(["kept"])
            await eventually("the first try fails") { collector.requests.count == 1 }
        }
        #expect(collector.takenNames == ["kept"])
    }

    @Test("a pause that the collector asked for and that outlasts shutdown ends the exporter at once")
    func askedPause() async throws {
        let collector = try Collector(otherwise: .status(429, fields: "Retry-After: 250\r\n"))
        let log = LogLines()
        var pace = SpanExporter.Pace.quick
        (pace.batch, pace.shutdown) = (10, .seconds(120))
        let exporter = try SpanExporter(to: collector, pace: pace, log: log)
        exporter.tracer.end((0..<25).map { "span \($0)" })
        let start = ContinuousClock.now
        try await exporter.running {
            await eventually("the first try fails") { collector.requests.count == 1 }
        }
        #expect(ContinuousClock.now - start < .seconds(60))
        #expect(collector.requests.count == 1)
        #expect(exporter.counts.dropped == 25)
        #expect(log.lines.last == "warning spans could not be sent before the end")
    }

    @Test("a collector that hangs doesn't hold up shutdown beyond its limit", arguments: [true, false])
    func hanging(isUnderWay: Bool) async throws {
        let collector = try Collector(otherwise: .hang)
        var pace = SpanExporter.Pace.quick
        (pace.timeout, pace.shutdown) = (.seconds(3_600), .milliseconds(300))
        if !isUnderWay { pace.interval = .seconds(3_600) }
        let exporter = try SpanExporter(to: collector, pace: pace)
        let start = ContinuousClock.now
        try await exporter.running {
            exporter.tracer.end(["lost"])
            if isUnderWay { await eventually("the request is under way") { collector.requests.count == 1 } }
        }
        #expect(ContinuousClock.now - start < .seconds(60))
        #expect(exporter.counts == .init(exported: 0, dropped: 1, rejected: 0, failedBatches: 0, retries: 0, queued: 0))
    }

    @Test("a collector that isn't there doesn't hold up shutdown beyond its limit")
    func absent() async throws {
        let collector = try Collector(isListening: false)
        var pace = SpanExporter.Pace.quick
        pace.shutdown = .milliseconds(300)
        let exporter = try SpanExporter(to: collector, pace: pace)
        exporter.tracer.end(["lost"])
        let start = ContinuousClock.now
        try await exporter.running {}
        #expect(ContinuousClock.now - start < .seconds(60))
        #expect(exporter.counts.dropped == 1)
    }

    @Test("cancellation ends the exporter too")
    func cancellation() async throws {
        let collector = try Collector()
        let exporter = try SpanExporter(to: collector)
        let running = Task { try await exporter.run() }
        exporter.tracer.end(["last"])
        running.cancel()
        try await running.value
        // It has a second, which a busy machine may not make use of.
        #expect(exporter.counts.exported + exporter.counts.dropped == 1)
        #expect(exporter.counts.queued == 0)
    }
}

import Foundation
import Logging
import ServiceLifecycle
import Synchronization
import Testing
import Tracing

@testable import Spans

extension SpanExporter {
    /// One that sends to `collector` and is less patient than in earnest.
    convenience init(
        to collector: Collector, headers: [(String, String)] = [], ratio: Double = 1, pace: Pace = .quick,
        log: LogLines = LogLines()
    ) throws {
        let settings = try Settings(
            endpoint: collector.endpoint, headers: headers, sampleRatio: ratio,
            resource: ["service.name": "contacts", "service.namespace": "guanxi"])
        self.init(settings, pace: pace, logger: log.logger)
    }

    var tracer: SpanTracer { SpanTracer(exporter: self) }

    /// Runs it in a service group while `body` runs, then shuts down gracefully.
    func running<Result: Sendable>(_ body: @Sendable () async throws -> Result) async throws -> Result {
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(services: [.init(service: self)], logger: LogLines().logger))
        return try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            defer { tasks.cancelAll() }
            let result = try await body()
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            return result
        }
    }
}

extension SpanExporter.Pace {
    static var quick: SpanExporter.Pace {
        SpanExporter.Pace(
            interval: .milliseconds(20), firstPause: .milliseconds(20), longestPause: .milliseconds(100),
            shutdown: .seconds(60))
    }
}

extension SpanTracer {
    /// Begins and ends a span of each name.
    func end(_ names: some Sequence<String>) {
        for name in names { startSpan(name).end() }
    }
}

/// Waits until `condition` holds, far longer than it should take; then the test has failed.
func eventually(
    _ what: Comment, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () throws -> Bool
) async rethrows {
    for _ in 0..<3_000 {
        if try condition() { return }
        try? await Task.sleep(for: .milliseconds(10))
    }
    Issue.record(what, sourceLocation: sourceLocation)
}

/// What was logged, as `level message`.
final class LogLines: Sendable {
    private let all = Mutex<[String]>([])

    var lines: [String] { all.withLock { $0 } }

    var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { lines.all.withLock { $0.append("\(event.level) \(event.message)") } }
    }
}

/// Reads OTLP's JSON.
enum JSON {
    static func object(_ body: [UInt8]) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any])
    }

    static func spans(_ body: [UInt8]) -> [[String: Any]] {
        let resources = (try? object(body))?["resourceSpans"] as? [[String: Any]] ?? []
        return resources.flatMap { $0["scopeSpans"] as? [[String: Any]] ?? [] }
            .flatMap { $0["spans"] as? [[String: Any]] ?? [] }
    }

    /// The values of a list of attributes by their keys.
    static func attributes(_ list: Any?) -> [String: [String: Any]] {
        var values: [String: [String: Any]] = [:]
        for attribute in list as? [[String: Any]] ?? [] {
            values[attribute["key"] as? String ?? ""] = attribute["value"] as? [String: Any]
        }
        return values
    }
}

/// A tracer whose ended spans can be looked at without a collector.
struct LocalTracing {
    let exporter: SpanExporter
    let tracer: SpanTracer

    init(ratio: Double = 1, pace: SpanExporter.Pace = .quick) throws {
        let settings = try SpanExporter.Settings(
            endpoint: "http://127.0.0.1:4318", sampleRatio: ratio, resource: ["service.name": "contacts"])
        exporter = SpanExporter(settings, pace: pace, logger: LogLines().logger)
        tracer = SpanTracer(exporter: exporter)
    }

    /// The spans that have ended so far, as they would be sent.
    func ended() -> [EndedSpan] {
        exporter.queue.close(by: .now)
        var spans: [EndedSpan] = []
        while let batch = exporter.queue.takeBatch(within: .zero) { spans += batch }
        return spans
    }

    /// The only span that has ended, as the collector would read it.
    func endedJSON() throws -> [String: Any] {
        let body = OTLPRequest(resource: exporter.settings.resource).body(of: ended()[...]).bytes
        let spans = JSON.spans(body)
        #expect(spans.count == 1)
        return try #require(spans.first)
    }
}

import Foundation
import Logging
import Metrics
import Spans

extension ServiceConfiguration {
    /// Where spans of this process go; nil where no collector is named.
    package func spanExporter(service: String, logger: Logger) throws -> SpanExporter? {
        let endpoint = string("traces.endpoint")
        if endpoint.isEmpty { return nil }
        guard let ratio = Double(string("traces.ratio")) else {
            throw ConfigurationProblem(
                key: "traces.ratio", message: "must be a number from 0 to 1, not \(string("traces.ratio"))")
        }
        do {
            return SpanExporter(
                try SpanExporter.Settings(
                    endpoint: endpoint, headers: try SpanExporter.Settings.headers(from: string("traces.headers")),
                    sampleRatio: ratio,
                    resource: [
                        "service.name": .string(service), "service.namespace": "guanxi",
                        "service.instance.id": .string("\(ProcessInfo.processInfo.hostName):\(getpid())"),
                    ]), logger: logger)
        } catch {
            let keys = ["endpoint": "traces.endpoint", "headers": "traces.headers", "sampleRatio": "traces.ratio"]
            throw ConfigurationProblem(key: keys[error.setting] ?? "traces.endpoint", message: error.reason)
        }
    }
}

extension SpanExporter.Counts {
    /// Writes what has become of the spans into the metrics.
    func record() {
        let states = [
            ("exported", exported), ("dropped", dropped), ("rejected", rejected), ("queued", queued),
        ]
        for (state, count) in states { Gauge(label: "guanxi_spans", dimensions: [("state", state)]).record(count) }
    }
}

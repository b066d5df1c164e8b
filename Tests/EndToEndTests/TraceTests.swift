import Foundation
import HTTPReceiver
import Records
import TestSupport
import Testing

/// A span as the collector got it.
private struct ReceivedSpan {
    let service: String
    let json: JSONValue
    var name: String { json["name"]?.text ?? "" }
    var id: String { json["spanId"]?.text ?? "" }
    var parent: String { json["parentSpanId"]?.text ?? "" }
    var trace: String { json["traceId"]?.text ?? "" }

    func attribute(_ key: String) -> String? {
        let value = json["attributes"]?.array?.first { $0["key"]?.text == key }?["value"]
        return value?["stringValue"]?.text ?? value?["intValue"]?.text
    }

    static func all(at collector: Receiver) -> [ReceivedSpan] {
        collector.requests.flatMap { request -> [ReceivedSpan] in
            let body = (try? JSONParser.parse(request.body)) ?? .null
            return (body["resourceSpans"]?.array ?? []).flatMap { resource -> [ReceivedSpan] in
                let name = resource["resource"]?["attributes"]?.array?.first { $0["key"] == "service.name" }
                let service = name?["value"]?["stringValue"]?.text ?? ""
                return (resource["scopeSpans"]?.array ?? []).flatMap { scope in
                    (scope["spans"]?.array ?? []).map { ReceivedSpan(service: service, json: $0) }
                }
            }
        }
    }
}

@Suite("Traces", .serialized)
struct TraceTests {
    @Test("a collector can follow a request through its jobs into other services and back")
    func acrossServices() async throws {
        let collector = try Receiver(
            answer: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        let environment = [
            "GUANXI_TRACES_ENDPOINT": "http://127.0.0.1:\(collector.port)", "GUANXI_TRACES_RATIO": "0",
            "GUANXI_TRACES_HEADERS": "x-api-key=a%20key",
        ]
        let platform = try await TestPlatform([])
        for role in ["contacts serve", "contacts work", "analytics work"] {
            try await platform.start(role, environment: environment)
        }
        let client = platform.client("contacts", token: try await platform.tenant("traces").key)
        let contact = try await client.post("/v1/contacts", ["given_name": "张伟"])
        let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
        let answer = try await client.send(
            "POST", "/v1/activities",
            json: [
                "contact_id": contact.json["id"] ?? .null, "kind": "call", "occurred_at": "2026-01-05T10:00:00Z",
            ], headers: ["traceparent": "00-\(trace)-\(caller)-01"])
        #expect(answer.status == 201, "\(answer.text)")
        #expect(answer.header("traceparent")?.hasPrefix("00-\(trace)-") == true)

        func spans() -> [ReceivedSpan] { ReceivedSpan.all(at: collector).filter { $0.trace == trace } }
        // Three processes tell of their spans, each in its own time.
        try await eventually(within: 60, "every process has told of its part") {
            let all = spans()
            let analytics = all.filter { $0.service == "analytics" }
            return all.contains { span in span.json["kind"] == 2 && analytics.contains { $0.parent == span.id } }
                && all.contains { span in
                    span.name == "contacts.apply-summaries" && analytics.contains { $0.id == span.parent }
                }
        }
        let all = spans()
        let request = try #require(all.first { $0.json["kind"] == 2 })
        #expect(request.service == "contacts" && request.name == "POST /v1/activities" && request.parent == caller)
        #expect(answer.header("traceparent") == "00-\(trace)-\(request.id)-01")
        #expect(request.attribute("http.response.status_code") == "201")
        let fact = try #require(all.first { $0.service == "analytics" && $0.parent == request.id })
        #expect(fact.json["kind"] == 5 && fact.attribute("messaging.destination.name") == "analytics.events")
        #expect(fact.attribute("guanxi.job.outcome") == "done")
        let summary = try #require(all.first { $0.name == "contacts.apply-summaries" })
        #expect(all.contains { $0.id == summary.parent && $0.service == "analytics" })
        // Nothing of the person is in what the collector, which sees every tenant, is told; and what is not sampled at
        // its beginning, the contact's creation, is not told of at all.
        #expect(!collector.requests.contains { String(decoding: $0.body, as: UTF8.self).contains("张伟") })
        #expect(!ReceivedSpan.all(at: collector).contains { $0.name == "POST /v1/contacts" })
        #expect(collector.requests.allSatisfy { $0.field("x-api-key") == "a key" })
    }

    @Test("a setting of traces that can't be used ends the process before it does anything")
    func badSettings() async throws {
        let platform = try await TestPlatform([])
        for (key, value) in [
            ("ENDPOINT", "collector:4318"), ("RATIO", "2"), ("RATIO", "often"), ("HEADERS", "nonsense"),
        ] {
            var environment = ["GUANXI_TRACES_ENDPOINT": "http://127.0.0.1:4318"]
            environment["GUANXI_TRACES_\(key)"] = value
            await #expect(throws: (any Error).self, "\(key)=\(value)") {
                try await platform.start("contacts serve", environment: environment)
            }
            #expect(
                platform.log("contacts serve").contains("GUANXI_TRACES_\(key)"), "\(platform.log("contacts serve"))")
        }
    }
}

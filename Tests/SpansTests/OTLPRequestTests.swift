import Foundation
import Testing
import Tracing

@testable import Spans

@Suite("OTLP in JSON")
struct OTLPRequestTests {
    private let hostile =
        "quote \" backslash \\ line\nreturn\rtab\tbell\u{7}nul\u{0}unit\u{1f}del\u{7f}"
        + "关系👩‍👩‍👧\u{2028}</script>"

    @Test("a span is read back as it was set")
    func span() throws {
        let tracing = try LocalTracing()
        var context = InstrumentationContext.topLevel
        context.spanContext = SpanContext(traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        let start = DefaultTracerClock.Timestamp(nanosecondsSinceEpoch: 1_700_000_000_123_456_789)
        let span = tracing.tracer.startSpan(hostile, context: context, ofKind: .server, at: start)
        span.setStatus(SpanStatus(code: .error, message: hostile))
        span.addEvent(SpanEvent(name: "note", at: start, attributes: ["text": .string(hostile)]))
        span.addLink(SpanLink(context: context, attributes: ["why": "because"]))
        span.end(at: DefaultTracerClock.Timestamp(nanosecondsSinceEpoch: 1_700_000_001_000_000_001))
        let own = try #require(span.context.spanContext)

        let json = try tracing.endedJSON()
        #expect(json["traceId"] as? String == "4bf92f3577b34da6a3ce929d0e0e4736")
        #expect(json["spanId"] as? String == own.spanID.description)
        #expect(json["parentSpanId"] as? String == "00f067aa0ba902b7")
        #expect(json["flags"] as? Int == 0x301)
        #expect(json["name"] as? String == hostile)
        #expect(json["kind"] as? Int == 2)
        #expect(json["startTimeUnixNano"] as? String == "1700000000123456789")
        #expect(json["endTimeUnixNano"] as? String == "1700000001000000001")
        #expect((json["status"] as? NSDictionary) == ["code": 2, "message": hostile])
        #expect(
            (json["events"] as? NSArray) == [
                [
                    "timeUnixNano": "1700000000123456789", "name": "note",
                    "attributes": [["key": "text", "value": ["stringValue": hostile]]],
                ] as NSDictionary
            ])
        #expect(
            (json["links"] as? NSArray) == [
                [
                    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "flags": 0x301,
                    "attributes": [["key": "why", "value": ["stringValue": "because"]]],
                ] as NSDictionary
            ])
        let known: Set = [
            "traceId", "spanId", "parentSpanId", "flags", "name", "kind", "startTimeUnixNano", "endTimeUnixNano",
            "status", "events", "links",
        ]
        #expect(Set(json.keys) == known)
    }

    @Test("what isn't there is left out: parent, status, lists and counts of nothing")
    func bareSpan() throws {
        let tracing = try LocalTracing()
        tracing.tracer.startSpan("bare", context: .topLevel).end()
        let json = try tracing.endedJSON()
        let known: Set = ["traceId", "spanId", "flags", "name", "kind", "startTimeUnixNano", "endTimeUnixNano"]
        #expect(Set(json.keys) == known)
        #expect(json["flags"] as? Int == 0x101)
    }

    @Test("every type of attribute has its own field")
    func attributes() throws {
        let tracing = try LocalTracing()
        let span = tracing.tracer.startSpan("all")
        span.attributes.set("string", value: .string(hostile))
        span.attributes.set(hostile, value: .string(""))
        span.attributes.set("int", value: .int64(.min))
        span.attributes.set("small", value: .int32(.max))
        span.attributes.set("true", value: .bool(true))
        span.attributes.set("double", value: .double(1e300))
        span.attributes.set("tiny", value: .double(-2e-308))
        span.attributes.set("whole", value: .double(3))
        span.attributes.set("nan", value: .double(.nan))
        span.attributes.set("more", value: .double(.infinity))
        span.attributes.set("less", value: .double(-.infinity))
        span.attributes.set("strings", value: .stringArray(["a", hostile]))
        span.attributes.set("ints", value: .int64Array([1, .max]))
        span.attributes.set("smalls", value: .int32Array([-1]))
        span.attributes.set("bools", value: .boolArray([true, false]))
        span.attributes.set("doubles", value: .doubleArray([0.5, .nan]))
        span.attributes.set("none", value: .stringArray([]))
        span.attributes.set("described", value: .stringConvertible(URL(string: "https://example.com")!))
        span.attributes.set("descriptions", value: .stringConvertibleArray([1, "two"]))
        span.end()

        let values = JSON.attributes(try tracing.endedJSON()["attributes"])
        func array(_ values: [NSDictionary]) -> NSDictionary { ["arrayValue": ["values": values]] }
        let expected: [String: NSDictionary] = [
            "string": ["stringValue": hostile], hostile: ["stringValue": ""],
            "int": ["intValue": "-9223372036854775808"], "small": ["intValue": "2147483647"],
            "true": ["boolValue": true], "double": ["doubleValue": 1e300], "tiny": ["doubleValue": -2e-308],
            "whole": ["doubleValue": 3.0], "nan": ["doubleValue": "NaN"], "more": ["doubleValue": "Infinity"],
            "less": ["doubleValue": "-Infinity"],
            "strings": array([["stringValue": "a"], ["stringValue": hostile]]),
            "ints": array([["intValue": "1"], ["intValue": "9223372036854775807"]]),
            "smalls": array([["intValue": "-1"]]), "bools": array([["boolValue": true], ["boolValue": false]]),
            "doubles": array([["doubleValue": 0.5], ["doubleValue": "NaN"]]), "none": array([]),
            "described": ["stringValue": "https://example.com"],
            "descriptions": array([["stringValue": "1"], ["stringValue": "two"]]),
        ]
        #expect(Set(values.keys) == Set(expected.keys))
        for (key, value) in expected {
            #expect(values[key].map { $0 as NSDictionary } == value, "\(key)")
        }
    }

    @Test("counts of what was dropped are sent")
    func droppedCounts() throws {
        let tracing = try LocalTracing()
        var many = SpanAttributes()
        for number in 0..<130 { many["key \(number)"] = number }
        let span = tracing.tracer.startSpan("full")
        span.attributes = many
        for _ in 0..<131 { span.addEvent(SpanEvent(name: "event", attributes: many)) }
        for _ in 0..<36 { span.addLink(SpanLink(context: span.context, attributes: many)) }
        span.end()
        let json = try tracing.endedJSON()
        #expect(json["droppedAttributesCount"] as? Int == 2)
        #expect(json["droppedEventsCount"] as? Int == 3)
        #expect(json["droppedLinksCount"] as? Int == 4)
        #expect((json["events"] as? [[String: Any]])?.first?["droppedAttributesCount"] as? Int == 2)
        #expect((json["links"] as? [[String: Any]])?.first?["droppedAttributesCount"] as? Int == 2)
    }

    @Test("kinds have OTLP's numbers")
    func kinds() throws {
        let tracing = try LocalTracing()
        for kind in [SpanKind.internal, .server, .client, .producer, .consumer] {
            tracing.tracer.startSpan("\(kind)", ofKind: kind).end()
        }
        let body = OTLPRequest(resource: BoundedAttributes([:])).body(of: tracing.ended()[...]).bytes
        #expect(JSON.spans(body).compactMap { $0["kind"] as? Int } == [1, 2, 3, 4, 5])
    }

    @Test("the resource says who sends")
    func resource() throws {
        let resource = BoundedAttributes(["service.name": "contacts", "process.pid": 7])
        let object = try JSON.object(OTLPRequest(resource: resource).body(of: []).bytes)
        let first = try #require((object["resourceSpans"] as? [[String: Any]])?.first)
        let values = JSON.attributes((first["resource"] as? [String: Any])?["attributes"])
        #expect(values["service.name"] as NSDictionary? == ["stringValue": "contacts"])
        #expect(values["process.pid"] as NSDictionary? == ["intValue": "7"])
    }

    @Test("a request that is long enough takes no further spans")
    func longRequests() throws {
        let tracing = try LocalTracing()
        let text = String(repeating: "长", count: 1_300)
        for _ in 0..<30 {
            let span = tracing.tracer.startSpan("long")
            for number in 0..<100 { span.attributes["key \(number)"] = text }
            span.end()
        }
        let request = OTLPRequest(resource: tracing.exporter.settings.resource)
        var rest = tracing.ended()[...]
        var sizes: [Int] = []
        while !rest.isEmpty {
            let (body, count) = request.body(of: rest)
            #expect(JSON.spans(body).count == count)
            sizes.append(body.count)
            rest = rest.dropFirst(count)
        }
        #expect(sizes.count == 3)
        #expect(sizes.allSatisfy { $0 < 5_000_000 })
    }
}

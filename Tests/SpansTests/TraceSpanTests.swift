import Testing
import Tracing

@testable import Spans

@Suite("Spans")
struct TraceSpanTests {
    private struct Trouble: Error, CustomStringConvertible {
        let description = "no place left"
    }

    @Test("ending twice sends once, and what comes after the end is lost")
    func endingTwice() throws {
        let tracing = try LocalTracing()
        let span = tracing.tracer.startSpan("once")
        span.attributes["kept"] = true
        span.end(at: DefaultTracerClock.Timestamp(nanosecondsSinceEpoch: .max))
        #expect(!span.isRecording)
        span.operationName = "twice"
        span.attributes["late"] = true
        span.addEvent("late")
        span.setStatus(SpanStatus(code: .error))
        span.recordError(Trouble())
        span.end()
        let ended = tracing.ended()
        #expect(ended.map(\.name) == ["once"])
        #expect(ended[0].end == .max)
        #expect(ended[0].attributes.values == ["kept": true])
        #expect(ended[0].events.isEmpty)
        #expect(ended[0].status == nil)
    }

    @Test("a span never ends before it starts, even when the clock is set back")
    func clockSetBack() throws {
        let tracing = try LocalTracing()
        let start = DefaultTracerClock.Timestamp(nanosecondsSinceEpoch: 2_000)
        tracing.tracer.startSpan("a", context: .topLevel, at: start)
            .end(at: DefaultTracerClock.Timestamp(nanosecondsSinceEpoch: 1_000))
        let span = try #require(tracing.ended().first)
        #expect(span.start == 2_000 && span.end == 2_000)
    }

    @Test("an error that is thrown makes the span a failure, with type and message, and keeps what was said before")
    func thrownError() throws {
        let tracing = try LocalTracing()
        try? tracing.tracer.withSpan("store") { span in
            span.setStatus(SpanStatus(code: .error, message: "the disk is full"))
            throw Trouble()
        }
        let span = try #require(tracing.ended().first)
        #expect(span.status == SpanStatus(code: .error, message: "the disk is full"))
        let event = try #require(span.events.first)
        #expect(event.name == "exception")
        #expect(event.attributes.values == ["exception.type": "Trouble", "exception.message": "no place left"])
    }

    @Test("success, once said, stays")
    func success() throws {
        let tracing = try LocalTracing()
        let span = tracing.tracer.startSpan("a")
        span.setStatus(SpanStatus(code: .ok, message: "ignored"))
        span.setStatus(SpanStatus(code: .error, message: "too late"))
        span.end()
        #expect(try #require(tracing.ended().first).status == SpanStatus(code: .ok))
    }

    @Test("attributes, events and links beyond the limits are dropped and counted, those there first stay")
    func limits() throws {
        let tracing = try LocalTracing()
        let span = tracing.tracer.startSpan("full")
        for number in 0..<200 { span.attributes["key \(number)"] = number }
        span.attributes["key 0"] = "changed"
        for number in 0..<130 { span.addEvent(SpanEvent(name: "event \(number)")) }
        let target = tracing.tracer.startSpan("target")
        for _ in 0..<40 { span.addLink(target) }
        span.addLink(SpanLink(context: .topLevel, attributes: [:]))
        span.end()

        let ended = try #require(tracing.ended().first)
        #expect(ended.attributes.values.count == 128)
        #expect(ended.attributes.dropped == 72)
        #expect(ended.attributes.values.get("key 0") == "changed")
        #expect(ended.attributes.values.get("key 127") == .int(127))
        #expect(ended.attributes.values.get("key 128") == nil)
        #expect(ended.events.count == 128 && ended.droppedEvents == 2)
        #expect(ended.events.last?.name == "event 127")
        #expect(ended.links.count == 32 && ended.droppedLinks == 9)
    }

    @Test("many attributes at once, also of events, are as many as there may be")
    func attributesAtOnce() throws {
        let tracing = try LocalTracing()
        var many = SpanAttributes()
        for number in 0..<1_000 { many["key \(number)"] = number }
        many[""] = "no key"
        let span = tracing.tracer.startSpan("full")
        span.attributes = many
        span.addEvent(SpanEvent(name: "full", attributes: many))
        span.end()
        let ended = try #require(tracing.ended().first)
        for attributes in [ended.attributes, try #require(ended.events.first).attributes] {
            #expect(attributes.values.count + attributes.dropped == 1_001)
            #expect((127...128).contains(attributes.values.count))
            #expect(attributes.values.get("") == nil)
        }
    }

    @Test("long texts are cut at 4,096 bytes, between characters")
    func longTexts() throws {
        let tracing = try LocalTracing()
        let chinese = String(repeating: "关", count: 2_000)
        let families = "x" + String(repeating: "👩‍👩‍👧", count: 400)
        let accents = "e" + String(repeating: "\u{301}", count: 5_000)
        let exact = String(repeating: "a", count: 4_096)
        let span = tracing.tracer.startSpan(chinese)
        span.attributes["exact"] = exact
        span.attributes["over"] = exact + "b"
        span.attributes["families"] = families
        span.attributes["accents"] = accents
        span.attributes["list"] = [chinese, "short"]
        span.attributes.set("described", value: .stringConvertible(exact + "b"))
        span.attributes[chinese] = 1
        span.addEvent(SpanEvent(name: chinese, attributes: ["over": .string(chinese)]))
        span.setStatus(SpanStatus(code: .error, message: chinese))
        span.end()

        let cut = String(repeating: "关", count: 1_365)
        let ended = try #require(tracing.ended().first)
        #expect(ended.name == cut)
        #expect(ended.attributes.values.get("exact") == .string(exact))
        #expect(ended.attributes.values.get("over") == .string(exact))
        #expect(ended.attributes.values.get("described") == .string(exact))
        // 18 bytes each.
        #expect(ended.attributes.values.get("families") == .string(String(families.prefix(1 + 4_095 / 18))))
        #expect(ended.attributes.values.get("list") == .stringArray([cut, "short"]))
        #expect(ended.attributes.values.get(cut) == .int(1))
        guard case .string(let accented) = ended.attributes.values.get("accents") else {
            Issue.record("no accents")
            return
        }
        #expect((4_000...4_096).contains(accented.utf8.count))
        #expect(ended.events.first?.name == cut)
        #expect(ended.events.first?.attributes.values.get("over") == .string(cut))
        #expect(ended.status?.message == cut)
    }

    @Test("many tasks can add to one span")
    func manyTasks() async throws {
        let tracing = try LocalTracing()
        let span = tracing.tracer.startSpan("shared")
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<100 { span.addEvent("more") }
                    span.end()
                }
            }
        }
        #expect(tracing.ended().count == 1)
    }
}

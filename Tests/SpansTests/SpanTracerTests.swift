import Testing
import Tracing

@testable import Spans

@Suite("Span tracer")
struct SpanTracerTests {
    private struct Fields: Injector, Extractor {
        func inject(_ value: String, forKey key: String, into carrier: inout [String: String]) { carrier[key] = value }
        func extract(key: String, from carrier: [String: String]) -> String? { carrier[key] }
    }

    @Test("a span in another service is the child of the span that called it")
    func acrossServices() throws {
        let (caller, called) = (try LocalTracing(), try LocalTracing(ratio: 0))
        var request: [String: String] = [:]
        caller.tracer.withSpan("call", ofKind: .client) { span in
            caller.tracer.inject(span.context, into: &request, using: Fields())
        }
        var context = InstrumentationContext.topLevel
        called.tracer.extract(request, into: &context, using: Fields())
        called.tracer.withSpan("answer", context: context, ofKind: .server) { _ in }

        let parent = try #require(caller.ended().first)
        let child = try #require(called.ended().first)
        #expect(parent.parent == nil)
        #expect(child.context.traceID == parent.context.traceID)
        #expect(child.parent?.spanID == parent.context.spanID)
        #expect(child.parent?.isRemote == true)
        #expect(child.context.spanID != parent.context.spanID)
        #expect(!child.context.isRemote)
    }

    @Test("without a good header a new trace begins, and none is injected where there is no span")
    func nothingToExtract() {
        let tracer = SpanTracer.propagatingOnly()
        var context = InstrumentationContext.topLevel
        tracer.extract(["traceparent": "00-nonsense"], into: &context, using: Fields())
        tracer.extract(["tracestate": "a=b"], into: &context, using: Fields())
        #expect(context.spanContext == nil)
        var request: [String: String] = [:]
        tracer.inject(context, into: &request, using: Fields())
        #expect(request.isEmpty)
    }

    @Test("spans under an unsampled parent record nothing but pass their ids on")
    func unsampledParent() throws {
        let tracing = try LocalTracing(ratio: 1)
        var context = InstrumentationContext.topLevel
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        tracing.tracer.extract(["traceparent": header], into: &context, using: Fields())
        let span = tracing.tracer.startSpan("quiet", context: context)
        span.attributes["a"] = 1
        span.addEvent("b")
        #expect(!span.isRecording)
        #expect(span.attributes.isEmpty)
        var request: [String: String] = [:]
        tracing.tracer.inject(span.context, into: &request, using: Fields())
        let own = try #require(span.context.spanContext)
        #expect(request == ["traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-\(own.spanID)-00"])
        #expect(own.spanID.description != "00f067aa0ba902b7")
        span.end()
        #expect(tracing.ended().isEmpty)
    }

    @Test("without a collector a sampled trace stays sampled for the others")
    func propagatingOnly() throws {
        let tracer = SpanTracer.propagatingOnly()
        var context = InstrumentationContext.topLevel
        context.spanContext = SpanContext(traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        let span = tracer.startSpan("passing", context: context)
        #expect(!span.isRecording)
        #expect(span.context.spanContext?.isSampled == true)
        #expect(tracer.startSpan("new", context: .topLevel).context.spanContext?.isSampled == false)
    }

    @Test("the ratio decides by the id's last 56 bits, alike everywhere")
    func ratio() throws {
        let never = SpanSampling(ratio: 0)
        let half = SpanSampling(ratio: 0.5)
        let always = SpanSampling(ratio: 1)
        let low = try #require(TraceID(high: 1, low: 0xff7f_ffff_ffff_ffff))
        let high = try #require(TraceID(high: 1, low: 0x0080_0000_0000_0000))
        let top = try #require(TraceID(high: 1, low: .max))
        #expect([low, high, top].map(never.records) == [false, false, false])
        #expect([low, high, top].map(half.records) == [false, true, true])
        #expect([low, high, top].map(always.records) == [true, true, true])

        let (some, more) = (SpanSampling(ratio: 0.1), SpanSampling(ratio: 0.3))
        let ids = (0..<20_000).map { _ in TraceID.random() }
        #expect(ids.allSatisfy { !some.records($0) || more.records($0) })
        // Ten standard deviations.
        #expect((1_576...2_424).contains(ids.count(where: some.records)))
    }

    @Test("child tasks begin spans under the span they were begun in")
    func childTasks() async throws {
        let tracing = try LocalTracing()
        let tracer = tracing.tracer
        await tracer.withSpan("all") { _ in
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<8 {
                    group.addTask {
                        await tracer.withSpan("part \(number)") { _ in
                            await Task.yield()
                            tracer.withSpan("detail \(number)") { _ in }
                        }
                    }
                }
            }
        }
        let spans = Dictionary(uniqueKeysWithValues: tracing.ended().map { ($0.name, $0) })
        #expect(spans.count == 17)
        let root = try #require(spans["all"])
        for number in 0..<8 {
            let part = try #require(spans["part \(number)"])
            let detail = try #require(spans["detail \(number)"])
            #expect(part.parent == root.context)
            #expect(detail.parent == part.context)
            #expect(detail.context.traceID == root.context.traceID)
        }
    }
}

import Spans
import Testing

@Suite("traceparent")
struct TraceparentTests {
    @Test("a good header is read and printed as it was")
    func roundTrip() throws {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        let context = try #require(SpanContext(traceparent: text))
        #expect(context.traceID.description == "4bf92f3577b34da6a3ce929d0e0e4736")
        #expect(context.spanID.description == "00f067aa0ba902b7")
        #expect(context.traceID.low == 0xa3ce_929d_0e0e_4736)
        #expect(context.isSampled)
        #expect(context.isRemote)
        #expect(context.traceparent == text)
    }

    @Test(
        "only the flag \"sampled\" counts",
        arguments: [("00", false), ("01", true), ("02", false), ("03", true), ("fe", false), ("ff", true)])
    func flags(flags: String, isSampled: Bool) throws {
        let start = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
        let context = try #require(SpanContext(traceparent: start + flags))
        #expect(context.isSampled == isSampled)
        #expect(context.traceparent == start + (isSampled ? "01" : "00"))
    }

    @Test(
        "later versions are read as far as they are known",
        arguments: [
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later",
            "fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        ])
    func laterVersions(text: String) throws {
        let context = try #require(SpanContext(traceparent: text))
        #expect(context.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    }

    @Test(
        "malformed and hostile headers are refused",
        arguments: [
            "", "-", "00", "00---",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0A-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b70000-01",
            "00-４bf92f3577b34da6a3ce929d0e0e4-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\u{0}",
            "关系-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            String(repeating: "0", count: 1_000_000),
            String(repeating: "👩‍👩‍👧", count: 100),
        ])
    func refused(text: String) {
        #expect(SpanContext(traceparent: text) == nil)
    }

    @Test("new ids are never zero and don't repeat")
    func newIDs() {
        #expect(Set((0..<5_000).map { _ in TraceID.random() }).count == 5_000)
        #expect(Set((0..<5_000).map { _ in SpanID.random() }).count == 5_000)
        #expect(TraceID(high: 0, low: 0) == nil)
        #expect(SpanID(bits: 0) == nil)
        #expect(SpanID(bits: 10)?.description == "000000000000000a")
    }
}

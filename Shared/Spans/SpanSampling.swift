/// Decides which new traces are recorded, by their ids alone: every service with the same ratio decides alike, and one
/// with a higher ratio records whatever those with lower ones do.
///
/// The last 56 bits of the id count, as OpenTelemetry has it: https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
struct SpanSampling: Sendable {
    private let threshold: UInt64

    /// - Parameter ratio: the share of traces that are recorded, 0 to 1.
    init(ratio: Double) {
        precondition((0...1).contains(ratio), "not a ratio")
        threshold = UInt64(((1 - ratio) * 0x1p56).rounded())
    }

    /// A trace that begins here follows the ratio.
    func records(_ id: TraceID) -> Bool { id.low & 0xff_ffff_ffff_ffff >= threshold }
}

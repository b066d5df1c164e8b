/// The header field `traceparent` of W3C Trace Context: `00-<trace id>-<span id>-<flags>`.
extension SpanContext {
    /// Reads what another service sent; nil when it is malformed, and then a new trace begins.
    ///
    /// Of versions that don't exist yet only the part is read that they promise to keep; flags other than "sampled" are
    /// ignored. Source: https://www.w3.org/TR/trace-context/#traceparent-header
    package init?(traceparent: String) {
        var text = traceparent
        guard let context = text.withUTF8({ Self.read($0) }) else { return nil }
        self = context
    }

    private static func read(_ text: UnsafeBufferPointer<UInt8>) -> SpanContext? {
        guard text.count >= length, text[2] == dash, text[35] == dash, text[52] == dash,
            let version = Hex.read(text, at: 0, count: 2), version != 0xff,
            let high = Hex.read(text, at: 3, count: 16), let low = Hex.read(text, at: 19, count: 16),
            let bits = Hex.read(text, at: 36, count: 16), let flags = Hex.read(text, at: 53, count: 2),
            let trace = TraceID(high: high, low: low), let span = SpanID(bits: bits)
        else { return nil }
        // Version 00 ends here; later ones may go on, after another dash.
        guard text.count == length || version > 0 && text[length] == dash else { return nil }
        return SpanContext(traceID: trace, spanID: span, isSampled: flags & 1 == 1, isRemote: true)
    }

    /// The header field for requests that belong to this span, in version 00.
    package var traceparent: String {
        String(unsafeUninitializedCapacity: Self.length) { text in
            text.initialize(repeating: 0x30)
            (text[2], text[35], text[52]) = (Self.dash, Self.dash, Self.dash)
            Hex.write(traceID.high, to: text, at: 3)
            Hex.write(traceID.low, to: text, at: 19)
            Hex.write(spanID.bits, to: text, at: 36)
            text[54] = isSampled ? 0x31 : 0x30
            return Self.length
        }
    }

    private static var length: Int { 55 }
    private static var dash: UInt8 { 0x2d }
}

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What came of one try, and so what becomes of its spans.
enum CollectorAnswer: Equatable {
    /// The collector has them, all but `rejected`; it may have something to say about that.
    case taken(rejected: Int, message: String)
    /// It won't take them at any time.
    case refused(String)
    /// Another try may succeed, after `pause` where the collector says when.
    case unavailable(String, pause: Duration?)

    /// The longest pause that a collector may ask for, or a slip in its settings would silence us for days.
    static let longestPause = Duration.seconds(300)

    /// Reads an answer by OTLP's rules: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
    ///
    /// - Parameter retryAfter: seconds from the header field; 0 for none.
    init(status: Int, body: [UInt8], retryAfter: Int) {
        switch status {
        case 200..<300:
            let part = (try? JSONDecoder().decode(Body.self, from: Data(body)))?.partialSuccess
            self = .taken(rejected: max(0, part?.rejectedSpans?.value ?? 0), message: part?.errorMessage ?? "")
        case 429, 502, 503, 504:
            let pause = retryAfter > 0 ? min(.seconds(retryAfter), Self.longestPause) : nil
            self = .unavailable("status \(status)", pause: pause)
        default:
            // What it says helps whoever reads the log, as far as it is text.
            let text = String(decoding: body.prefix(200), as: UTF8.self)
            self = .refused(text.isEmpty ? "status \(status)" : "status \(status): \(text)")
        }
    }

    private struct Body: Decodable {
        let partialSuccess: PartialSuccess?
    }

    private struct PartialSuccess: Decodable {
        let rejectedSpans: Count?
        let errorMessage: String?
    }

    /// A 64-bit number, which JSON of protobuf writes as text; some collectors write a number.
    private struct Count: Decodable {
        let value: Int

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                value = Int(text) ?? 0
            } else {
                value = try container.decode(Int.self)
            }
        }
    }
}

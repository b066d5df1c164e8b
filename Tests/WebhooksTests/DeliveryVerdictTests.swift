import Testing
import Webhooks

@Suite("Delivery verdicts")
struct DeliveryVerdictTests {
    /// Sun, 06 Nov 1994 08:49:37 GMT
    private static let now = 784_111_777

    @Test("any 2xx is delivered", arguments: [200, 201, 202, 204, 299])
    func delivered(status: Int) {
        #expect(Self.verdict(DeliveryAnswer(status: status)) == .delivered)
    }

    @Test("410 switches the subscription off")
    func gone() {
        guard case .disable(let failure) = Self.verdict(DeliveryAnswer(status: 410)) else {
            Issue.record("not disabled")
            return
        }
        #expect(failure.code == .status)
    }

    @Test("every other status is tried again", arguments: [400, 401, 404, 409, 422, 429, 500, 502, 503, 504, 999])
    func retried(status: Int) {
        #expect(Self.pauseAndCode(DeliveryAnswer(status: status)) == Pair(pause: nil, code: .status))
    }

    @Test("a redirect is a failure that tells where it points to", arguments: [300, 301, 302, 303, 307, 308])
    func redirect(status: Int) {
        let verdict = Self.verdict(DeliveryAnswer(status: status, location: "http://10.0.0.1/"))
        guard case .retry(nil, let failure) = verdict else {
            Issue.record("not tried again")
            return
        }
        #expect(failure.code == .redirect)
        #expect(failure.message.contains("http://10.0.0.1/"))
    }

    @Test(
        "a pause that the receiver asks for is granted, up to an hour",
        arguments: [
            ("120", 120), ("0", 0), ("3600", 3_600), ("3601", 3_600), ("99999999999999999999", 3_600), ("-1", nil),
            ("1.5", nil), ("", nil), ("soon", nil), ("Sun, 06 Nov 1994 08:51:37 GMT", 120),
            ("Sun, 06 Nov 1994 08:00:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600),
            ("Sun, 06 Foo 1994 08:51:37 GMT", nil), ("Sun, 06 Nov 1994 08:51:37 CET", nil),
        ] as [(String, Int?)])
    func retryAfter(text: String, seconds: Int?) {
        for status in [429, 503] {
            let found = Self.pauseAndCode(DeliveryAnswer(status: status, retryAfter: text))
            #expect(found == Pair(pause: seconds.map { .seconds($0) }, code: .status))
        }
    }

    @Test("a pause with another status is not heeded")
    func otherRetryAfter() {
        #expect(
            Self.pauseAndCode(DeliveryAnswer(status: 500, retryAfter: "120")) == Pair(pause: nil, code: .status))
    }

    @Test("no answer is tried again, with its own reason", arguments: [DeliveryFailure.Code.timeout, .dns, .cancelled])
    func noAnswer(code: DeliveryFailure.Code) {
        let failure = DeliveryFailure(code: code, message: "why")
        let verdict = DeliveryVerdict(DeliveryOutcome(result: .failure(failure)), now: Self.now)
        #expect(verdict == .retry(after: nil, failure))
    }

    private struct Pair: Equatable {
        let pause: Duration?
        let code: DeliveryFailure.Code
    }

    private static func pauseAndCode(_ answer: DeliveryAnswer) -> Pair? {
        guard case .retry(let pause, let failure) = verdict(answer) else { return nil }
        return Pair(pause: pause, code: failure.code)
    }

    private static func verdict(_ answer: DeliveryAnswer) -> DeliveryVerdict {
        DeliveryVerdict(DeliveryOutcome(result: .success(answer)), now: now)
    }
}

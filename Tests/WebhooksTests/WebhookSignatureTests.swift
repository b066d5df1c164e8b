import Testing
import Webhooks

@Suite("Webhook signatures")
struct WebhookSignatureTests {
    private static let known = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    private static let body = Array("{\"test\": 2432232314}".utf8)
    private static let now = 1_614_265_330

    @Test("the example that implementations of Standard Webhooks share gets the same signature")
    func knownVector() throws {
        let signature = try Self.signature([WebhookSecret(Self.known)])
        #expect(signature.value == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        #expect(
            signature.headers == [
                DeliveryHeader("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                DeliveryHeader("webhook-timestamp", "1614265330"),
                DeliveryHeader("webhook-signature", signature.value),
            ])
    }

    @Test("while a secret is replaced, receivers that know either one accept")
    func rotation() throws {
        let (old, new) = (WebhookSecret.random(), WebhookSecret.random())
        let signature = try Self.signature([new, old])
        #expect(signature.value.split(separator: " ").count == 2)
        try Self.verify(signature.value, [old])
        try Self.verify(signature.value, [new])
        #expect(throws: WebhookSignatureError.self) { try Self.verify(signature.value, [.random()]) }
    }

    @Test("signatures of other versions and broken ones are passed over")
    func otherVersions() throws {
        let secret = try WebhookSecret(Self.known)
        let value = try Self.signature([secret]).value
        try Self.verify("v1a,aGVsbG8= v1,not*base64 v1, v1 \(value)", [secret])
        Self.expect(.noMatch) { try Self.verify("v1a," + value.dropFirst(3), [secret]) }
        Self.expect(.noMatch) { try Self.verify("", [secret]) }
    }

    @Test("a changed body, id or timestamp is not accepted")
    func tampering() throws {
        let secret = try WebhookSecret(Self.known)
        let value = try Self.signature([secret]).value
        Self.expect(.noMatch) { try Self.verify(value, [secret], body: Self.body + [0x20]) }
        Self.expect(.noMatch) { try Self.verify(value, [secret], id: "msg_other") }
        Self.expect(.noMatch) { try Self.verify(value, [secret], timestamp: "1614265331") }
    }

    @Test(
        "a timestamp is accepted up to five minutes away",
        arguments: [
            (300, nil), (301, .tooOld), (-300, nil), (-301, .tooNew),
        ] as [(Int, WebhookSignatureError.Code?)])
    func tolerance(age: Int, code: WebhookSignatureError.Code?) throws {
        let secret = try WebhookSecret(Self.known)
        let value = try Self.signature([secret]).value
        if let code {
            Self.expect(code) { try Self.verify(value, [secret], now: Self.now + age) }
        } else {
            try Self.verify(value, [secret], now: Self.now + age)
        }
    }

    @Test("a timestamp that is no number is not accepted", arguments: ["", "x", "-5", "1614265330.0", "1e9"])
    func strangeTimestamp(text: String) throws {
        Self.expect(.invalidTimestamp) { try Self.verify("v1,", [.random()], timestamp: text) }
    }

    @Test("a new secret has 32 bytes, is never the same twice, and reads back")
    func newSecret() throws {
        let secret = WebhookSecret.random()
        #expect(secret.text.hasPrefix("whsec_"))
        #expect(secret.text.utf8.count == 6 + 44)
        #expect(try WebhookSecret(secret.text) == secret)
        #expect(secret != .random())
    }

    @Test("a secret does not show when it is printed")
    func hiddenSecret() throws {
        let secret = try WebhookSecret(Self.known)
        var dumped = ""
        dump(["secret": secret], to: &dumped)
        for text in ["\(secret)", String(reflecting: secret), dumped] { #expect(!text.contains("MfKQ")) }
    }

    @Test(
        "secrets of the wrong form or length are refused",
        arguments: [
            "", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa==", "whsec_" + String(repeating: "AAAA", count: 22),
        ])
    func badSecrets(text: String) {
        Self.expect(.invalidSecret) { _ = try WebhookSecret(text) }
    }

    @Test("secrets of 24 and of 64 bytes are taken")
    func secretLengths() throws {
        _ = try WebhookSecret("whsec_" + String(repeating: "AAAA", count: 8))
        _ = try WebhookSecret("whsec_" + String(repeating: "AAAA", count: 21) + "AA==")
    }

    @Test("an id that would make the signed text ambiguous is refused", arguments: ["", "a.b", "a b", "a\n", "é"])
    func badIDs(id: String) {
        Self.expect(.invalidID) {
            _ = try WebhookSignature(id: id, timestamp: 0, body: [], secrets: [.random()])
        }
    }

    @Test("nothing is signed without a secret")
    func noSecret() {
        Self.expect(.invalidSecret) { _ = try WebhookSignature(id: "a", timestamp: 0, body: [], secrets: []) }
    }

    private static func signature(_ secrets: [WebhookSecret]) throws -> WebhookSignature {
        try WebhookSignature(id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: now, body: body, secrets: secrets)
    }

    private static func verify(
        _ signature: String, _ secrets: [WebhookSecret], id: String = "msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp: String = "1614265330", body: [UInt8] = body, now: Int = now
    ) throws {
        try WebhookSignature.verify(
            id: id, timestamp: timestamp, signature: signature, body: body, secrets: secrets, now: now)
    }

    private static func expect(_ code: WebhookSignatureError.Code, _ body: () throws -> Void) {
        let error = #expect(throws: WebhookSignatureError.self, performing: body)
        #expect(error?.code == code)
    }
}

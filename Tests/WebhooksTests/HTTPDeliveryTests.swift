import Foundation
import HTTPReceiver
import Testing
import ThreadExecutor

@testable import Webhooks

@Suite("HTTP delivery", .timeLimit(.minutes(1)))
struct HTTPDeliveryTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nSet-Cookie: a=b\r\n\r\nthanks"

    @Test("a signed delivery arrives as it was sent, and its signature holds")
    func delivered() async throws {
        let receiver = try Receiver(answer: Self.ok)
        let client = try Delivering.client()
        let secret = WebhookSecret.random()
        let body = Array("{\"type\":\"contact.merged\",\"data\":\"关系\"}".utf8)
        let signature = try WebhookSignature(id: "evt_1", timestamp: 1_700_000_000, body: body, secrets: [secret])
        let target = try Delivering.target("http://127.0.0.1:\(receiver.port)/hook?a=1")
        let request = try DeliveryRequest(
            target: target, body: body, headers: signature.headers + [DeliveryHeader("X-Empty", "")])

        let outcome = await client.post(request)

        #expect(try outcome.result.get() == DeliveryAnswer(status: 200, body: "thanks"))
        #expect(outcome.remoteAddress == "127.0.0.1")
        #expect(DeliveryVerdict(outcome, now: 0) == .delivered)
        let received = try #require(receiver.requests.first)
        #expect(received.head.hasPrefix("POST /hook?a=1 HTTP/1.1\r\n"))
        #expect(received.field("user-agent") == "Guanxi-Webhooks/1")
        #expect(received.field("content-type") == "application/json")
        #expect(received.field("x-empty") == "")
        #expect(received.body == body)
        try WebhookSignature.verify(
            id: try #require(received.field("webhook-id")),
            timestamp: try #require(received.field("webhook-timestamp")),
            signature: try #require(received.field("webhook-signature")), body: received.body, secrets: [secret],
            now: 1_700_000_000)
    }

    @Test("the next delivery uses the connection again and brings no cookie")
    func reuse() async throws {
        let receiver = try Receiver(answer: Self.ok)
        let client = try Delivering.client()
        for _ in 0..<3 { _ = try await client.post(Delivering.request(receiver)).result.get() }
        #expect(receiver.connections == 1)
        #expect(receiver.requests.count == 3)
        #expect(receiver.requests.allSatisfy { $0.field("cookie") == nil })
    }

    @Test("an empty and a long body arrive whole", arguments: [0, 3_000_000])
    func bodies(count: Int) async throws {
        let receiver = try Receiver(answer: Self.ok)
        let body = [UInt8](repeating: 0x61, count: count)
        let target = try Delivering.target("http://127.0.0.1:\(receiver.port)/")
        let outcome = try await Delivering.client().post(DeliveryRequest(target: target, body: body))
        #expect(try outcome.result.get().status == 200)
        #expect(receiver.requests.first?.body == body)
        #expect(receiver.requests.first?.field("expect") == nil)
    }

    @Test("IPv6 works", .enabled(if: (try? Receiver(address: "::1", answer: "")) != nil))
    func six() async throws {
        let receiver = try Receiver(address: "::1", answer: Self.ok)
        let client = try Delivering.client(allowing: "::1")
        let target = try Delivering.target("http://[::1]:\(receiver.port)/")
        let outcome = try await client.post(DeliveryRequest(target: target, body: []))
        #expect(try outcome.result.get().status == 200)
        #expect(outcome.remoteAddress == "::1")
    }

    @Test("a redirect to a private address is reported, not followed")
    func redirect() async throws {
        let secret = try Receiver(address: "127.0.0.3", answer: Self.ok)
        let place = "http://127.0.0.3:\(secret.port)/"
        let receiver = try Receiver(answer: "HTTP/1.1 307 Go\r\nLocation: \(place)\r\nContent-Length: 0\r\n\r\n")
        let outcome = try await Delivering.client().post(Delivering.request(receiver))
        #expect(try outcome.result.get() == DeliveryAnswer(status: 307, location: place))
        #expect(secret.connections == 0)
        guard case .retry(nil, let failure) = DeliveryVerdict(outcome, now: 0) else {
            Issue.record("not a failure")
            return
        }
        #expect(failure.code == .redirect)
    }

    @Test("410 and 429 with a pause come through to the verdict")
    func verdicts() async throws {
        let client = try Delivering.client()
        let gone = try Receiver(answer: "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
        let busy = try Receiver(answer: "HTTP/1.1 429 Slow\r\nRetry-After: 90\r\nContent-Length: 0\r\n\r\n")
        guard case .disable = DeliveryVerdict(await client.post(try Delivering.request(gone)), now: 0) else {
            Issue.record("not disabled")
            return
        }
        guard case .retry(.seconds(90), _) = DeliveryVerdict(await client.post(try Delivering.request(busy)), now: 0)
        else {
            Issue.record("no pause")
            return
        }
    }

    @Test(
        "a refused address is never connected to, given as a literal or by a name",
        arguments: ["127.0.0.1", "localhost"])
    func refused(host: String) async throws {
        let receiver = try Receiver(answer: Self.ok)
        let client = HTTPDelivery(.init())
        let target = try Delivering.target("http://\(host):\(receiver.port)/")
        let outcome = try await client.post(DeliveryRequest(target: target, body: []))
        #expect(Delivering.code(outcome) == .addressRefused)
        #expect(receiver.connections == 0)
    }

    @Test("of a name's addresses only those that are allowed are tried")
    func partlyRefused() async throws {
        let receiver = try Receiver(answer: Self.ok)
        let target = try Delivering.target("http://localhost:\(receiver.port)/")
        let outcome = try await Delivering.client().post(DeliveryRequest(target: target, body: []))
        #expect(try outcome.result.get().status == 200)
        #expect(outcome.remoteAddress == "127.0.0.1")
    }

    @Test("nobody listening is told apart")
    func connectionRefused() async throws {
        let target = try Delivering.target("http://127.0.0.1:\(Receiver.freePort())/")
        let outcome = try await Delivering.client().post(DeliveryRequest(target: target, body: []))
        #expect(Delivering.code(outcome) == .connectionRefused)
    }

    @Test("a name that doesn't exist is told apart")
    func unknownName() async throws {
        let target = try Delivering.target("http://nowhere.invalid/")
        let outcome = try await Delivering.client().post(DeliveryRequest(target: target, body: []))
        #expect(Delivering.code(outcome) == .dns)
    }
}

import Testing
import Webhooks

@Suite("Webhook targets")
struct WebhookTargetTests {
    @Test(
        "good URLs are taken and spelt in one way",
        arguments: [
            ("https://example.com", "https://example.com/"),
            ("HTTPS://Example.COM/Hook?a=B", "https://example.com/Hook?a=B"),
            ("https://example.com?x=1", "https://example.com/?x=1"),
            ("https://example.com./a", "https://example.com/a"),
            ("https://example.com:8443/a/b", "https://example.com:8443/a/b"),
            ("https://under_score.example/%20%2F", "https://under_score.example/%20%2F"),
            ("https://例子.cn/回调", "https://xn--fsqu00a.cn/%E5%9B%9E%E8%B0%83"),
            ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
            ("https://xn--fsqu00a.cn/", "https://xn--fsqu00a.cn/"),
            ("https://8.8.8.8/", "https://8.8.8.8/"),
            ("https://0x08080808/", "https://8.8.8.8/"),
            ("https://[2606:4700:4700:0::1111]:444/x", "https://[2606:4700:4700::1111]:444/x"),
            ("https://1.example/", "https://1.example/"),
            ("https://localhost/", "https://localhost/"),
            ("https://example.com/a@b:c", "https://example.com/a@b:c"),
        ])
    func good(text: String, url: String) throws {
        #expect(try WebhookTarget(text).url == url)
    }

    @Test(
        "faulty URLs are refused with the fault's name",
        arguments: [
            ("", .scheme), ("example.com", .scheme), ("//example.com", .scheme), ("http://example.com/", .scheme),
            ("ftp://example.com/", .scheme), ("file:///etc/passwd", .scheme), ("gopher://example.com/", .scheme),
            ("https:example.com", .malformed), ("https:/example.com", .malformed), ("https", .malformed),
            ("https://exa mple.com/", .malformed), ("https://example.com/a b", .malformed),
            ("https://example.com/\r\nHost: a", .malformed), ("https://example.com\\@a.b/", .malformed),
            ("https://example.com/\u{0}", .malformed), ("https://example.com/\u{202e}", .malformed),
            ("https://ex\u{200d}ample.com/", .malformed), ("https://example.com/{a}", .malformed),
            ("https://user@example.com/", .credentials), ("https://user:pass@example.com/", .credentials),
            ("https://@example.com/", .credentials), ("https://8.8.8.8@10.0.0.1/", .credentials),
            ("https://", .host), ("https:///path", .host), ("https://:443/", .host), ("https://?a", .host),
            ("https://./", .host), ("https://a..b/", .host), ("https://.a/", .host), ("https://-a.com/", .host),
            ("https://a%2eb/", .host), ("https://a,b/", .host), ("https://[::1/", .port), ("https://[]/", .host),
            ("https://[fe80::1%25eth0]/", .host), ("https://[8.8.8.8]/", .host), ("https://[2606::1]x/", .host),
            ("https://1.2.3.4.5/", .host), ("https://256.256.256.256/", .host), ("https://a.0x1/", .host),
            ("https://a.1/", .host), ("https://／.example/", .host),
            ("https://" + String(repeating: "a", count: 64) + ".com/", .host),
            ("https://" + String(repeating: "a.", count: 127) + "com/", .host),
            ("https://example.com:/", .port), ("https://example.com:0/", .port), ("https://example.com:65536/", .port),
            ("https://example.com:+80/", .port), ("https://example.com:80a/", .port),
            ("https://example.com:000080/", .port), ("https://a:1:2/", .port),
            ("https://example.com/#a", .fragment), ("https://example.com#@a.b/", .fragment),
            ("https://example.com/" + String(repeating: "a", count: 1_981), .tooLong),
        ] as [(String, WebhookTargetError.Code)])
    func faulty(text: String, code: WebhookTargetError.Code) {
        Self.expect(code) { _ = try WebhookTarget(text) }
    }

    @Test(
        "private addresses are refused in every spelling",
        arguments: [
            "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7F000001", "0177.0.0.1", "017700000001", "127.0.0.1.",
            "10.0.0.1", "0", "0.0.0.0", "169.254.169.254", "0xa9fea9fe", "192.168.1.1", "[::1]", "[::]", "[fe80::1]",
            "[fd00:ec2::254]", "[::ffff:10.0.0.1]", "[::ffff:a00:1]", "[64:ff9b::a00:1]", "[0:0:0:0:0:0:0:1]",
            "１２７.０.０.１", "127。0。0。1", "①②⑦.0.0.1",
        ])
    func privateAddresses(host: String) {
        Self.expect(.address) { _ = try WebhookTarget("https://\(host)/") }
        Self.expect(.address) { _ = try WebhookTarget("https://\(host):8080/") }
    }

    @Test("the longest URL is taken")
    func longest() throws {
        let text = "https://example.com/" + String(repeating: "a", count: 1_980)
        #expect(try WebhookTarget(text).url == text)
    }

    @Test("http is taken when it is allowed, private addresses when the policy has them as an exception")
    func exceptions() throws {
        let policy = AddressPolicy(allowing: [try #require(IPNetwork("127.0.0.0/8"))])
        let target = try WebhookTarget("http://127.1:8080/a", allowsHTTP: true, policy: policy)
        #expect(target.url == "http://127.0.0.1:8080/a")
        #expect(target.host == "127.0.0.1")
        Self.expect(.address) { _ = try WebhookTarget("http://10.0.0.1/", allowsHTTP: true, policy: policy) }
        Self.expect(.scheme) { _ = try WebhookTarget("http://127.0.0.1/", policy: policy) }
    }

    @Test(
        "headers that could change the request are refused",
        arguments: [
            ("", "a"), ("a b", "a"), ("a:", "b"), ("X-A\r\n", "b"), ("X-A", "b\r\nX-B: c"), ("X-A", "b\0"),
            ("Host", "a"), ("content-length", "1"), ("Transfer-Encoding", "chunked"), ("User-Agent", "me"),
            ("Cookie", "a=b"),
        ])
    func badHeaders(name: String, value: String) throws {
        let target = try WebhookTarget("https://example.com/")
        #expect(throws: DeliveryHeaderError.self) {
            try DeliveryRequest(target: target, body: [], headers: [DeliveryHeader(name, value)])
        }
    }

    private static func expect(_ code: WebhookTargetError.Code, _ body: () throws -> Void) {
        let error = #expect(throws: WebhookTargetError.self, performing: body)
        #expect(error?.code == code)
    }
}

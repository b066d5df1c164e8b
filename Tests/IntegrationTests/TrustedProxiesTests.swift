import ServiceKit
import Testing

@Suite("Trusted proxies")
struct TrustedProxiesTests {
    @Test("the caller's address is the last one that is no proxy of ours")
    func client() throws {
        let proxies = try #require(TrustedProxies("127.0.0.0/8, ::1,10.0.0.0/8"))
        func client(_ peer: String?, _ forwarded: String?) -> String? {
            proxies.client(peer: peer, forwardedFor: forwarded)
        }
        #expect(client("203.0.113.9", "192.0.2.1") == "203.0.113.9", "a stranger's word does not count")
        #expect(client("127.0.0.1", nil) == "127.0.0.1")
        #expect(client("127.0.0.1", "192.0.2.1") == "192.0.2.1")
        #expect(client("127.0.0.1", "198.51.100.1, 192.0.2.1, 10.1.1.1") == "192.0.2.1")
        #expect(client("127.0.0.1", "192.0.2.1, nonsense") == "127.0.0.1")
        #expect(client("127.0.0.1", "10.1.1.1") == "10.1.1.1")
        #expect(client(nil, "192.0.2.1") == nil)
        #expect(
            TrustedProxies("10.0.0.0/8,x") == nil
                && TrustedProxies("")?.client(peer: "::1", forwardedFor: "1.2.3.4") == "::1")
    }
}

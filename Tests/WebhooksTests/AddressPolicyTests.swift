import Testing
import Webhooks

@Suite("Address policy")
struct AddressPolicyTests {
    @Test(
        "networks are refused from their first address to their last, and their neighbours are not",
        arguments: [
            ("0.0.0.0", "0.255.255.255", nil, "1.0.0.0", .unspecified),
            ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0", .privateNetwork),
            ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0", .sharedAddressSpace),
            ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0", .loopback),
            ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0", .linkLocal),
            ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0", .privateNetwork),
            ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0", .reserved),
            ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0", .documentation),
            ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0", .reserved),
            ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0", .privateNetwork),
            ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0", .benchmark),
            ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0", .documentation),
            ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0", .documentation),
            ("224.0.0.0", "239.255.255.255", "223.255.255.255", nil, .multicast),
            ("240.0.0.0", "255.255.255.255", nil, nil, .reserved),
            ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", nil, "2001:2:1::", .benchmark),
            ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:f::", nil, .reserved),
            ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", nil, "2001:30::", .reserved),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7::", "2001:db9::", .documentation),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe::", "3fff:1000::", .documentation),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil, nil, .privateNetwork),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil, nil, .linkLocal),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil, nil, .privateNetwork),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil, nil, .multicast),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", nil, nil, .privateNetwork),
        ] as [(String, String, String?, String?, AddressRefusal)])
    func edges(first: String, last: String, before: String?, after: String?, reason: AddressRefusal) throws {
        #expect(try Self.refusal(first) == reason)
        #expect(try Self.refusal(last) == reason)
        if let before { #expect(try Self.refusal(before) == nil) }
        if let after { #expect(try Self.refusal(after) == nil) }
    }

    @Test(
        "public addresses are allowed",
        arguments: [
            "1.1.1.1", "8.8.8.8", "223.5.5.5", "2606:4700:4700::1111", "2400:3200::1", "2000::",
            "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
        ])
    func publicAddresses(text: String) throws {
        #expect(try Self.refusal(text) == nil)
    }

    @Test(
        "IPv6 outside the global range is refused",
        arguments: [
            ("::", .unspecified), ("::1", .loopback), ("100::1", .reserved), ("1fff:ffff::", .reserved),
            ("4000::", .reserved), ("5f00::1", .reserved), ("64:ff9b:2::1", .reserved), ("fbff::", .reserved),
            ("fe00::", .reserved), ("::1:0:0:1", .reserved),
        ] as [(String, AddressRefusal)])
    func outsideGlobal(text: String, reason: AddressRefusal) throws {
        #expect(try Self.refusal(text) == reason)
    }

    @Test(
        "an IPv6 address that carries a refused IPv4 address is refused for it",
        arguments: [
            ("::ffff:127.0.0.1", .loopback), ("::ffff:10.1.2.3", .privateNetwork),
            ("::ffff:169.254.169.254", .metadata), ("::127.0.0.1", .loopback), ("::2", .unspecified),
            ("::192.168.0.1", .privateNetwork), ("64:ff9b::10.0.0.1", .privateNetwork),
            ("64:ff9b::169.254.169.254", .metadata), ("2002:7f00:1::", .loopback), ("2002:c0a8:1::1", .privateNetwork),
            ("2002:a9fe:a9fe::1", .metadata),
            // Teredo: the server 10.0.0.1 in the open; then the client 192.168.0.1 inverted.
            ("2001:0:a00:1::f7f7:f7f7", .privateNetwork), ("2001:0:808:808::3f57:fffe", .privateNetwork),
        ] as [(String, AddressRefusal)])
    func embedded(text: String, reason: AddressRefusal) throws {
        #expect(try Self.refusal(text) == reason)
    }

    @Test("Teredo with public server and client is allowed")
    func publicTeredo() throws {
        #expect(try Self.refusal("2001:0:808:808::f7f7:f7f7") == nil)
    }

    @Test(
        "metadata services are refused, whatever they look like",
        arguments: [
            "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254",
            "fd20:ce::254",
        ])
    func metadata(text: String) throws {
        #expect(try Self.refusal(text) == .metadata)
    }

    @Test("an exception opens its network only")
    func exception() throws {
        let policy = try Self.policy("127.0.0.0/8", "fd12:3456::/32")
        #expect(try Self.refusal("127.0.0.1", policy) == nil)
        #expect(try Self.refusal("::ffff:127.0.0.1", policy) == nil)
        #expect(try Self.refusal("fd12:3456::1", policy) == nil)
        #expect(try Self.refusal("::1", policy) == .loopback)
        #expect(try Self.refusal("10.0.0.1", policy) == .privateNetwork)
        #expect(try Self.refusal("fd12:3457::1", policy) == .privateNetwork)
    }

    @Test("a wide exception leaves metadata refused, one for its address alone opens it")
    func metadataException() throws {
        let wide = try Self.policy("169.254.0.0/16", "fc00::/7", "::/0")
        #expect(try Self.refusal("169.254.1.1", wide) == nil)
        #expect(try Self.refusal("169.254.169.254", wide) == .metadata)
        #expect(try Self.refusal("::ffff:169.254.169.254", wide) == .metadata)
        #expect(try Self.refusal("fd00:ec2::254", wide) == .metadata)
        let narrow = try Self.policy("169.254.169.254")
        #expect(try Self.refusal("169.254.169.254", narrow) == nil)
        #expect(try Self.refusal("169.254.169.253", narrow) == .linkLocal)
    }

    @Test(
        "networks that are mistyped are not taken",
        arguments: [
            "", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8", "10.0.0/8", "::/129", "fe80::1/10", "10.0.0.0/-1",
            "10.0.0.0/+8", "10.0.0.0/8/8", "fe80::%eth0/10", "localhost",
        ])
    func badNetworks(text: String) {
        #expect(IPNetwork(text) == nil)
    }

    @Test("networks read back as they were written", arguments: ["0.0.0.0/0", "10.0.0.0/8", "::/0", "fd00::/8"])
    func networks(text: String) {
        #expect(IPNetwork(text)?.description == text)
    }

    @Test(
        "loose forms of IPv4 are read as the C library reads them",
        arguments: [
            ("2130706433", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("0177.0.0.01", "127.0.0.1"),
            ("0x7F000001", "127.0.0.1"), ("10.258", "10.0.1.2"), ("1.2.3", "1.2.0.3"), ("0", "0.0.0.0"),
            ("4294967295", "255.255.255.255"), ("4294967296", nil), ("256.1", nil), ("1.2.3.256", nil),
            ("1.2.3.4.5", nil), ("1..2", nil), ("08.1", nil), ("0x", nil), ("", nil), ("+1", nil), ("1.-2", nil),
        ] as [(String, String?)])
    func looseIPv4(text: String, expected: String?) {
        #expect(IPAddress(looseIPv4: text)?.description == expected)
    }

    private static func policy(_ networks: String...) throws -> AddressPolicy {
        AddressPolicy(allowing: try networks.map { try #require(IPNetwork($0)) })
    }

    private static func refusal(_ text: String, _ policy: AddressPolicy = .publicOnly) throws -> AddressRefusal? {
        policy.refusal(of: try #require(IPAddress(text)))
    }
}

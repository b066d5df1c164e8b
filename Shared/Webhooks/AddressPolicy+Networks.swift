/// The tables behind the decision. Source: IANA's IPv4 and IPv6 Special-Purpose Address Registries, and the clouds'
/// own documentation for metadata.
extension AddressPolicy {
    /// A network and why nothing in it may be reached.
    struct Refused: Sendable {
        let network: IPNetwork
        let reason: AddressRefusal

        init(_ network: StaticString, _ reason: AddressRefusal) {
            self.network = AddressPolicy.network(network)
            self.reason = reason
        }
    }

    /// Services of clouds that give credentials, or command the host, to whoever can reach them.
    static let metadata: Set<IPAddress> = Set(
        [
            "169.254.169.254", "fd00:ec2::254",  // most clouds; Amazon over IPv6
            "169.254.170.2", "169.254.170.23", "fd00:ec2::23",  // Amazon's containers
            "fd20:ce::254",  // Google over IPv6
            "100.100.100.200",  // Alibaba
            "168.63.129.16",  // Azure: looks public, is the host
            "192.0.0.192",  // Oracle
        ].map { IPAddress($0)! })

    static let refusedIPv4: [Refused] = [
        Refused("0.0.0.0/8", .unspecified),
        Refused("10.0.0.0/8", .privateNetwork),
        Refused("100.64.0.0/10", .sharedAddressSpace),
        Refused("127.0.0.0/8", .loopback),
        Refused("169.254.0.0/16", .linkLocal),
        Refused("172.16.0.0/12", .privateNetwork),
        Refused("192.0.0.0/24", .reserved),
        Refused("192.0.2.0/24", .documentation),
        Refused("192.88.99.0/24", .reserved),  // was the anycast address of 6to4 relays
        Refused("192.168.0.0/16", .privateNetwork),
        Refused("198.18.0.0/15", .benchmark),
        Refused("198.51.100.0/24", .documentation),
        Refused("203.0.113.0/24", .documentation),
        Refused("224.0.0.0/4", .multicast),
        Refused("240.0.0.0/4", .reserved),  // with 255.255.255.255, broadcast
    ]

    /// What has a reason of its own. The rest outside 2000::/3 is refused as reserved.
    static let refusedIPv6: [Refused] = [
        Refused("::/128", .unspecified),
        Refused("::1/128", .loopback),
        // A network operator's own translation prefix (RFC 8215): how it embeds IPv4 can't be known from outside.
        Refused("64:ff9b:1::/48", .privateNetwork),
        Refused("2001:2::/48", .benchmark),
        Refused("2001:10::/28", .reserved),  // ORCHID
        Refused("2001:20::/28", .reserved),  // ORCHIDv2
        Refused("2001:db8::/32", .documentation),
        Refused("3fff::/20", .documentation),
        Refused("fc00::/7", .privateNetwork),
        Refused("fe80::/10", .linkLocal),
        Refused("fec0::/10", .privateNetwork),  // site-local, given up by RFC 3879 but still routed in places
        Refused("ff00::/8", .multicast),
    ]

    static let globalUnicast = network("2000::/3")
    static let compatible = network("::/96")
    static let mapped = network("::ffff:0:0/96")
    static let nat64 = network("64:ff9b::/96")
    static let sixToFour = network("2002::/16")
    static let teredo = network("2001::/32")

    private static func network(_ text: StaticString) -> IPNetwork { IPNetwork("\(text)")! }
}

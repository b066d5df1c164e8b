import Tenancy

/// Whose word counts when they say for whom they ask: the gateways before the service.
package struct TrustedProxies: Sendable {
    private let ranges: [AddressRange]

    /// Reads addresses and networks, separated by commas; nil when one of them is none.
    package init?(_ text: String) {
        var ranges: [AddressRange] = []
        for part in text.split(separator: ",") {
            guard let range = AddressRange(String(part.filter { $0 != " " })) else { return nil }
            ranges.append(range)
        }
        self.ranges = ranges
    }

    /// The caller's own address: the connection's, or, where that is a proxy of ours, the last one in `X-Forwarded-For`
    /// that is none. What a caller wrote there itself stands further left and is never reached.
    package func client(peer: String?, forwardedFor: String?) -> String? {
        guard let peer, isTrusted(peer), let forwardedFor else { return peer }
        var nearest = peer
        for part in forwardedFor.split(separator: ",").reversed() {
            let address = String(part.filter { $0 != " " })
            guard AddressRange(address) != nil else { return nearest }
            nearest = address
            if !isTrusted(address) { return address }
        }
        return nearest
    }

    private func isTrusted(_ address: String) -> Bool { ranges.contains { $0.contains(address) } }
}

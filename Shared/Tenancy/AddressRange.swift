import Foundation

/// An internet address or a network of them: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`.
package struct AddressRange: Sendable, Equatable, CustomStringConvertible {
    /// Four bytes, or sixteen.
    private let network: [UInt8]
    /// How many bits of an address must be the network's.
    private let bits: Int

    /// Reads the usual notation; nil for anything else. Bits beyond the prefix are let go of.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = Self.bytes(String(parts[0])) else { return nil }
        var bits = address.count * 8
        if parts.count == 2 {
            guard parts[1].utf8.count <= 3, parts[1].utf8.allSatisfy({ (48...57).contains($0) }),
                let given = Int(parts[1]), given <= bits
            else { return nil }
            bits = given
        }
        self.bits = bits
        network = Self.masked(address, bits)
    }

    /// True when `address` is one of these. An IPv4 address in IPv6's clothes counts as what it is.
    package func contains(_ address: String) -> Bool {
        guard let bytes = Self.bytes(address), bytes.count == network.count else { return false }
        return Self.masked(bytes, bits) == network
    }

    package var description: String {
        let text: String
        if network.count == 4 {
            text = network.map(String.init).joined(separator: ".")
        } else {
            text = stride(from: 0, to: 16, by: 2).map { index in
                String(UInt16(network[index]) << 8 | UInt16(network[index + 1]), radix: 16)
            }.joined(separator: ":")
        }
        return bits == network.count * 8 ? text : "\(text)/\(bits)"
    }

    private static func masked(_ bytes: [UInt8], _ bits: Int) -> [UInt8] {
        bytes.enumerated().map { index, byte in
            let kept = min(8, max(0, bits - index * 8))
            return kept == 8 ? byte : byte & ~(0xff >> UInt8(kept))
        }
    }

    private static func bytes(_ text: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: &four) { Array($0) } }
        var sixteen = in6_addr()
        guard inet_pton(AF_INET6, text, &sixteen) == 1 else { return nil }
        let bytes = withUnsafeBytes(of: &sixteen) { Array($0) }
        let isMapped = bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xff && bytes[11] == 0xff
        return isMapped ? Array(bytes.suffix(4)) : bytes
    }
}

/// A range of addresses that share their first bits (CIDR), such as `10.0.0.0/8` or `fc00::/7`.
package struct IPNetwork: Sendable, Hashable, CustomStringConvertible {
    /// The first address; the bits after `length` are zero.
    package let address: IPAddress
    /// How many bits the addresses share: 0…32 or 0…128.
    package let length: Int

    /// Reads `address/length`, or an address alone, which is a network of one.
    ///
    /// Nil when it is neither, or when bits after the length are set (`10.0.0.1/8`): that is more likely an error of
    /// typing than meant.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(parts[0]) else { return nil }
        let width =
            switch address {
            case .v4: 32
            case .v6: 128
            }
        var length = width
        if parts.count == 2 {
            guard parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let given = Int(parts[1]), given <= width
            else { return nil }
            length = given
        }
        self.address = address
        self.length = length
        if Self.first(address, length) != address { return nil }
    }

    /// Never true for an address of the other version.
    package func contains(_ other: IPAddress) -> Bool { Self.first(other, length) == address }

    /// True for a network of one address.
    var isSingle: Bool {
        switch address {
        case .v4: length == 32
        case .v6: length == 128
        }
    }

    package var description: String { "\(address)/\(length)" }

    /// The address with the bits after `length` cleared. Swift's shift by the whole width gives 0, as is right here.
    private static func first(_ address: IPAddress, _ length: Int) -> IPAddress {
        switch address {
        case .v4(let number): .v4(number & ~(UInt32.max >> UInt32(min(length, 32))))
        case .v6(let number): .v6(number & ~(UInt128.max >> UInt128(length)))
        }
    }
}

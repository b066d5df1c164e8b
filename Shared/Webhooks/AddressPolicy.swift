/// Decides whether a delivery may connect to an address, so that a tenant's URL can't reach into our own network.
///
/// Asked with the address that is about to be connected to, after name resolution: a name that resolves differently
/// the second time gains nothing. Whatever isn't known to be public is refused.
package struct AddressPolicy: Sendable {
    /// Only public addresses.
    package static let publicOnly = AddressPolicy()

    private let exceptions: [IPNetwork]

    /// - Parameter exceptions: networks that may be reached although they are not public, for tests and for receivers
    ///   on the same premises. A cloud's metadata address stays refused unless it is named alone: no wide exception
    ///   opens it by accident.
    package init(allowing exceptions: [IPNetwork] = []) {
        self.exceptions = exceptions
    }

    /// Nil when the address may be connected to, otherwise the reason why not.
    ///
    /// An IPv6 address that carries an IPv4 address (mapped, compatible, 6to4, NAT64, Teredo) is judged by that one
    /// too, because a translator or tunnel on our side would take the packets there.
    package func refusal(of address: IPAddress) -> AddressRefusal? {
        let embedded = Self.embeddedIPv4(in: address)
        if Self.metadata.contains(address) || embedded.contains(where: Self.metadata.contains) {
            return exceptions.contains { $0.isSingle && $0.contains(address) } ? nil : .metadata
        }
        if exceptions.contains(where: { $0.contains(address) }) { return nil }
        let table =
            switch address {
            case .v4: Self.refusedIPv4
            case .v6: Self.refusedIPv6
            }
        if let refused = table.first(where: { $0.network.contains(address) }) { return refused.reason }
        for inner in embedded {
            if let reason = refusal(of: inner) { return reason }
        }
        if case .v6 = address, embedded.isEmpty, !Self.globalUnicast.contains(address) { return .reserved }
        return nil
    }

    /// Every IPv4 address that packets to this address might end at.
    private static func embeddedIPv4(in address: IPAddress) -> [IPAddress] {
        guard case .v6(let number) = address else { return [] }
        let last = UInt32(truncatingIfNeeded: number)
        if mapped.contains(address) || compatible.contains(address) || nat64.contains(address) { return [.v4(last)] }
        if sixToFour.contains(address) { return [.v4(UInt32(truncatingIfNeeded: number >> 80))] }
        // Teredo (RFC 4380): the server in the open, the client with its bits inverted.
        if teredo.contains(address) { return [.v4(UInt32(truncatingIfNeeded: number >> 64)), .v4(~last)] }
        return []
    }
}

/// Why an address may not be connected to.
package enum AddressRefusal: String, Sendable {
    case unspecified
    case loopback
    case privateNetwork = "private_network"
    case sharedAddressSpace = "shared_address_space"
    case linkLocal = "link_local"
    case metadata
    case multicast
    case documentation
    case benchmark
    case reserved

    /// For people: goes after "The address is".
    package var text: String {
        switch self {
        case .unspecified: "unspecified"
        case .loopback: "of the machine itself"
        case .privateNetwork: "of a private network"
        case .sharedAddressSpace: "of a provider's shared address space"
        case .linkLocal: "of the local link"
        case .metadata: "of a cloud's metadata service"
        case .multicast: "for multicast"
        case .documentation: "reserved for documentation"
        case .benchmark: "reserved for benchmarks"
        case .reserved: "reserved"
        }
    }
}

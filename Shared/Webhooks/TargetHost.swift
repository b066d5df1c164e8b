import Foundation

/// The host of a URL in its one spelling: a name in lower case ASCII, or an address.
struct TargetHost {
    let name: String
    /// The address that the name is, when it is one, in whatever form it was written.
    let address: IPAddress?

    /// As a URL needs it.
    var bracketed: String {
        if case .v6 = address { "[\(name)]" } else { name }
    }

    /// - Parameter text: as in the URL, an IPv6 address in brackets.
    init(_ text: Substring) throws(WebhookTargetError) {
        if text.isEmpty { throw WebhookTargetError(code: .host, message: "The URL has no host.") }
        if text.hasPrefix("[") {
            guard text.hasSuffix("]"), case .v6(let number) = IPAddress(text.dropFirst().dropLast()) else {
                throw WebhookTargetError(code: .host, message: "The host in brackets is not an IPv6 address.")
            }
            address = .v6(number)
            name = IPAddress.v6(number).description
            return
        }
        var ascii = try Self.ascii(text)
        // A final dot only means that the name is complete; left in, it would make another host of the same name.
        if ascii.hasSuffix(".") { ascii.removeLast() }
        let labels = ascii.split(separator: ".", omittingEmptySubsequences: false)
        guard ascii.utf8.count <= 253, labels.allSatisfy(Self.isLabel) else {
            throw WebhookTargetError(code: .host, message: "The host is not a valid name.")
        }
        if Self.isNumber(labels[labels.count - 1]) {
            guard let number = IPAddress(looseIPv4: ascii) else {
                throw WebhookTargetError(code: .host, message: "The host is neither a name nor an IPv4 address.")
            }
            address = number
            name = number.description
        } else {
            address = nil
            name = ascii
        }
    }

    /// The name as the domain name system knows it. Foundation does the mapping of UTS 46 by itself; libcurl's depends
    /// on the process's locale and fails in the usual "C". It also turns full-width digits and dots into plain ones,
    /// so whether the host is an address must be asked afterwards.
    private static func ascii(_ text: Substring) throws(WebhookTargetError) -> String {
        if text.utf8.allSatisfy({ $0 < 0x80 }) { return text.lowercased() }
        guard !text.contains("%"), let host = URL(string: "https://\(text)/")?.host(percentEncoded: false),
            host.utf8.allSatisfy({ $0 < 0x80 })
        else {
            throw WebhookTargetError(
                code: .host, message: "The host is not a valid international name; its xn-- form may be given instead.")
        }
        return host.lowercased()
    }

    private static func isLabel(_ label: Substring) -> Bool {
        (1...63).contains(label.utf8.count) && !label.hasPrefix("-") && !label.hasSuffix("-")
            && label.utf8.allSatisfy { byte in
                switch byte {
                case 0x61...0x7a, 0x30...0x39, 0x2d, 0x5f: true
                default: false
                }
            }
    }

    /// True for a last label that makes programs read the whole host as an IPv4 address.
    private static func isNumber(_ label: Substring) -> Bool {
        label.utf8.allSatisfy { (0x30...0x39).contains($0) }
            || (label.hasPrefix("0x") && label.dropFirst(2).allSatisfy(\.isHexDigit))
    }
}

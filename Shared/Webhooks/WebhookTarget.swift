/// The URL of a subscription, checked: what is wrong with it is told when it is set, not by failing deliveries.
///
/// A name that leads to a private address passes here, since only the connection knows where it leads; `HTTPDelivery`
/// asks `AddressPolicy` then.
package struct WebhookTarget: Sendable, Hashable, CustomStringConvertible {
    /// The longest URL that is taken, in bytes of UTF-8.
    package static let maximumLength = 2_000

    /// In ASCII: an international name as `xn--…`, an odd form of IPv4 as dotted decimal, other characters of the path
    /// and query percent-encoded.
    package let url: String
    /// In lower case, without brackets or a final dot. Deliveries to the same host share its limit of connections.
    package let host: String
    let isSecure: Bool

    /// Checks `text`.
    ///
    /// - Parameters:
    ///   - allowsHTTP: takes `http` besides `https`; what is sent can then be read on its way.
    ///   - policy: refuses hosts that are addresses which may not be connected to.
    /// - Throws: the first fault, with a message for whoever typed the URL.
    package init(
        _ text: String, allowsHTTP: Bool = false, policy: AddressPolicy = .publicOnly
    ) throws(WebhookTargetError) {
        if text.utf8.count > Self.maximumLength {
            throw WebhookTargetError(code: .tooLong, message: "The URL is longer than 2,000 bytes.")
        }
        if let odd = text.unicodeScalars.first(where: Self.isForbidden) {
            let code = "U+" + String(odd.value, radix: 16, uppercase: true)
            throw WebhookTargetError(code: .malformed, message: "The URL contains a character (\(code)) that none may.")
        }
        if text.contains("#") {
            throw WebhookTargetError(code: .fragment, message: "The URL has a fragment (#…), which is never sent.")
        }
        let (scheme, rest) = try Self.scheme(of: text, allowsHTTP: allowsHTTP)
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let authority = rest[..<end]
        if authority.contains("@") {
            throw WebhookTargetError(
                code: .credentials, message: "The URL has a user or password, which would end in logs.")
        }
        let (name, port) = try Self.hostAndPort(authority)
        let host = try TargetHost(name)
        if let address = host.address, let reason = policy.refusal(of: address) {
            throw WebhookTargetError(
                code: .address, message: "Deliveries don't go there: the address is \(reason.text).")
        }
        self.host = host.name
        isSecure = scheme == "https"
        let path = rest[end...]
        url =
            "\(scheme)://\(host.bracketed)" + (port.map { ":\($0)" } ?? "") + (path.hasPrefix("/") ? "" : "/")
            + Self.encoded(path)
    }

    package var description: String { url }

    /// Control characters, the space, what RFC 3986 leaves no place for, and what isn't seen: such a URL is read in
    /// different ways by different programs.
    private static func isForbidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .spaceSeparator, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned: true
        default: "\"<>\\^`{|}".unicodeScalars.contains(scalar)
        }
    }

    private static func scheme(
        of text: String, allowsHTTP: Bool
    ) throws(WebhookTargetError) -> (String, Substring) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let scheme = parts[0].lowercased()
        guard scheme == "https" || (scheme == "http" && allowsHTTP) else {
            let expected = allowsHTTP ? "https:// or http://" : "https://"
            throw WebhookTargetError(code: .scheme, message: "The URL must start with \(expected).")
        }
        guard parts.count == 2, parts[1].hasPrefix("//") else {
            throw WebhookTargetError(code: .malformed, message: "The URL has no // after its scheme.")
        }
        return (scheme, parts[1].dropFirst(2))
    }

    /// Splits the authority. The host comes with its brackets.
    private static func hostAndPort(_ authority: Substring) throws(WebhookTargetError) -> (Substring, Int?) {
        let afterAddress = authority.hasPrefix("[") ? (authority.firstIndex(of: "]") ?? authority.startIndex) : nil
        guard let colon = authority[(afterAddress ?? authority.startIndex)...].firstIndex(of: ":") else {
            return (authority, nil)
        }
        let digits = authority[authority.index(after: colon)...]
        guard (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let port = Int(digits), (1...65_535).contains(port)
        else {
            throw WebhookTargetError(code: .port, message: "The port is not a number from 1 to 65535.")
        }
        return (authority[..<colon], port)
    }

    private static func encoded(_ path: Substring) -> String {
        var output = ""
        for byte in path.utf8 {
            if byte < 0x80 {
                output.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                output += "%" + String(byte, radix: 16, uppercase: true)
            }
        }
        return output
    }
}

/// What is wrong with the URL of a subscription.
package struct WebhookTargetError: Error, Sendable, CustomStringConvertible {
    /// Stable names of the faults.
    package enum Code: String, Sendable {
        case tooLong = "too_long"
        case malformed
        case scheme
        case credentials
        case host
        case port
        case fragment
        case address
    }

    package let code: Code
    /// For whoever typed the URL.
    package let message: String

    package var description: String { "webhook target: \(message)" }
}

/// One attempt to deliver: where to, and what.
package struct DeliveryRequest: Sendable {
    package let target: WebhookTarget
    package let body: [UInt8]
    package let headers: [DeliveryHeader]

    /// A request with these headers and, unless one of them says otherwise, `Content-Type: application/json`.
    ///
    /// Throws when a header could change how the request is framed or read: a name that isn't a token, a line break in
    /// a value, or a header that is the client's own business (`Host`, `Content-Length`, `User-Agent` and the like).
    package init(
        target: WebhookTarget, body: [UInt8], headers: [DeliveryHeader] = []
    ) throws(DeliveryHeaderError) {
        for header in headers { try header.check() }
        let hasType = headers.contains { $0.name.lowercased() == "content-type" }
        self.target = target
        self.body = body
        self.headers = hasType ? headers : [DeliveryHeader("Content-Type", "application/json")] + headers
    }
}

/// A header field of a request.
package struct DeliveryHeader: Sendable, Hashable {
    package let name: String
    package let value: String

    /// Takes anything; `DeliveryRequest` refuses what may not be sent.
    package init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }

    /// Those which the client or libcurl sets, or which would change what the connection does.
    private static let reserved: Set<String> = [
        "connection", "content-length", "cookie", "expect", "host", "keep-alive", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent",
    ]

    func check() throws(DeliveryHeaderError) {
        guard !name.isEmpty, name.utf8.allSatisfy(Self.isToken) else {
            throw DeliveryHeaderError(message: "A header's name may hold only letters, digits and !#$%&'*+-.^_`|~.")
        }
        if Self.reserved.contains(name.lowercased()) {
            throw DeliveryHeaderError(message: "The header \(name) can't be set.")
        }
        guard value.utf8.allSatisfy({ $0 == 0x09 || ($0 >= 0x20 && $0 != 0x7f) }) else {
            throw DeliveryHeaderError(message: "The value of the header \(name) has a control character.")
        }
    }

    /// As libcurl wants it: it takes a name with a colon and nothing after it as an order to leave the header out.
    var line: String { value.allSatisfy(\.isWhitespace) ? "\(name);" : "\(name): \(value)" }

    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x61...0x7a, 0x41...0x5a, 0x30...0x39: true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}

/// A header that may not be sent.
package struct DeliveryHeaderError: Error, Sendable, CustomStringConvertible {
    /// For whoever configured the header; doesn't repeat its value, which may be a secret.
    package let message: String

    package var description: String { "webhook header: \(message)" }
}

/// How one attempt ended. What to do about it is `DeliveryVerdict`'s.
package struct DeliveryOutcome: Sendable {
    package let result: Result<DeliveryAnswer, DeliveryFailure>
    /// From the start of the connection, without the time that the request waited for its turn in the client.
    package let duration: Duration
    /// The address that was connected to, or tried last, without port. For operators' logs: a tenant could learn
    /// from it what names mean inside our network. Nil when it didn't come so far.
    package let remoteAddress: String?

    /// An outcome as given; the client makes them, and tests of what follows from them.
    package init(
        result: Result<DeliveryAnswer, DeliveryFailure>, duration: Duration = .zero, remoteAddress: String? = nil
    ) {
        self.result = result
        self.duration = duration
        self.remoteAddress = remoteAddress
    }
}

/// What a receiver answered, whether it liked the delivery or not.
package struct DeliveryAnswer: Sendable, Equatable {
    /// 200…999.
    package let status: Int
    /// The first 4,096 bytes at most, as text that a database takes: what isn't UTF-8, and NUL, is U+FFFD.
    package let body: String
    /// False when there was more than was read, or it didn't come in time.
    package let isBodyComplete: Bool
    /// Where a redirect points to, at most 2,000 characters; it is never followed.
    package let location: String?
    /// The field `Retry-After` as it came, at most 2,000 characters.
    package let retryAfter: String?

    /// An answer as given, without further checks.
    package init(
        status: Int, body: String = "", isBodyComplete: Bool = true, location: String? = nil,
        retryAfter: String? = nil
    ) {
        self.status = status
        self.body = body
        self.isBodyComplete = isBodyComplete
        self.location = location
        self.retryAfter = retryAfter
    }
}

/// Why an attempt delivered nothing.
package struct DeliveryFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// Stable names of the reasons, for logs and the API.
    package enum Code: String, Sendable {
        /// Every address of the host is one that deliveries may not go to.
        case addressRefused = "address_refused"
        /// No connection, or no byte of an answer, in time.
        case timeout
        /// Nobody listens there.
        case connectionRefused = "connection_refused"
        /// The name could not be resolved.
        case dns
        /// No encrypted connection, or a certificate that isn't valid for the host.
        case tls
        /// An answer began but its status and header fields weren't complete in time.
        case tooSlow = "too_slow"
        /// The task was cancelled, or the client closed. The receiver may have got the request.
        case cancelled
        /// The receiver answered with a redirect.
        case redirect
        /// The receiver answered with another status than success.
        case status
        case other
    }

    package let code: Code
    /// For people, without secrets.
    package let message: String

    /// A failure as given.
    package init(code: Code, message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { "webhook delivery: \(message)" }
}

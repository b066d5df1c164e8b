/// The three headers by which a receiver knows that a delivery is ours, whole, and recent.
///
/// Source: Standard Webhooks 1.0.0 (standardwebhooks.com), symmetric scheme `v1`: HMAC-SHA256 over
/// `id.timestamp.body`, in base64.
package struct WebhookSignature: Sendable, Equatable {
    /// The same for every attempt of one delivery, so that the receiver can recognise a repetition.
    package let id: String
    /// Unix seconds of this attempt, not of the event: receivers refuse old ones.
    package let timestamp: Int
    /// One signature per secret, separated by spaces.
    package let value: String

    /// Signs `body`, which must be sent byte for byte as it was signed.
    ///
    /// - Parameters:
    ///   - id: 1 to 256 visible ASCII characters without a full stop, which would let one signed text be read in two
    ///     ways. Throws `.invalidID` otherwise.
    ///   - timestamp: Unix seconds, not negative; throws `.invalidTimestamp` otherwise.
    ///   - secrets: at least one. While a secret is being replaced both are given, the new one first, and a receiver
    ///     that knows either accepts the delivery. Throws `.invalidSecret` when there is none.
    package init(
        id: String, timestamp: Int, body: [UInt8], secrets: [WebhookSecret]
    ) throws(WebhookSignatureError) {
        guard (1...256).contains(id.utf8.count), id.utf8.allSatisfy({ (0x21...0x7e).contains($0) && $0 != 0x2e })
        else {
            throw WebhookSignatureError(
                code: .invalidID, message: "An id is 1 to 256 visible ASCII characters without a full stop.")
        }
        guard timestamp >= 0 else {
            throw WebhookSignatureError(code: .invalidTimestamp, message: "The timestamp is before 1970.")
        }
        guard !secrets.isEmpty else {
            throw WebhookSignatureError(code: .invalidSecret, message: "There is no secret to sign with.")
        }
        self.id = id
        self.timestamp = timestamp
        value = secrets.map { secret in
            "v1," + Base64.text(Self.code(id: id, timestamp: String(timestamp), body: body, secret: secret))
        }.joined(separator: " ")
    }

    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`, ready to be sent.
    package var headers: [DeliveryHeader] {
        [
            DeliveryHeader("webhook-id", id),
            DeliveryHeader("webhook-timestamp", String(timestamp)),
            DeliveryHeader("webhook-signature", value),
        ]
    }

    /// What a receiver does: returns when one of the signatures in the header was made with one of `secrets`.
    ///
    /// Signatures of other versions are passed over, as the specification asks.
    ///
    /// - Parameters:
    ///   - timestamp, signature: the headers' values as received.
    ///   - now: Unix seconds.
    ///   - tolerance: seconds that the timestamp may differ from `now`, in either direction.
    /// - Throws: `.invalidTimestamp` when it isn't a number, `.tooOld`, `.tooNew`, or `.noMatch`.
    package static func verify(
        id: String, timestamp: String, signature: String, body: [UInt8], secrets: [WebhookSecret], now: Int,
        tolerance: Int = 300
    ) throws(WebhookSignatureError) {
        guard let sent = Int(timestamp), sent >= 0 else {
            throw WebhookSignatureError(code: .invalidTimestamp, message: "The timestamp is not a number of seconds.")
        }
        if sent < now - tolerance {
            throw WebhookSignatureError(code: .tooOld, message: "The timestamp is too long ago.")
        }
        if sent > now + tolerance {
            throw WebhookSignatureError(code: .tooNew, message: "The timestamp is in the future.")
        }
        let expected = secrets.map { code(id: id, timestamp: timestamp, body: body, secret: $0) }
        for part in signature.split(separator: " ") where part.hasPrefix("v1,") {
            guard let given = Base64.bytes(part.dropFirst(3)) else { continue }
            if expected.contains(where: { HMAC.isEqual($0, given) }) { return }
        }
        throw WebhookSignatureError(code: .noMatch, message: "No signature matches.")
    }

    private static func code(id: String, timestamp: String, body: [UInt8], secret: WebhookSecret) -> [UInt8] {
        HMAC.sha256([Array("\(id).\(timestamp).".utf8), body], key: secret.bytes)
    }
}

/// Why something could not be signed, or was not accepted as signed.
package struct WebhookSignatureError: Error, Sendable, CustomStringConvertible {
    /// Stable names of the reasons.
    package enum Code: String, Sendable {
        case invalidSecret = "invalid_secret"
        case invalidID = "invalid_id"
        case invalidTimestamp = "invalid_timestamp"
        case tooOld = "too_old"
        case tooNew = "too_new"
        case noMatch = "no_match"
    }

    package let code: Code
    /// For people; holds no secret.
    package let message: String

    package var description: String { "webhook signature: \(message)" }
}

import CSodium

/// The key that a subscription's deliveries are signed with. Whoever has it can forge them, so its text is shown once
/// to its owner and stored encrypted; printing or logging the value shows nothing of it.
package struct WebhookSecret: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    private static let prefix = "whsec_"
    /// libsodium must be initialised once before its random numbers are used; a static does that safely.
    private static let isReady = sodium_init() >= 0

    let bytes: [UInt8]

    /// A new secret of 32 random bytes.
    package static func random() -> WebhookSecret {
        precondition(isReady, "libsodium could not be initialised")
        var bytes = [UInt8](repeating: 0, count: 32)
        randombytes_buf(&bytes, bytes.count)
        return WebhookSecret(bytes: bytes)
    }

    /// Reads what `text` gives: `whsec_` and the base64 of 24 to 64 bytes.
    ///
    /// Throws `.invalidSecret` for anything else; the message doesn't repeat what was given.
    package init(_ text: String) throws(WebhookSignatureError) {
        guard text.hasPrefix(Self.prefix), let bytes = Base64.bytes(text.dropFirst(Self.prefix.count)),
            (24...64).contains(bytes.count)
        else {
            throw WebhookSignatureError(
                code: .invalidSecret, message: "A secret is whsec_ and the base64 of 24 to 64 bytes.")
        }
        self.bytes = bytes
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// The secret itself, `whsec_…`, for its owner and for encrypted storage.
    package var text: String { Self.prefix + Base64.text(bytes) }

    /// Hides the secret, so that a log line that mentions it by mistake gives nothing away.
    package var description: String { "whsec_(hidden)" }

    /// Hides the secret from `dump` and from failed expectations of tests.
    package var customMirror: Mirror { Mirror(self, children: []) }

    /// True when both are the same secret, in a time that tells nothing of where they differ.
    package static func == (left: WebhookSecret, right: WebhookSecret) -> Bool {
        HMAC.isEqual(left.bytes, right.bytes)
    }
}

import CSodium

/// Seals the secrets of one-time codes with a key that the database does not have: whoever reads its tables, or a copy of
/// them, can't make codes.
package struct SecretVault: Sendable {
    private let key: [UInt8]
    /// What the key is derived for, from the secret that all processes share.
    package static let purpose = "one-time codes"

    /// With a key of 32 bytes, the same in every process.
    package init(key: [UInt8]) {
        precondition(key.count == Int(crypto_aead_xchacha20poly1305_ietf_KEYBYTES))
        self.key = key
    }

    /// With the key that follows for one purpose from the `secret` all processes share.
    package init(secret: [UInt8], purpose: String) { self.init(key: Sodium.hash(Array(purpose.utf8), key: secret)) }

    /// XChaCha20-Poly1305 under a random nonce, which stands before it. `owner` is bound in: put in another's place it
    /// does not open.
    package func seal(_ secret: [UInt8], for owner: String) -> [UInt8] {
        let nonce = Sodium.random(Int(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES))
        let context = Array(owner.utf8)
        var sealed = [UInt8](repeating: 0, count: secret.count + Int(crypto_aead_xchacha20poly1305_ietf_ABYTES))
        crypto_aead_xchacha20poly1305_ietf_encrypt(
            &sealed, nil, secret, UInt64(secret.count), context, UInt64(context.count), nil, nonce, key)
        return nonce + sealed
    }

    /// What was sealed; nil under another key, for another owner, or when a bit of it was changed.
    package func open(_ sealed: [UInt8], for owner: String) -> [UInt8]? {
        let nonceLength = Int(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
        let overhead = Int(crypto_aead_xchacha20poly1305_ietf_ABYTES)
        guard sealed.count >= nonceLength + overhead else { return nil }
        let context = Array(owner.utf8)
        let box = Array(sealed.dropFirst(nonceLength))
        var secret = [UInt8](repeating: 0, count: box.count - overhead)
        let status = crypto_aead_xchacha20poly1305_ietf_decrypt(
            &secret, nil, nil, box, UInt64(box.count), context, UInt64(context.count),
            Array(sealed.prefix(nonceLength)),
            key)
        return status == 0 ? secret : nil
    }
}

/// A code for the day when the phone is gone: 80 random bits, good once. Only its hash is stored.
package struct RecoveryCode: Sendable {
    /// Crockford's base 32: without letters that look like digits.
    private static let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz")
    private let symbols: String

    /// A fresh code.
    package static func make() -> RecoveryCode {
        // 32 divides 256: every symbol is as likely.
        RecoveryCode(symbols: String(Sodium.random(16).map { alphabet[Int($0 & 31)] }))
    }

    /// Reads a code as people type it: capitals, spaces, hyphens, and an o for a zero do no harm.
    package init?(_ text: String) {
        var symbols = ""
        for character in text.lowercased() where character != "-" && character != " " {
            switch character {
            case "o": symbols.append("0")
            case "i", "l": symbols.append("1")
            case _ where Self.alphabet.contains(character): symbols.append(character)
            default: return nil
            }
        }
        guard symbols.count == 16 else { return nil }
        self.symbols = symbols
    }

    private init(symbols: String) { self.symbols = symbols }

    /// As it is shown, once: `4k2m-…`.
    package var text: String {
        stride(from: 0, to: 16, by: 4).map { String(symbols.dropFirst($0).prefix(4)) }.joined(separator: "-")
    }

    /// What the database keeps: the code is random enough for a fast hash.
    package var hash: [UInt8] { Sodium.hash(Array(symbols.utf8)) }
}

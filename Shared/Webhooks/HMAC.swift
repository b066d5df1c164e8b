import CSodium

/// HMAC-SHA256 (RFC 2104) from libsodium.
enum HMAC {
    /// The authentication code of the `parts` one after the other, 32 bytes. A key may have any length.
    static func sha256(_ parts: [[UInt8]], key: [UInt8]) -> [UInt8] {
        var state = crypto_auth_hmacsha256_state()
        var code = [UInt8](repeating: 0, count: Int(crypto_auth_hmacsha256_BYTES))
        crypto_auth_hmacsha256_init(&state, key, key.count)
        for part in parts { crypto_auth_hmacsha256_update(&state, part, UInt64(part.count)) }
        crypto_auth_hmacsha256_final(&state, &code)
        return code
    }

    /// True when both are the same bytes, in a time that tells nothing of where they differ.
    static func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.count == right.count && sodium_memcmp(left, right, left.count) == 0
    }
}

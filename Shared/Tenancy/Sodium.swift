import CSodium

/// The few operations of libsodium that keys, passwords and signatures need.
package enum Sodium {
    /// libsodium must be initialised once before use; a static does that safely from any thread.
    private static let isReady: Bool = sodium_init() >= 0

    /// Initialises the library where that has not happened yet.
    static func ready() { precondition(isReady, "libsodium could not be initialised") }

    /// `count` bytes from the system's random source.
    package static func random(_ count: Int) -> [UInt8] {
        ready()
        var bytes = [UInt8](repeating: 0, count: count)
        randombytes_buf(&bytes, count)
        return bytes
    }

    /// BLAKE2b of `message`, 32 bytes; with a `key` (16 to 64 bytes) a message authentication code.
    package static func hash(_ message: [UInt8], key: [UInt8] = []) -> [UInt8] {
        ready()
        var digest = [UInt8](repeating: 0, count: 32)
        crypto_generichash(&digest, 32, message, UInt64(message.count), key.isEmpty ? nil : key, key.count)
        return digest
    }

    /// True when both are the same bytes, in a time that tells nothing of where they differ.
    package static func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.count == right.count && sodium_memcmp(left, right, left.count) == 0
    }

    /// An Argon2id hash with its salt and parameters in it: 19 MiB and two passes, as OWASP's password storage cheat
    /// sheet recommends. Takes some tens of milliseconds: call it off the request's hot path only.
    package static func passwordHash(_ password: String) -> String? {
        ready()
        var output = [CChar](repeating: 0, count: Int(crypto_pwhash_STRBYTES))
        let bytes = Array(password.utf8.map { CChar(bitPattern: $0) })
        guard crypto_pwhash_str(&output, bytes, UInt64(bytes.count), 2, 19 * 1024 * 1024) == 0 else { return nil }
        return String(decoding: output.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// True when `password` is the one that `hash` was made from.
    package static func verify(password: String, hash: String) -> Bool {
        ready()
        let bytes = Array(password.utf8.map { CChar(bitPattern: $0) })
        return crypto_pwhash_str_verify(hash, bytes, UInt64(bytes.count)) == 0
    }

    /// The Ed25519 signature of `message` by the key that follows from `seed` (32 bytes), and the public key that
    /// verifies it (RFC 8032).
    package static func signature(of message: [UInt8], seed: [UInt8]) -> (signature: [UInt8], publicKey: [UInt8]) {
        ready()
        precondition(seed.count == Int(crypto_sign_SEEDBYTES), "a seed has 32 bytes")
        var publicKey = [UInt8](repeating: 0, count: Int(crypto_sign_PUBLICKEYBYTES))
        var secretKey = [UInt8](repeating: 0, count: Int(crypto_sign_SECRETKEYBYTES))
        crypto_sign_seed_keypair(&publicKey, &secretKey, seed)
        var signature = [UInt8](repeating: 0, count: Int(crypto_sign_BYTES))
        crypto_sign_detached(&signature, nil, message, UInt64(message.count), secretKey)
        return (signature, publicKey)
    }

    /// True when `signature` is that of `message` by the holder of `publicKey`; false for keys and signatures of any
    /// other length too.
    package static func isSignature(_ signature: [UInt8], of message: [UInt8], by publicKey: [UInt8]) -> Bool {
        ready()
        guard signature.count == Int(crypto_sign_BYTES), publicKey.count == Int(crypto_sign_PUBLICKEYBYTES) else {
            return false
        }
        return crypto_sign_verify_detached(signature, message, UInt64(message.count), publicKey) == 0
    }

    /// Base64 for URLs, without padding.
    package static func base64(_ bytes: [UInt8]) -> String {
        ready()
        let variant = Int32(sodium_base64_VARIANT_URLSAFE_NO_PADDING)
        var output = [CChar](repeating: 0, count: sodium_base64_encoded_len(bytes.count, variant))
        sodium_bin2base64(&output, output.count, bytes, bytes.count, variant)
        return String(decoding: output.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Reads what `base64` wrote; nil for anything else.
    package static func bytes(base64 text: String) -> [UInt8]? {
        ready()
        let input = text.utf8.map { CChar(bitPattern: $0) }
        var output = [UInt8](repeating: 0, count: input.count + 1)
        var length = 0
        var end: UnsafePointer<CChar>?
        let status = input.withUnsafeBufferPointer { buffer -> Int32 in
            guard let base = buffer.baseAddress else { return 0 }
            let status = sodium_base642bin(
                &output, output.count, base, buffer.count, nil, &length, &end,
                Int32(sodium_base64_VARIANT_URLSAFE_NO_PADDING))
            return end == base + buffer.count ? status : -1
        }
        return status == 0 ? Array(output.prefix(length)) : nil
    }
}

/// SHA-256 of a stream, piece by piece.
package struct SHA256Stream {
    private var state = crypto_hash_sha256_state()

    package init() { _ = crypto_hash_sha256_init(&state) }

    /// Takes the next piece.
    package mutating func update(_ bytes: some Collection<UInt8>) {
        let done: Void? = bytes.withContiguousStorageIfAvailable { buffer in
            _ = crypto_hash_sha256_update(&state, buffer.baseAddress, UInt64(buffer.count))
        }
        if done == nil { update(Array(bytes)) }
    }

    /// The digest in hexadecimal; the stream is at its end.
    package mutating func finish() -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        _ = crypto_hash_sha256_final(&state, &digest)
        return digest.hexadecimal
    }
}

extension [UInt8] {
    /// Two small digits for each byte.
    package var hexadecimal: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}

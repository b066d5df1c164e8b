/// Codes that an authenticator app shows: RFC 6238 over HMAC-SHA-1, steps of 30 seconds, six digits, which is what all
/// such apps understand.
package struct OneTimeCode: Sendable {
    /// Shared with the app; at least 16 bytes, as RFC 4226 section 4 asks.
    package let secret: [UInt8]
    private static let stepSeconds: Int64 = 30

    package init(secret: [UInt8]) { self.secret = secret }

    /// A fresh secret of 160 bits, the length of the hash.
    package static func make() -> OneTimeCode { OneTimeCode(secret: Sodium.random(20)) }

    /// The step that a time lies in.
    package static func step(at unixSeconds: Int64) -> Int64 { unixSeconds / stepSeconds }

    /// The code of a step: RFC 4226, section 5.3.
    package func code(step: Int64, digits: Int = 6) -> String {
        let counter = (0..<8).map { UInt8(truncatingIfNeeded: step >> (56 - 8 * $0)) }
        let mac = SHA1.authenticationCode(of: counter, key: secret)
        let offset = Int(mac[19] & 15)
        let number = mac[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } & 0x7fff_ffff
        let modulus = (0..<digits).reduce(UInt32(1)) { power, _ in power * 10 }
        let text = String(number % modulus)
        return String(repeating: "0", count: digits - text.count) + text
    }

    /// The step whose code this is: the present one, or one to either side, for clocks that differ. Nil for a wrong code.
    /// Steps up to `after` were used before and count no more, so that a code that was overheard is of no use.
    package func step(of code: String, at unixSeconds: Int64, after: Int64 = -1) -> Int64? {
        let now = Self.step(at: unixSeconds)
        var found: Int64?
        // All are compared, in a time that tells nothing of which.
        for step in [now - 1, now, now + 1] where step >= 0 {
            let isEqual = Sodium.isEqual(Array(self.code(step: step).utf8), Array(code.utf8))
            if isEqual && step > after { found = step }
        }
        return found
    }

    /// The secret as people type it: base 32 of RFC 4648, without padding.
    package var text: String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        var text = ""
        var buffer: UInt32 = 0
        var bits = 0
        for byte in secret {
            buffer = buffer << 8 | UInt32(byte)
            bits += 8
            while bits >= 5 {
                bits -= 5
                text.append(alphabet[Int(buffer >> UInt32(bits) & 31)])
            }
        }
        if bits > 0 { text.append(alphabet[Int(buffer << UInt32(5 - bits) & 31)]) }
        return text
    }

    /// What an app reads from a QR code: the key URI format of Google Authenticator.
    package func uri(issuer: String, account: String) -> String {
        func escaped(_ text: String) -> String {
            text.utf8.reduce(into: "") { result, byte in
                switch byte {
                case 48...57, 65...90, 97...122, 45, 46, 95, 126: result.append(Character(UnicodeScalar(byte)))
                default:
                    let digits = String(byte, radix: 16, uppercase: true)
                    result += "%" + (digits.count == 1 ? "0" : "") + digits
                }
            }
        }
        return "otpauth://totp/\(escaped(issuer)):\(escaped(account))?secret=\(text)&issuer=\(escaped(issuer))"
            + "&algorithm=SHA1&digits=6&period=30"
    }
}

/// SHA-1 (FIPS 180-4) with HMAC (RFC 2104), for one-time codes alone: libsodium leaves it out, rightly, and HMAC does not
/// need the property that SHA-1 has lost.
enum SHA1 {
    /// HMAC-SHA-1, 20 bytes.
    static func authenticationCode(of message: [UInt8], key: [UInt8]) -> [UInt8] {
        var key = key.count > 64 ? hash(key) : key
        key += [UInt8](repeating: 0, count: 64 - key.count)
        return hash(key.map { $0 ^ 0x5c } + hash(key.map { $0 ^ 0x36 } + message))
    }

    /// The digest, 20 bytes.
    static func hash(_ message: [UInt8]) -> [UInt8] {
        var padded = message + [0x80]
        padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
        let bits = UInt64(message.count) * 8
        padded += (0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * UInt64($0))) }
        var state: [UInt32] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]
        for start in stride(from: 0, to: padded.count, by: 64) { compress(padded[start..<start + 64], &state) }
        return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * UInt32($0))) } }
    }

    private static func compress(_ block: ArraySlice<UInt8>, _ state: inout [UInt32]) {
        var words = stride(from: block.startIndex, to: block.endIndex, by: 4).map { index in
            block[index..<index + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        }
        for index in 16..<80 {
            words.append(rotated(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1))
        }
        var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
        for (index, word) in words.enumerated() {
            let (f, constant): (UInt32, UInt32) =
                switch index {
                case 0..<20: (b & c | ~b & d, 0x5a82_7999)
                case 20..<40: (b ^ c ^ d, 0x6ed9_eba1)
                case 40..<60: (b & c | b & d | c & d, 0x8f1b_bcdc)
                default: (b ^ c ^ d, 0xca62_c1d6)
                }
            (a, b, c, d, e) = (rotated(a, 5) &+ f &+ e &+ constant &+ word, a, rotated(b, 30), c, d)
        }
        for (index, value) in [a, b, c, d, e].enumerated() { state[index] = state[index] &+ value }
    }

    private static func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
}

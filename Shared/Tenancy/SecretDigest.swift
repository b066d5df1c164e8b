import CSodium

/// A secret as this process may remember it: a digest keyed anew in each process, so that what lies in its memory opens
/// nothing anywhere.
struct SecretDigest: Hashable, Sendable {
    private let words: (UInt64, UInt64, UInt64, UInt64)
    private static let key = Sodium.random(32)

    init(_ secret: Substring) {
        var secret = secret
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        secret.withUTF8 { bytes in
            withUnsafeMutableBytes(of: &words) { out in
                _ = crypto_generichash(
                    out.baseAddress!, 32, bytes.baseAddress, UInt64(bytes.count), Self.key, Self.key.count)
            }
        }
        self.words = words
    }

    static func == (left: SecretDigest, right: SecretDigest) -> Bool { left.words == right.words }

    func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

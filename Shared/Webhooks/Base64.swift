import CSodium

/// Base64 with padding (RFC 4648 section 4), in a time that does not depend on the content: it carries secrets.
enum Base64 {
    private static let variant = Int32(sodium_base64_VARIANT_ORIGINAL)

    static func text(_ bytes: [UInt8]) -> String {
        var output = [CChar](repeating: 0, count: sodium_base64_encoded_len(bytes.count, variant))
        sodium_bin2base64(&output, output.count, bytes, bytes.count, variant)
        return String(decoding: output.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Nil for anything but complete base64: no white space, no missing padding.
    static func bytes(_ text: some StringProtocol) -> [UInt8]? {
        let input = text.utf8.map { CChar(bitPattern: $0) }
        if input.isEmpty { return [] }
        var output = [UInt8](repeating: 0, count: input.count)
        var length = 0
        // Without a place for the end, libsodium refuses input that it did not read to the end.
        let status = sodium_base642bin(&output, output.count, input, input.count, nil, &length, nil, variant)
        return status == 0 ? Array(output.prefix(length)) : nil
    }
}

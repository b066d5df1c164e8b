/// The names of properties, parameters and groups: letters, digits and `-` (RFC 6350 §3.3), and `_`, which some
/// programs write.
enum Token {
    static func isToken(_ text: String) -> Bool { !text.isEmpty && text.utf8.allSatisfy(isTokenByte) }

    /// Upper case, with `-` for what no name may hold.
    static func made(of text: String) -> String {
        let bytes = text.utf8.map { isTokenByte($0) ? upper($0) : UInt8(ascii: "-") }
        return bytes.isEmpty ? "X-" : String(decoding: bytes, as: UTF8.self)
    }

    @inline(__always)
    static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    @inline(__always)
    static func upper(_ byte: UInt8) -> UInt8 {
        byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") ? byte - 32 : byte
    }
}

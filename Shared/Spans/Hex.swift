/// Hexadecimal digits in place: ids are written and read for every request, and strings of them would each be
/// allocated.
enum Hex {
    /// Writes the 16 lower-case digits of `value` from `offset` on.
    static func write(_ value: UInt64, to digits: UnsafeMutableBufferPointer<UInt8>, at offset: Int) {
        for place in 0..<16 { digits[offset + place] = digit(of: value, at: place) }
    }

    /// Appends the 16 lower-case digits of `value`.
    static func append(_ value: UInt64, to bytes: inout [UInt8]) {
        for place in 0..<16 { bytes.append(digit(of: value, at: place)) }
    }

    /// The number in the `count` digits from `offset` on, at most 16. Nil unless all are digits, in lower case.
    static func read(_ text: UnsafeBufferPointer<UInt8>, at offset: Int, count: Int) -> UInt64? {
        var value: UInt64 = 0
        for byte in text[offset..<offset + count] {
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt64(byte - 0x30)
            case 0x61...0x66: value = value << 4 | UInt64(byte - 0x61 + 10)
            default: return nil
            }
        }
        return value
    }

    private static func digit(of value: UInt64, at place: Int) -> UInt8 {
        digit(UInt8(truncatingIfNeeded: value >> (60 - 4 * place)) & 15)
    }

    /// One lower-case digit for 0 to 15.
    static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x61 + value - 10 }
}

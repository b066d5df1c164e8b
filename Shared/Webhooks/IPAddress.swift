#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// An address of the Internet Protocol, without port or zone. An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is
/// another value than the IPv4 address; `AddressPolicy` is who treats them alike.
package enum IPAddress: Sendable, Hashable {
    /// In host order: 1.2.3.4 is 0x01020304.
    case v4(UInt32)
    /// In host order: ::1 is 1.
    case v6(UInt128)

    /// Reads the usual notation, nothing looser: four decimal numbers without leading zeros, or RFC 4291 without zone
    /// and brackets. Nil for anything else.
    package init?(_ text: some StringProtocol) {
        let text = String(text)
        if text.utf8.contains(0) { return nil }
        var four = in_addr()
        var six = in6_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            self = .v4(UInt32(bigEndian: four.s_addr))
        } else if inet_pton(AF_INET6, text, &six) == 1 {
            self = .v6(Self.number(six))
        } else {
            return nil
        }
    }

    /// Reads the forms of IPv4 that the C library and browsers also take: one to four numbers, each decimal, octal
    /// (`0…`) or hexadecimal (`0x…`), the last one filling the bytes that remain (`0x7f.1` is 127.0.0.1).
    package init?(looseIPv4 text: some StringProtocol) {
        let parts = String(text).split(separator: ".", omittingEmptySubsequences: false)
        guard (1...4).contains(parts.count) else { return nil }
        var value: UInt64 = 0
        for part in parts.dropLast() {
            guard let number = Self.looseNumber(part), number <= 255 else { return nil }
            value = value << 8 | number
        }
        let remaining = UInt64(8 * (5 - parts.count))
        guard let last = Self.looseNumber(parts[parts.count - 1]), last < 1 << remaining else { return nil }
        self = .v4(UInt32(value << remaining | last))
    }

    /// Reads a socket address in place; nil for families other than IPv4 and IPv6.
    init?(socketAddress pointer: UnsafeRawPointer, family: Int32) {
        switch family {
        case AF_INET:
            self = .v4(UInt32(bigEndian: pointer.loadUnaligned(as: sockaddr_in.self).sin_addr.s_addr))
        case AF_INET6:
            self = .v6(Self.number(pointer.loadUnaligned(as: sockaddr_in6.self).sin6_addr))
        default:
            return nil
        }
    }

    private static func number(_ address: in6_addr) -> UInt128 {
        withUnsafeBytes(of: address) { UInt128(bigEndian: $0.loadUnaligned(as: UInt128.self)) }
    }

    /// At most 32 bits' worth, so that shifting it never overflows.
    private static func looseNumber(_ text: Substring) -> UInt64? {
        let digits: Substring
        let radix: Int
        if text.hasPrefix("0x") || text.hasPrefix("0X") {
            (digits, radix) = (text.dropFirst(2), 16)
        } else if text.count > 1 && text.hasPrefix("0") {
            (digits, radix) = (text.dropFirst(), 8)
        } else {
            (digits, radix) = (text, 10)
        }
        // The initialiser of UInt64 would take a sign.
        guard digits.utf8.allSatisfy({ $0 != 0x2b && $0 != 0x2d }), let number = UInt64(digits, radix: radix),
            number <= UInt64(UInt32.max)
        else { return nil }
        return number
    }
}

extension IPAddress: CustomStringConvertible {
    /// The usual notation: dotted decimal, or RFC 5952 without brackets.
    package var description: String {
        var buffer = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        switch self {
        case .v4(let number):
            var address = in_addr(s_addr: number.bigEndian)
            _ = inet_ntop(AF_INET, &address, &buffer, socklen_t(buffer.count))
        case .v6(let number):
            var bytes = number.bigEndian
            _ = inet_ntop(AF_INET6, &bytes, &buffer, socklen_t(buffer.count))
        }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

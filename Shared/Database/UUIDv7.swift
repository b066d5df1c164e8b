import Entropy
import Foundation

extension UUID {
    /// A new version 7 UUID (RFC 9562): 48 bits of Unix milliseconds, then random bits, so that ids sort by time.
    package static func v7(at date: Date = Date()) -> UUID {
        let (high, low) = RandomBits.pair()
        let milliseconds = UInt64(max(0, date.timeIntervalSince1970 * 1000))
        let first = (milliseconds << 16) | 0x7000 | (high & 0x0fff)
        let second = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000
        return UUID(high: first, low: second)
    }

    /// The smallest version 7 UUID of that millisecond: the literal bound of a partition or a slice.
    package static func v7LowerBound(at date: Date) -> UUID {
        let milliseconds = UInt64(max(0, date.timeIntervalSince1970 * 1000))
        return UUID(high: (milliseconds << 16) | 0x7000, low: 0x8000_0000_0000_0000)
    }

    /// The time that a version 7 UUID carries, to the millisecond.
    package var v7Time: Date {
        let bytes = uuid
        let milliseconds =
            UInt64(bytes.0) << 40 | UInt64(bytes.1) << 32 | UInt64(bytes.2) << 24 | UInt64(bytes.3) << 16
            | UInt64(bytes.4) << 8 | UInt64(bytes.5)
        return Date(timeIntervalSince1970: Double(milliseconds) / 1000)
    }

    /// The 36 lower-case characters that PostgreSQL prints.
    package var lowercased: String {
        withUnsafeBytes(of: uuid) { bytes in
            String(unsafeUninitializedCapacity: 36) { buffer in
                let digits: StaticString = "0123456789abcdef"
                var end = 0
                for (index, byte) in bytes.enumerated() {
                    if index == 4 || index == 6 || index == 8 || index == 10 {
                        buffer[end] = UInt8(ascii: "-")
                        end += 1
                    }
                    buffer[end] = digits.utf8Start[Int(byte >> 4)]
                    buffer[end + 1] = digits.utf8Start[Int(byte & 15)]
                    end += 2
                }
                return end
            }
        }
    }

    /// Reads the 36 lower-case characters that PostgreSQL prints; nil for any other number of them.
    init?(printed text: UnsafeBufferPointer<UInt8>) {
        guard text.count == 36 else { return nil }
        var value: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        withUnsafeMutableBytes(of: &value) { bytes in
            var from = 0
            for index in 0..<16 {
                if text[from] == UInt8(ascii: "-") { from += 1 }
                bytes[index] = nibble(text[from]) << 4 | nibble(text[from + 1])
                from += 2
            }
        }
        self.init(uuid: value)
    }

    /// The 16 raw bytes.
    package var rawBytes: [UInt8] { withUnsafeBytes(of: uuid) { Array($0) } }

    /// A UUID from 16 raw bytes; nil when there are not exactly 16.
    package init?(rawBytes: some Collection<UInt8>) {
        guard rawBytes.count == 16 else { return nil }
        var value: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        withUnsafeMutableBytes(of: &value) { $0.copyBytes(from: rawBytes) }
        self.init(uuid: value)
    }

    private init(high: UInt64, low: UInt64) {
        var value: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        withUnsafeMutableBytes(of: &value) { bytes in
            bytes.storeBytes(of: high.bigEndian, toByteOffset: 0, as: UInt64.self)
            bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        self.init(uuid: value)
    }
}

extension UUID {
    /// The text of an id that lies before all others: where reading in the order of ids begins.
    package static let beforeAll = "00000000-0000-0000-0000-000000000000"
}

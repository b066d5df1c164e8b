import Foundation

/// Text as the comparators see it: case, diacritics and full-width forms folded, punctuation and spaces gone.
/// Simplified and traditional Chinese are left apart.
///
/// One unit stands for one Unicode scalar. Scalars beyond the basic plane are folded onto the 2,048 codes that no
/// scalar uses (0xD800...0xDFFF), so a rare Chinese character still is one unit, at half the memory of full scalars.
struct FoldedText {
    /// At most `maxLength` units.
    var units: [UInt16] = []
    /// Bit i is set where unit i begins a word.
    var wordStarts: UInt64 = 0
    /// Of everything that was read, also beyond `maxLength`.
    var hash = FNVHash()

    /// One machine word of bits per text: longer values are compared on their first 64 units.
    static let maxLength = 64
    /// A huge value costs no more than this many scalars.
    static let maxRead = 256

    enum Kind { case text, email, alphanumeric, digits }

    /// Reuses the storage of an earlier text.
    mutating func fold(_ raw: String, as kind: Kind) {
        units.removeAll(keepingCapacity: true)
        wordStarts = 0
        hash = FNVHash()
        var atWordStart = true
        var read = 0
        for scalar in raw.unicodeScalars {
            read += 1
            if read > Self.maxRead { break }
            let value = scalar.value
            if value < 0x80 {
                let unit = Self.foldASCII(UInt8(value))
                if kind == .digits && !(0x30...0x39).contains(unit) { continue }
                if unit != 0 {
                    append(unit, &atWordStart)
                } else if kind == .email && value > 0x20 {
                    append(UInt16(value), &atWordStart)
                    if value == 0x40 { atWordStart = true }
                } else if value != 0x27 {
                    atWordStart = true
                }
            } else {
                foldBeyondASCII(scalar, kind, &atWordStart)
            }
        }
    }

    private mutating func foldBeyondASCII(_ scalar: Unicode.Scalar, _ kind: Kind, _ atWordStart: inout Bool) {
        let value = scalar.value
        if let folded = FoldingTable.shared[value] {
            for unit in folded where kind != .digits || (0x30...0x39).contains(unit) { append(unit, &atWordStart) }
            return
        }
        if value >= 0x3040 && value <= 0x9fff || value >= 0xac00 && value <= 0xd7a3 {
            if kind != .digits { append(UInt16(value), &atWordStart) }
            return
        }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format, .control:
            return
        case .spaceSeparator, .lineSeparator, .paragraphSeparator, .dashPunctuation, .openPunctuation,
            .closePunctuation, .connectorPunctuation, .initialPunctuation, .finalPunctuation, .otherPunctuation:
            atWordStart = true
            if value == 0x2019 { atWordStart = false }
        default:
            if kind == .digits { return }
            append(value < 0x10000 ? UInt16(value) : 0xd800 | UInt16(value & 0x7ff), &atWordStart)
        }
    }

    private mutating func append(_ unit: UInt16, _ atWordStart: inout Bool) {
        hash.combine(unit)
        if units.count < Self.maxLength {
            if atWordStart { wordStarts |= 1 << UInt64(units.count) }
            units.append(unit)
        }
        atWordStart = false
    }

    /// The letter or digit in lower case; 0 for everything else.
    private static func foldASCII(_ byte: UInt8) -> UInt16 {
        switch byte {
        case 0x61...0x7a, 0x30...0x39: UInt16(byte)
        case 0x41...0x5a: UInt16(byte | 0x20)
        default: 0
        }
    }
}

/// What letters outside ASCII fold to: the letter without its marks, in lower case; full-width forms to ASCII.
private struct FoldingTable: Sendable {
    static let shared = FoldingTable()
    private let folded: [UInt32: [UInt16]]

    subscript(scalar: UInt32) -> [UInt16]? { folded[scalar] }

    /// Latin, Greek and Cyrillic are folded by decomposition; kana and Hangul keep their marks, which tell names apart.
    private init() {
        var table: [UInt32: [UInt16]] = [:]
        for range in [0xc0...0x24f, 0x370...0x52f, 0x1e00...0x1fff] as [ClosedRange<UInt32>] {
            for value in range {
                guard let scalar = Unicode.Scalar(value), scalar.properties.isAlphabetic else { continue }
                let plain = String(scalar).decomposedStringWithCanonicalMapping.unicodeScalars
                    .filter { $0.properties.generalCategory != .nonspacingMark }
                let lower = String(String.UnicodeScalarView(plain)).lowercased().unicodeScalars
                    .filter { $0.properties.generalCategory != .nonspacingMark }
                table[value] = lower.map { UInt16(truncatingIfNeeded: $0.value) }
            }
        }
        for (letter, plain) in [
            "ß": "ss", "ẞ": "ss", "æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "ø": "o", "Ø": "o", "ł": "l", "Ł": "l",
            "đ": "d", "Đ": "d", "ð": "d", "Ð": "d", "þ": "th", "Þ": "th", "ı": "i", "ħ": "h", "Ħ": "h", "ς": "σ",
        ] as [Unicode.Scalar: String] {
            table[letter.value] = Array(plain.utf16)
        }
        for value in 0xff01...0xff5e as ClosedRange<UInt32> {
            let ascii = UInt8(value - 0xfee0)
            switch ascii {
            case 0x61...0x7a, 0x30...0x39: table[value] = [UInt16(ascii)]
            case 0x41...0x5a: table[value] = [UInt16(ascii | 0x20)]
            default: break
            }
        }
        folded = table
    }
}

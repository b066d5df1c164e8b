/// A coarse sound of a name for blocking: spellings that sound alike in the languages written with Latin letters
/// mostly share it. After Russell's Soundex (1918), with the first letter grouped too and doubled letters, h, w and
/// vowels skipped. Names in other scripts are their own code.
enum PhoneticCode {
    /// The first sound and up to three consonants after it, in 32 bits; 0 for an empty text.
    static func code(_ units: UnsafeBufferPointer<UInt16>) -> UInt32 {
        guard let first = units.first else { return 0 }
        guard (0x61...0x7a).contains(first) else {
            var hash = FNVHash()
            for unit in units { hash.combine(unit) }
            return UInt32(truncatingIfNeeded: hash.value) | 0x8000_0000
        }
        var last = group(first)
        var code = UInt32(initial(units)) + 1
        var sounds = 0
        for unit in units.dropFirst() {
            let sound = group(unit)
            if sound != 0 && sound != last {
                code = code << 4 | UInt32(sound)
                sounds += 1
                if sounds == 3 { break }
            }
            if unit != 0x68 && unit != 0x77 { last = sound }
        }
        return code
    }

    /// c, k, q one sound, and so on; "ph" sounds like f, silent letters of "kn" and "wr" are left as they are.
    private static func initial(_ units: UnsafeBufferPointer<UInt16>) -> UInt8 {
        let second = units.count > 1 ? units[1] : 0
        switch UInt8(truncatingIfNeeded: units[0]) {
        case 0x70 where second == 0x68: return 0x66
        case 0x76: return 0x66
        case 0x71, 0x63: return 0x6b
        case 0x7a: return 0x73
        case 0x6a: return 0x67
        case 0x69, 0x79: return 0x65
        case let letter: return letter
        }
    }

    /// Soundex's six groups of consonants; 0 for all else.
    private static func group(_ unit: UInt16) -> UInt8 {
        switch unit {
        case 0x62, 0x66, 0x70, 0x76: 1
        case 0x63, 0x67, 0x6a, 0x6b, 0x71, 0x73, 0x78, 0x7a: 2
        case 0x64, 0x74: 3
        case 0x6c: 4
        case 0x6d, 0x6e: 5
        case 0x72: 6
        default: 0
        }
    }
}

/// Every distinct folded text once, in contiguous arrays: people keep 32-bit ids, equal texts compare as equal hashes.
struct ValuePool: Sendable {
    typealias ID = UInt32

    /// The id of a missing value.
    static let none: ID = 0

    struct Value: Sendable {
        let start: UInt32
        /// One bit per letter that occurs: two texts with k slips between them differ in at most 2·k bits.
        let letters: UInt32
        let hash: UInt64
        let wordStarts: UInt64
    }

    private(set) var units: [UInt16] = []
    private(set) var values: [Value]
    private var known: [UInt64: ID] = [:]

    init() {
        let empty = Value(start: 0, letters: 0, hash: 0, wordStarts: 0)
        // The second marks where the units of the last real value end.
        values = [empty, empty]
    }

    var count: Int { values.count - 1 }

    /// The id of an equal text (same units, same words), or a new one; `none` for an empty text.
    mutating func intern(_ text: FoldedText) -> ID {
        if text.units.isEmpty { return Self.none }
        let hash = text.hash.value
        let key = text.wordStarts == 1 ? hash : hash ^ text.wordStarts &* 0x9e37_79b9_7f4a_7c15
        if let id = known[key] { return id }
        let id = ID(values.count - 1)
        var letters: UInt32 = 0
        for unit in text.units { letters |= Self.bit(unit) }
        values[values.count - 1] = Value(
            start: UInt32(units.count), letters: letters, hash: hash, wordStarts: text.wordStarts)
        units.append(contentsOf: text.units)
        values.append(Value(start: UInt32(units.count), letters: 0, hash: 0, wordStarts: 0))
        known[key] = id
        return id
    }

    /// Frees what only interning needs; a text interned later gets a new id but compares the same.
    mutating func seal() { known = [:] }

    /// Calls with the value's units.
    @inline(__always)
    func withUnits<Result>(_ id: ID, _ body: (UnsafeBufferPointer<UInt16>) -> Result) -> Result {
        units.withUnsafeBufferPointer { all in
            let start = Int(values[Int(id)].start)
            let end = Int(values[Int(id) + 1].start)
            return body(UnsafeBufferPointer(rebasing: all[start..<end]))
        }
    }

    /// Readable text again, with spaces between words; nil for `none`. Case and marks are gone.
    func text(_ id: ID) -> String? {
        if id == Self.none { return nil }
        let starts = values[Int(id)].wordStarts
        return withUnits(id) { units in
            var text = ""
            for (index, unit) in units.enumerated() {
                let isAfterAt = index > 0 && units[index - 1] == 0x40
                if index > 0 && starts >> UInt64(index) & 1 == 1 && !isAfterAt { text.append(" ") }
                text.unicodeScalars.append(Unicode.Scalar(unit) ?? "\u{fffd}")
            }
            return text
        }
    }

    /// a...z have a bit each, digits share the six that remain.
    private static func bit(_ unit: UInt16) -> UInt32 {
        switch unit {
        case 0x61...0x7a: 1 << UInt32(unit - 0x61)
        case 0x30...0x39: 1 << UInt32(26 + (unit - 0x30) % 6)
        default: 1 << UInt32(unit % 32)
        }
    }
}

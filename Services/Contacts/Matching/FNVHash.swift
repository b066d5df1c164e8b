/// FNV-1a over 64 bits (Fowler, Noll, Vo 1991), finished with a multiply-xor mix so that the low bits are usable.
/// The same on every machine and in every run, since the CRM stores blocking keys.
struct FNVHash {
    private var state: UInt64 = 0xcbf2_9ce4_8422_2325

    init() {}

    init(seed: UInt64) { combine(seed) }

    mutating func combine(_ unit: UInt16) {
        state = (state ^ UInt64(unit & 0xff)) &* 0x100_0000_01b3
        state = (state ^ UInt64(unit >> 8)) &* 0x100_0000_01b3
    }

    mutating func combine(_ word: UInt64) {
        for shift in stride(from: UInt64(0), to: 64, by: 16) { combine(UInt16(truncatingIfNeeded: word >> shift)) }
    }

    var value: UInt64 {
        var mixed = state ^ state >> 32
        mixed = mixed &* 0x9fb2_1c65_1e98_df25
        return mixed ^ mixed >> 29
    }
}

/// A small seeded generator (SplitMix64: Steele, Lea & Flood 2014): samples are the same in every run.
package struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// A stream that depends on the seed only.
    package init(seed: UInt64) { state = seed }

    /// The next 64 bits.
    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
        return word ^ word >> 31
    }
}

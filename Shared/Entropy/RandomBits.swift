import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Random bits for ids, taken from the system some thousand bytes at a time: a request or a span needs several, and each
/// call of the system would cost as much as all the rest of beginning it. Not for secrets: what is left of a piece lies in memory.
package enum RandomBits {
    private static let pool = Mutex((words: [UInt64](repeating: 0, count: 512), next: 512))

    /// 128 of them.
    package static func pair() -> (UInt64, UInt64) {
        take(2) { ($0[$1], $0[$1 + 1]) }
    }

    /// 64 of them.
    package static func word() -> UInt64 {
        take(1) { $0[$1] }
    }

    private static func take<Bits>(_ count: Int, _ bits: ([UInt64], Int) -> Bits) -> Bits {
        pool.withLock { pool in
            if pool.next + count > pool.words.count {
                pool.words.withUnsafeMutableBytes { arc4random_buf($0.baseAddress!, $0.count) }
                pool.next = 0
            }
            defer { pool.next += count }
            return bits(pool.words, pool.next)
        }
    }
}

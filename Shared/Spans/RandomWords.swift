import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Random bits for ids, taken from the system some thousand bytes at a time: each call of the system would cost as much
/// as all the rest of beginning a span. Not for secrets: what is left of a piece lies in memory.
enum RandomWords {
    private static let pool = Mutex((words: [UInt64](repeating: 0, count: 512), next: 512))

    /// 64 of them.
    static func next() -> UInt64 {
        pool.withLock { pool in
            if pool.next == pool.words.count {
                pool.words.withUnsafeMutableBytes { arc4random_buf($0.baseAddress!, $0.count) }
                pool.next = 0
            }
            defer { pool.next += 1 }
            return pool.words[pool.next]
        }
    }
}

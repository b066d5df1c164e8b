#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A mutual exclusion lock without a value of its own, for classes whose fields change together.
///
/// Never hold it across a suspension or a call that may block for long. `@unchecked Sendable`: the mutex lives in
/// memory of its own, allocated in `init`, freed in `deinit`, and is only touched by the pthread functions.
package final class Lock: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    package init() {
        mutex = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Runs `body` with the lock held.
    package func withLock<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }
}

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A lock that a thread can wait with for others to change what it guards. Never wait from a task.
///
/// `@unchecked Sendable`: mutex and condition live in memory allocated once in `init` and freed in `deinit`, and are
/// only touched by the pthread functions.
final class Signal: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>

    init() {
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        #if canImport(Glibc)
            // Time since the start of the system, or setting the clock back would make for long waits.
            var attributes = pthread_condattr_t()
            pthread_condattr_init(&attributes)
            pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
            pthread_cond_init(condition, &attributes)
            pthread_condattr_destroy(&attributes)
        #else
            pthread_cond_init(condition, nil)
        #endif
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func withLock<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    /// Wakes the waiting thread. Only with the lock held, like the two below.
    func wake() { pthread_cond_signal(condition) }

    /// Gives the lock away until woken; may return for no reason.
    func wait() { pthread_cond_wait(condition, mutex) }

    /// Gives the lock away until woken or the time is up; may return for no reason.
    func wait(atMost time: Duration) {
        let (seconds, attoseconds) = time.components
        var until = timespec()
        #if canImport(Glibc)
            clock_gettime(CLOCK_MONOTONIC, &until)
            until.tv_sec += Int(seconds)
            until.tv_nsec += Int(attoseconds / 1_000_000_000)
            if until.tv_nsec >= 1_000_000_000 {
                until.tv_sec += 1
                until.tv_nsec -= 1_000_000_000
            }
            pthread_cond_timedwait(condition, mutex, &until)
        #else
            (until.tv_sec, until.tv_nsec) = (Int(seconds), Int(attoseconds / 1_000_000_000))
            pthread_cond_timedwait_relative_np(condition, mutex, &until)
        #endif
    }
}

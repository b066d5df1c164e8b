#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A first-in, first-out queue between tasks, which push, and threads, which block until there is something to take.
///
/// `@unchecked Sendable`: every access to what varies happens with `mutex` held; the mutex and condition live
/// in memory allocated once in `init` and freed in `deinit`, so their addresses never change.
package final class BlockingQueue<Element: Sendable>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var items: [Element] = []
    private var head = 0
    private var closed = false
    /// How many threads wait for an element.
    private var takers = 0
    private var lastTaken = ContinuousClock.now

    /// An open, empty queue.
    package init() {
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Appends `element` and wakes one waiting thread. Returns false, and drops the element, once the queue is closed.
    package func push(_ element: Element) -> Bool {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        if closed { return false }
        items.append(element)
        pthread_cond_signal(condition)
        return true
    }

    /// Blocks until there is at least one element, then takes up to `limit`. Empty when the queue is closed and drained.
    package func take(upTo limit: Int) -> [Element] {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        takers += 1
        while head == items.count && !closed {
            pthread_cond_wait(condition, mutex)
        }
        takers -= 1
        return removeFirst(limit)
    }

    /// Like `take(upTo:)`, but gives up after `seconds` and then returns an empty array.
    package func take(upTo limit: Int, within seconds: Double) -> [Element] {
        var deadline = timespec()
        clock_gettime(CLOCK_REALTIME, &deadline)
        let nanoseconds = Int(seconds * 1e9) + deadline.tv_nsec
        deadline.tv_sec += nanoseconds / 1_000_000_000
        deadline.tv_nsec = nanoseconds % 1_000_000_000

        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        takers += 1
        while head == items.count && !closed {
            if pthread_cond_timedwait(condition, mutex, &deadline) == ETIMEDOUT { break }
        }
        takers -= 1
        return removeFirst(limit)
    }

    /// Takes what is there, up to `limit`, without waiting.
    package func takeAvailable(upTo limit: Int) -> [Element] {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return removeFirst(limit)
    }

    /// How many elements wait now.
    package var count: Int {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return items.count - head
    }

    /// For how many seconds every thread that takes has been away; 0 while one waits.
    package var unattended: Double {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return takers > 0 ? 0 : (.now - lastTaken) / .seconds(1)
    }

    /// True once `close()` was called.
    package var isClosed: Bool {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return closed
    }

    /// Refuses further elements and wakes every waiting thread; what is queued can still be taken.
    package func close() {
        pthread_mutex_lock(mutex)
        closed = true
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
    }

    private func removeFirst(_ limit: Int) -> [Element] {
        let end = Swift.min(items.count, head + limit)
        if end > head { lastTaken = .now }
        let taken = Array(items[head..<end])
        head = end
        if head == items.count {
            items.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1024 {
            items.removeFirst(head)
            head = 0
        }
        return taken
    }
}

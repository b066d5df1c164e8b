import ThreadExecutor

/// Ended spans on their way from tasks, which never wait, to the exporter's thread, which does.
///
/// It holds so many and no more: while the collector is away the newest are dropped and counted, so that what led to
/// the trouble is still there when it is back.
///
/// `@unchecked Sendable`: every access to the fields that change happens with `signal` locked.
final class SpanQueue: @unchecked Sendable {
    let counters = SpanCounters()
    private let capacity: Int
    private let batch: Int
    private let signal = Signal()
    private var spans: [EndedSpan] = []
    private var head = 0
    private var deadline: ContinuousClock.Instant?
    private var isEnded = false

    /// - Parameter batch: how many spans are worth waking the thread for before their time.
    init(capacity: Int, batch: Int) {
        precondition(capacity > 0 && batch > 0, "no place for any span")
        self.capacity = capacity
        self.batch = batch
    }

    /// How many spans wait now.
    var count: Int { signal.withLock { spans.count - head } }

    /// The time by which all must be sent; nil until shutdown begins.
    var shutdownDeadline: ContinuousClock.Instant? { signal.withLock { deadline } }

    // MARK: Tasks

    /// Appends `span`, or drops it when the queue is full or at its end.
    func push(_ span: EndedSpan) {
        signal.withLock {
            let count = spans.count - head
            if count >= capacity || isEnded { return counters.drop(1) }
            spans.append(span)
            // Others would wake it for nothing: it waits for the first, then for a whole batch or its time.
            if count == 0 || count + 1 == batch { signal.wake() }
        }
    }

    /// Begins shutdown: what is queued is to be sent by `deadline`. Of several deadlines, the earliest counts.
    func close(by deadline: ContinuousClock.Instant) {
        signal.withLock {
            self.deadline = min(deadline, self.deadline ?? deadline)
            signal.wake()
        }
    }

    // MARK: The thread

    /// Blocks until a batch is there, or some spans and `interval` has passed. Nil once closed and empty.
    func takeBatch(within interval: Duration) -> [EndedSpan]? {
        signal.withLock {
            while spans.count == head && deadline == nil { signal.wait() }
            let due = ContinuousClock.now + interval
            while spans.count - head < batch, deadline == nil {
                let left = due - .now
                if left <= .zero { break }
                signal.wait(atMost: left)
            }
            return spans.count == head ? nil : removeBatch()
        }
    }

    /// Blocks for `pause` before another try. When shutdown begins meanwhile the time is up at once, unless the
    /// collector has asked for the pause. False when the next try would come after the deadline.
    func wait(for pause: Duration, isAsked: Bool) -> Bool {
        let due = ContinuousClock.now + pause
        return signal.withLock {
            let wasClosed = deadline != nil
            while true {
                if let deadline {
                    if !isAsked && !wasClosed { return true }
                    if due >= deadline { return false }
                }
                let left = due - .now
                if left <= .zero { return true }
                signal.wait(atMost: left)
            }
        }
    }

    /// Refuses further spans, and drops those that are left. Gives how many those were.
    func end() -> Int {
        signal.withLock {
            let left = spans.count - head
            isEnded = true
            counters.drop(left)
            (spans, head) = ([], 0)
            return left
        }
    }

    private func removeBatch() -> [EndedSpan] {
        let end = min(spans.count, head + batch)
        let taken = Array(spans[head..<end])
        head = end
        if head == spans.count {
            spans.removeAll(keepingCapacity: spans.count <= 2 * batch)
            head = 0
        } else if head > capacity / 4 {
            spans.removeFirst(head)
            head = 0
        }
        return taken
    }
}

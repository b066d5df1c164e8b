import Synchronization

/// Wakes one waiting task. A raise before the wait is remembered, several are one.
package final class Signal: Sendable {
    private struct State {
        var isRaised = false
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    package init() {}

    /// Wakes the waiter, or lets the next wait pass at once.
    package func raise() {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.waiter == nil { state.isRaised = true }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    /// Suspends until raised; returns at once when the task is cancelled. For one task at a time.
    package func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let passes = state.withLock { state in
                    if state.isRaised || Task.isCancelled {
                        state.isRaised = false
                        return true
                    }
                    state.waiter = continuation
                    return false
                }
                if passes { continuation.resume() }
            }
        } onCancel: {
            raise()
        }
    }
}

import Synchronization

/// Lets so many at once through. A test holds a `Pass` for as long as it has servers of its own: all tests at once would
/// be hundreds of processes, and each would wait for the others.
package final class Turnstile: Sendable {
    /// Held while inside; going out of scope is going out.
    package final class Pass: Sendable {
        private let turnstile: Turnstile

        fileprivate init(_ turnstile: Turnstile) { self.turnstile = turnstile }

        deinit { turnstile.leave() }
    }

    private struct State {
        var free: Int
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    package init(width: Int) { state = Mutex(State(free: width)) }

    package func enter() async -> Pass {
        await withCheckedContinuation { continuation in
            let isIn = state.withLock { state in
                guard state.free > 0 else {
                    state.waiting.append(continuation)
                    return false
                }
                state.free -= 1
                return true
            }
            if isIn { continuation.resume() }
        }
        return Pass(self)
    }

    private func leave() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.waiting.isEmpty {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}

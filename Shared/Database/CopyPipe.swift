import Synchronization
import ThreadExecutor

/// A bounded channel between a task and a connection's thread, in either direction. It holds at most `capacity`
/// chunks, so that a fast side waits for the slow one and memory stays bounded.
final class CopyPipe: Sendable {
    private struct State {
        var chunks: [[UInt8]] = []
        var isFinished = false
        var hasFailed = false
        var waitingTask: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    private let wake = BlockingQueue<Void>()
    private let capacity = 8

    /// From a task: waits for room. False when the other side is gone.
    func push(_ chunk: [UInt8]) async -> Bool {
        while true {
            let outcome = state.withLock { state -> Bool? in
                if state.hasFailed { return false }
                if state.chunks.count >= capacity { return nil }
                state.chunks.append(chunk)
                return true
            }
            if let outcome {
                _ = wake.push(())
                return outcome
            }
            await suspend { $0.chunks.count < self.capacity || $0.hasFailed }
        }
    }

    /// From a task: the next chunk, nil at the end.
    func take() async -> [UInt8]? {
        while true {
            let (chunk, isOver) = state.withLock { state -> ([UInt8]?, Bool) in
                state.chunks.isEmpty ? (nil, state.isFinished || state.hasFailed) : (state.chunks.removeFirst(), false)
            }
            if chunk != nil || isOver {
                _ = wake.push(())
                return chunk
            }
            await suspend { !$0.chunks.isEmpty || $0.isFinished || $0.hasFailed }
        }
    }

    /// From a thread: the next chunk, nil at the end.
    func takeBlocking() -> [UInt8]? {
        while true {
            let (chunk, isOver, task) = state.withLock { state in
                let chunk = state.chunks.isEmpty ? nil : state.chunks.removeFirst()
                defer { state.waitingTask = nil }
                return (chunk, state.isFinished || state.hasFailed, state.waitingTask)
            }
            task?.resume()
            if chunk != nil || isOver { return chunk }
            _ = wake.take(upTo: 64, within: 1)
        }
    }

    /// From a thread: waits for room. False when the reader is gone.
    func pushBlocking(_ chunk: [UInt8]) -> Bool {
        while true {
            let (done, failed, task) = state.withLock { state in
                let hasRoom = state.chunks.count < capacity && !state.hasFailed
                if hasRoom { state.chunks.append(chunk) }
                defer { state.waitingTask = nil }
                return (hasRoom, state.hasFailed, state.waitingTask)
            }
            task?.resume()
            if failed { return false }
            if done { return true }
            _ = wake.take(upTo: 64, within: 1)
        }
    }

    func finish() { end { $0.isFinished = true } }

    func fail() { end { $0.hasFailed = true } }

    private func end(_ change: (inout State) -> Void) {
        let task = state.withLock { state in
            change(&state)
            defer { state.waitingTask = nil }
            return state.waitingTask
        }
        task?.resume()
        _ = wake.push(())
    }

    private func suspend(until ready: (borrowing State) -> Bool) async {
        await withCheckedContinuation { continuation in
            let isReady = state.withLock { state in
                if ready(state) { return true }
                state.waitingTask = continuation
                return false
            }
            if isReady { continuation.resume() }
        }
    }
}

import Foundation
import Jobs
import Synchronization

/// What waits for one stream to write it, and why the stream shall end. Filled from other threads, emptied by the stream.
final class LiveInbox: Sendable {
    /// What a stream finds when it looks.
    struct Work {
        var changes: [LiveChange] = []
        /// The table of events is to be asked.
        var mustLook = false
        /// The credential is to be checked now.
        var mustCheck = false
        var end: String?
    }

    private struct State {
        var work = Work(mustLook: true)
        var isStuck = false
        var writingSince: ContinuousClock.Instant?
        var task: StreamTask?
    }

    /// The task that writes a stream. It may be cancelled from elsewhere while it runs.
    ///
    /// `@unchecked Sendable`: `UnsafeCurrentTask` allows what `Task` has (here `cancel`) from other tasks as long as its
    /// own has not ended; the stream puts it here from within itself and takes it away, under the lock that every use
    /// holds, before it ends.
    private struct StreamTask: @unchecked Sendable {
        let task: UnsafeCurrentTask
    }

    /// More changes than this wait for a stream only when its client does not read.
    static let capacity = 1000
    /// How long a client may leave what was written unread.
    static let patience: Duration = .seconds(30)

    private let state = Mutex(State())
    private let signal = Signal()

    /// Adds changes; a stream that does not take them in time is ended.
    func add(_ changes: [LiveChange]) {
        if changes.isEmpty { return }
        state.withLock { state in
            if state.work.changes.count + changes.count > Self.capacity {
                state.work.changes = []
                state.work.end = "too slow: read what is sent, or ask for fewer types"
            } else if state.work.end == nil {
                state.work.changes += changes
            }
        }
        signal.raise()
    }

    /// Asks for a look at the table.
    func look() {
        state.withLock { $0.work.mustLook = true }
        signal.raise()
    }

    /// Asks for a check of the credential.
    func check() {
        state.withLock { $0.work.mustCheck = true }
        signal.raise()
    }

    /// Ends the stream with a comment that says why.
    func end(_ reason: String) {
        state.withLock { if $0.work.end == nil { $0.work.end = reason } }
        signal.raise()
    }

    /// Wakes the stream for its heartbeat, and breaks off a write that nobody reads.
    func tick() {
        state.withLock { state in
            guard let since = state.writingSince, ContinuousClock.now - since > Self.patience else { return }
            state.task?.task.cancel()
        }
        signal.raise()
    }

    /// Waits for something to do.
    func wait() async { await signal.wait() }

    /// Takes what there is to do.
    func take() -> Work {
        state.withLock { state in
            defer { state.work = Work(end: state.work.end) }
            return state.work
        }
    }

    /// Notes that a write began, or is over.
    func writing(_ isWriting: Bool) { state.withLock { $0.writingSince = isWriting ? .now : nil } }

    /// Runs `body` such that a write in it can be broken off.
    func breakable(_ body: () async throws -> Void) async throws {
        try await withUnsafeCurrentTask { task in
            let own = task.map(StreamTask.init(task:))
            state.withLock { $0.task = own }
            defer { state.withLock { $0.task = nil } }
            try await body()
        }
    }
}

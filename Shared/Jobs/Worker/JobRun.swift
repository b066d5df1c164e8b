import Foundation
import Synchronization

/// One run of a job, or of a set of jobs: its task, its time limit, and why it was stopped, if it was.
final class JobRun: Sendable {
    private struct State {
        var task: Task<Void, Never>?
        var stopped: JobFate.Stop?
    }

    let ids: [UUID]
    let deadline: ContinuousClock.Instant?
    private let timeLimit: Int
    private let state = Mutex(State())

    /// - Parameter timeLimit: seconds; 0 for none.
    init(ids: [UUID], timeLimit: Int) {
        self.ids = ids
        self.timeLimit = timeLimit
        deadline = timeLimit > 0 ? .now + .seconds(timeLimit) : nil
    }

    var stopped: JobFate.Stop? { state.withLock { $0.stopped } }

    /// Starts the run. A stop that came before reaches it too.
    func begin(_ body: @escaping @Sendable () async -> Void) {
        state.withLock { state in
            let task = Task { await body() }
            state.task = task
            if state.stopped != nil { task.cancel() }
        }
    }

    /// Cancels it because its time is over.
    func timeOut() { stop(.timeLimit(seconds: timeLimit)) }

    /// Cancels it because it is no longer this worker's to do.
    func abandon() { stop(.abandoned) }

    private func stop(_ reason: JobFate.Stop) {
        state.withLock { state in
            if state.stopped == nil { state.stopped = reason }
            state.task?.cancel()
        }
    }
}

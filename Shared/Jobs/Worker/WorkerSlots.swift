import Synchronization

/// How many more jobs a worker may run, shared by the lanes of its shards in proportion to the tenants that wait in each.
final class WorkerSlots: Sendable {
    private struct State {
        var free: Int
        var runnable: [Int]
        var hungry: Set<Int> = []
    }

    private let state: Mutex<State>
    private let signals: [Signal]

    /// - Parameter signals: wakes each lane.
    init(_ count: Int, signals: [Signal]) {
        state = Mutex(State(free: count, runnable: [Int](repeating: 0, count: signals.count)))
        self.signals = signals
    }

    /// Takes a lane's part of what is free: all of it where no other lane has anything to do.
    func take(for lane: Int) -> Int {
        state.withLock { state in
            let mine = max(1, state.runnable[lane])
            let others = state.runnable.enumerated().reduce(0) { $0 + ($1.offset == lane ? 0 : $1.element) }
            let part = others == 0 ? state.free : min(state.free, max(1, state.free * mine / (mine + others)))
            state.free -= part
            return part
        }
    }

    /// Gives slots back: those taken and not needed, or those of jobs that ended. Wakes the lanes that found none.
    func give(_ count: Int) {
        if count == 0 { return }
        let hungry = state.withLock { state in
            state.free += count
            defer { state.hungry.removeAll() }
            return state.hungry
        }
        for lane in hungry { signals[lane].raise() }
    }

    /// Notes what a lane's last exchange told: how many tenants have more, and so whether it waits for a slot.
    func note(lane: Int, runnable: Int) {
        state.withLock { state in
            state.runnable[lane] = runnable
            if runnable > 0 && state.free == 0 { state.hungry.insert(lane) } else { state.hungry.remove(lane) }
        }
    }

    var hasFree: Bool { state.withLock { $0.free > 0 } }
}

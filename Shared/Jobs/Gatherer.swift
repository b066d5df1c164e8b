import Synchronization

/// Makes the calls of concurrent callers together: whoever finds a call under way joins the next one, so that many callers
/// cost the server no more calls than one. A caller alone waits for nobody.
final class Gatherer<Item: Sendable, Failure: Error>: Sendable {
    private struct Caller {
        let item: Item
        let done: CheckedContinuation<Result<Void, Failure>, Never>
    }

    private struct State {
        var waiting: [Caller] = []
        var isSending = false
    }

    private let send: @Sendable ([Item]) async -> [Result<Void, Failure>]
    private let state = Mutex(State())

    /// - Parameter send: makes one call for several callers, and gives how it ended for each.
    init(_ send: @escaping @Sendable ([Item]) async -> [Result<Void, Failure>]) { self.send = send }

    /// Returns when the call that took `item` along has ended.
    func join(_ item: Item) async throws(Failure) {
        let isFirst = state.withLock { state in
            defer { state.isSending = true }
            return !state.isSending
        }
        if isFirst {
            let result = await send([item])[0]
            // Those who came meanwhile must not keep this caller: others may come for ever.
            if let callers = next() { Task { await serve(callers) } }
            return try result.get()
        }
        let result: Result<Void, Failure> = await withCheckedContinuation { continuation in
            let isAlone = state.withLock { state in
                state.waiting.append(Caller(item: item, done: continuation))
                defer { state.isSending = true }
                return !state.isSending
            }
            // The call that was under way ended in between.
            if isAlone, let callers = next() { Task { await serve(callers) } }
        }
        try result.get()
    }

    private func serve(_ first: [Caller]) async {
        var callers: [Caller]? = first
        while let now = callers {
            for (caller, result) in zip(now, await send(now.map(\.item))) { caller.done.resume(returning: result) }
            // Those who are just told have more to bring: it goes along.
            await Task.yield()
            callers = next()
        }
    }

    private func next() -> [Caller]? {
        state.withLock { state in
            if state.waiting.isEmpty {
                state.isSending = false
                return nil
            }
            defer { state.waiting.removeAll(keepingCapacity: true) }
            return state.waiting
        }
    }
}

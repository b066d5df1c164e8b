import Dispatch
import Synchronization
import ThreadExecutor

/// What a caller asks of `Database.batch`.
struct BatchRequest: Sendable {
    let tenant: TenantID?
    let statements: [Statement]
    let isReadOnly: Bool
    let reply: CheckedContinuation<Result<[Rows], DatabaseError>, Never>
}

/// Connections that carry many callers' requests, each with a thread of its own.
///
/// Where all of them stand still, as behind writes that wait for one tenant's lock, another is opened for a while: whoever
/// is not already in a pipeline behind such a write goes past it.
final class Pipelines: Sendable {
    private let requests = BlockingQueue<BatchRequest>()
    private let settings: ConnectionSettings
    private let size: Int
    private let state = Mutex(State())

    private struct State {
        /// How many more connections there are than usual.
        var extra = 0
        /// One of them is being opened.
        var isOpening = false
        /// Somebody looks in a moment whether all still stand.
        var isWatched = false
    }

    /// How many more connections are opened at most.
    static let mostExtra = 4
    /// Seconds without a thread that takes anything, after which all of them count as standing still.
    static let patience = 0.05
    /// Seconds after which a further connection is closed, however many requests come: they go round all who wait, so that
    /// none would ever be without.
    private static let life = 10.0

    init(settings: ConnectionSettings, size: Int) {
        self.settings = settings
        self.size = size
        for _ in 0..<size {
            OSThread.start { [requests] in
                Self.serve(Connection(settings: settings, canceller: Canceller())) { requests.take(upTo: 16) }
            }
        }
    }

    var connections: Int { size + state.withLock { $0.extra } }
    /// Requests that no thread has taken yet.
    var waiting: Int { requests.count }

    /// False once the pipelines are closed.
    func push(_ request: BatchRequest) -> Bool {
        guard requests.push(request) else { return false }
        if requests.unattended > 0 { watch() }
        return true
    }

    func close() { requests.close() }

    /// Nobody waits for requests. Where it stays so for a moment with some to take, another connection is opened.
    private func watch() {
        let isFirst = state.withLock { state in
            defer { state.isWatched = true }
            return !state.isWatched
        }
        guard isFirst else { return }
        DispatchQueue.global().asyncAfter(deadline: .now() + Self.patience) { [self] in
            state.withLock { $0.isWatched = false }
            if waiting == 0 { return }
            if requests.unattended >= Self.patience { openAnother() }
            watch()
        }
    }

    private func openAnother() {
        let hasRoom = state.withLock { state in
            if state.isOpening || state.extra >= Self.mostExtra { return false }
            state.isOpening = true
            state.extra += 1
            return true
        }
        guard hasRoom else { return }
        OSThread.start { [self] in
            defer { state.withLock { $0.extra -= 1 } }
            let connection = Connection(settings: settings, canceller: Canceller())
            let isOpen = (try? connection.connect()) != nil
            state.withLock { $0.isOpening = false }
            // Where the server has no room for it, nothing may be taken from those who have theirs.
            if !isOpen { return }
            let end = ContinuousClock.now + .seconds(Self.life)
            Self.serve(connection) { [requests] in
                let left = (end - .now) / .seconds(1)
                return left > 0 ? requests.take(upTo: 16, within: left) : []
            }
        }
    }

    /// A thread's life: whatever waits, up to 16 requests, goes out in one pipeline. Ends when `take` gives nothing.
    private static func serve(_ connection: Connection, _ take: () -> [BatchRequest]) {
        while true {
            let requests = take()
            if requests.isEmpty { break }
            let groups = transactions(requests)
            let results = connection.run(groups.map { statements(of: $0) })
            for (group, result) in zip(groups, results) {
                if case .failure(let error) = result, group.count > 1, error.code != .connectionLost {
                    // One's fault must not become the others': each is tried alone.
                    let alone = connection.run(group.map { statements(of: [$0]) })
                    for (request, result) in zip(group, alone) { reply(result, to: [request]) }
                } else {
                    reply(result, to: group)
                }
            }
        }
        connection.close()
    }

    /// Which requests share a transaction. A write has its own; those that only read, for one tenant, share one: to
    /// set the tenant and to open and end a transaction costs as much as to fetch a row by its key.
    private static func transactions(_ requests: [BatchRequest]) -> [[BatchRequest]] {
        var groups: [[BatchRequest]] = []
        var readers: [TenantID?: Int] = [:]
        for request in requests {
            if request.isReadOnly, let group = readers[request.tenant] {
                groups[group].append(request)
            } else {
                if request.isReadOnly { readers[request.tenant] = groups.count }
                groups.append([request])
            }
        }
        return groups
    }

    private static func statements(of group: [BatchRequest]) -> [Statement] {
        (group[0].tenant.map { [Database.setTenant($0)] } ?? []) + group.flatMap(\.statements)
    }

    /// Gives each of a group its own rows, or all of them the error.
    private static func reply(_ result: Result<[Rows], DatabaseError>, to group: [BatchRequest]) {
        guard case .success(let rows) = result else {
            for request in group { request.reply.resume(returning: result) }
            return
        }
        var next = group[0].tenant == nil ? 0 : 1
        for request in group {
            request.reply.resume(returning: .success(Array(rows[next..<next + request.statements.count])))
            next += request.statements.count
        }
    }
}

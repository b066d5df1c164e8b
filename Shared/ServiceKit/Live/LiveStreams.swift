import Database
import Foundation
import Jobs
import Logging
import Metrics
import Records
import Redis
import ServiceLifecycle
import Synchronization
import Tenancy

/// Shows an event as its bearer may see it; nil hides it. For events whose content depends on who reads it.
package typealias LiveView = @Sendable (_ data: JSONValue, RecordStore, WriteContext) async throws -> JSONValue?

/// All streams of events that a process holds, and the one subscription that they share.
///
/// Run it as a service: it gives the streams their heartbeats, and ends them when the process shuts down, so that their
/// clients come back to another.
package final class LiveStreams: Service {
    /// How many streams there may be at one time.
    package struct Limits: Sendable {
        /// One more ends the oldest: a client that lost its connection must not be locked out by it.
        package var perUser = 16
        package var perTenant = 2_000
        package var perProcess = 10_000

        package init() {}
    }

    /// Who listens to what.
    struct Listener: Sendable {
        let tenant: TenantID
        let user: UUID?
        /// What the credential is known by when it is revoked.
        let credential: String
        /// Whom the limit per user counts: a key without a user is its own.
        let account: String
        let types: Set<String>
    }

    private struct Entry {
        let number: Int
        let listener: Listener
        let inbox: LiveInbox
    }

    private struct State {
        var entries: [Int: Entry] = [:]
        var channels: [String: Set<Int>] = [:]
        var perTenant: [TenantID: Int] = [:]
        var opened = 0
        var isClosed = false
    }

    let store: RecordStore
    let authenticator: Authenticator
    let views: [String: LiveView]
    let limits: Limits
    /// The longest that a stream is silent, and that a revoked credential or a lost message goes unnoticed.
    let heartbeat: Duration
    private let logger: Logger
    private let subscriber: RedisSubscriber
    private let state = Mutex(State())
    private let gauge = Gauge(label: "guanxi_event_streams")
    private var schema: String { store.outbox.schema }

    package init(
        store: RecordStore, redis: RedisClient, authenticator: Authenticator, views: [String: LiveView] = [:],
        limits: Limits = Limits(), heartbeat: Duration = .seconds(15), logger: Logger
    ) {
        self.store = store
        self.authenticator = authenticator
        self.views = views
        self.limits = limits
        self.heartbeat = heartbeat
        self.logger = logger
        let ear = Ear()
        subscriber = redis.subscriber { event in ear.streams.withLock { $0 }?.hear(event) }
        ear.streams.withLock { $0 = self }
        authenticator.whenForgotten { [weak self] credential in self?.check(credential) }
    }

    /// Lets the subscriber, made first, reach the streams, made after.
    private final class Ear: Sendable {
        let streams = Mutex<LiveStreams?>(nil)
    }

    /// Ticks until graceful shutdown, then ends every stream.
    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                // A stream that was silent for two thirds of the heartbeat says something: none is silent for longer.
                try? await Task.sleep(for: self.heartbeat / 3)
                for inbox in self.inboxes() { inbox.tick() }
            }
        }
        let inboxes = state.withLock { state in
            state.isClosed = true
            return state.entries.values.map(\.inbox)
        }
        for inbox in inboxes { inbox.end("the service shuts down: connect again") }
        subscriber.close()
    }

    private func inboxes() -> [LiveInbox] { state.withLock { $0.entries.values.map(\.inbox) } }

    // MARK: Streams

    /// Throws 429 where no further stream may be opened now.
    func requireRoom(_ tenant: TenantID) throws(Problem) {
        let isFull: Bool = state.withLock { state in self.isFull(state, tenant) }
        if isFull {
            throw Problem(
                429, "too_many_streams", "There are too many streams of events already.",
                headers: [("Retry-After", "5")])
        }
    }

    private func isFull(_ state: State, _ tenant: TenantID) -> Bool {
        state.entries.count >= limits.perProcess || state.perTenant[tenant, default: 0] >= limits.perTenant
    }

    /// Runs `body` with an inbox that hears what `listener` may hear; nil instead when the process is full or ends.
    func listening(_ listener: Listener, _ body: (LiveInbox?) async throws -> Void) async throws {
        guard let entry = open(listener) else { return try await body(nil) }
        defer { close(entry) }
        try await body(entry.inbox)
    }

    private func open(_ listener: Listener) -> Entry? {
        let opened = state.withLock { state -> (Entry, oldest: LiveInbox?)? in
            if state.isClosed || isFull(state, listener.tenant) { return nil }
            let same = state.entries.values.filter { $0.listener.account == listener.account }
            let oldest = same.count >= limits.perUser ? same.min { $0.number < $1.number }?.inbox : nil
            state.opened += 1
            let entry = Entry(number: state.opened, listener: listener, inbox: LiveInbox())
            state.entries[entry.number] = entry
            state.perTenant[listener.tenant, default: 0] += 1
            for channel in channels(listener) {
                state.channels[channel, default: []].insert(entry.number)
                if state.channels[channel]!.count == 1 { subscriber.subscribe(channel) }
            }
            gauge.record(state.entries.count)
            return (entry, oldest)
        }
        opened?.oldest?.end("another stream of the same user took this one's place")
        return opened?.0
    }

    private func close(_ entry: Entry) {
        state.withLock { state in
            state.entries[entry.number] = nil
            let left = state.perTenant[entry.listener.tenant, default: 1] - 1
            state.perTenant[entry.listener.tenant] = left > 0 ? left : nil
            for channel in channels(entry.listener) {
                state.channels[channel]?.remove(entry.number)
                if state.channels[channel]?.isEmpty == true {
                    state.channels[channel] = nil
                    subscriber.unsubscribe(channel)
                }
            }
            gauge.record(state.entries.count)
        }
    }

    private func channels(_ listener: Listener) -> [String] {
        let own = listener.user.map { [LiveFeed.channel(schema, listener.tenant, user: $0)] } ?? []
        return own + (listener.types.isEmpty ? [] : [LiveFeed.channel(schema, listener.tenant)])
    }

    // MARK: What is heard

    private func hear(_ event: RedisSubscriber.Event) {
        switch event {
        case .listening(let channel):
            // Whatever came before this moment may have been missed.
            for entry in entries(of: channel) { entry.inbox.look() }
        case .message(let channel, let bytes):
            let entries = entries(of: channel)
            if entries.isEmpty { return }
            guard let changes = LiveFeed.changes(bytes) else {
                for entry in entries { entry.inbox.look() }
                return
            }
            for entry in entries { entry.inbox.add(changes.filter { entry.listener.types.contains($0.type) }) }
        }
    }

    private func entries(of channel: String) -> [Entry] {
        state.withLock { state in (state.channels[channel] ?? []).compactMap { state.entries[$0] } }
    }

    /// A credential, or any (nil), is another now or none at all.
    private func check(_ credential: String?) {
        let inboxes = state.withLock { state in
            state.entries.values.filter { credential == nil || $0.listener.credential == credential }.map(\.inbox)
        }
        for inbox in inboxes { inbox.check() }
    }
}

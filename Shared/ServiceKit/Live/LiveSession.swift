import Database
import Foundation
import Jobs
import Records
import Tenancy

/// One client's stream: what it is told, in the form of server-sent events.
struct LiveSession {
    let streams: LiveStreams
    let token: BearerToken
    var principal: Principal
    let types: Set<String>
    /// Where the client's last stream ended; nil for a client that comes for the first time.
    var cursor: Cursor
    /// Tells what there is, and ends.
    let once: Bool

    /// What a client has been told: all that a snapshot of the database shows.
    enum Cursor {
        case now
        case after(snapshot: String)
        /// It could not be read: what it stood for is unknown.
        case unreadable
    }

    /// More missed events than this are not told one by one: the client reads the lists again.
    private static let mostMissed = 500

    private var store: RecordStore { streams.store }
    private var schema: String { store.outbox.schema }

    private var listener: LiveStreams.Listener {
        LiveStreams.Listener(
            tenant: principal.tenant, user: principal.user, credential: "\(token.kind.rawValue):\(token.id)",
            account: "\(principal.tenant)/\(principal.user?.lowercased ?? principal.actor)", types: types)
    }

    /// Writes until the client goes, the credential is revoked, or the service shuts down.
    func run(_ write: (_ bytes: [UInt8]) async throws -> Void) async throws {
        try await streams.listening(listener) { inbox in
            guard let inbox else { return try await write(SSE.comment("no room, or shutting down: try again")) }
            try await inbox.breakable {
                var copy = self
                try await copy.loop(inbox, write)
            }
        }
    }

    private mutating func loop(_ inbox: LiveInbox, _ write: (_ bytes: [UInt8]) async throws -> Void) async throws {
        let silence = streams.heartbeat * 2 / 3
        var (wrote, looked, checked) = (ContinuousClock.now, ContinuousClock.now - silence, ContinuousClock.now)
        var out: [UInt8] = SSE.retry(milliseconds: 2000)
        if case .unreadable = cursor { out += SSE.event("reset", data: "{}") }
        while true {
            let work = inbox.take()
            if work.mustCheck || ContinuousClock.now - checked >= silence {
                guard try await isStillValid() else {
                    return try await write(out + SSE.comment("the credential is no longer valid"))
                }
                checked = .now
            }
            if work.mustLook || ContinuousClock.now - looked >= silence {
                // An outage of the database is no reason to go: the next heartbeat looks again.
                if let found = try? await look() {
                    out += found
                    looked = .now
                }
            }
            for change in work.changes where Self.sees(change, principal) { out += SSE.change(change) }
            if let end = work.end { return try await write(out + SSE.comment(end)) }
            if out.isEmpty && ContinuousClock.now - wrote >= silence { out = SSE.comment("heartbeat") }
            if !out.isEmpty {
                inbox.writing(true)
                defer { inbox.writing(false) }
                try await write(out)
                wrote = .now
                out = []
            }
            if once { return }
            await inbox.wait()
            try Task.checkCancellation()
        }
    }

    /// Reads the bearer anew: roles may have changed. A database that does not answer proves nothing.
    private mutating func isStillValid() async throws -> Bool {
        do {
            guard let fresh = try await streams.authenticator.principal(for: token), !fresh.isSuspended else {
                return false
            }
            principal = fresh
            return true
        } catch {
            return true
        }
    }

    /// Whether the bearer may know of the record at all.
    static func sees(_ change: LiveChange, _ principal: Principal) -> Bool {
        let isOwn = principal.user != nil && change.owner == principal.user
        switch principal.permissions.scope(of: .read, on: change.type) {
        case nil: return false
        case .all: return true
        case .own: return isOwn
        case .team: return isOwn || (principal.team != nil && change.team == principal.team)
        }
    }

    // MARK: The table of events

    private var context: WriteContext { WriteContext(principal: principal, requestID: "events") }

    /// What was committed since the cursor's snapshot, oldest first, with a cursor for the next look.
    private mutating func look() async throws -> [UInt8] {
        let tenant = principal.tenant
        // The snapshot is the statement's own: what it does not show, the next look will.
        let rows = try await store.database.query(
            tenant: tenant,
            Statement(
                """
                select s.now, e.id, e.name, e.data::text
                from (select pg_current_snapshot()::text as now) s
                left join lateral (
                    select id, name, data, xid from \(schema).live_event
                    where tenant_id = $1 and user_id = $2::uuid and $3::text is not null
                    and xid >= pg_snapshot_xmin($3::pg_snapshot)
                    and not pg_visible_in_snapshot(xid, $3::pg_snapshot)
                    and (expires_at is null or expires_at > now())
                    order by xid, at, id limit \(Self.mostMissed + 1)
                ) e on true
                """,
                [tenant.parameter, principal.user.map(Parameter.uuid) ?? .null, .optional(snapshot)]), readOnly: true)
        let now = rows.text(0, 0)!
        var out: [UInt8] = []
        if rows.count > Self.mostMissed {
            out += SSE.event("reset", data: "{}")
        } else {
            for row in 0..<rows.count {
                guard let id = rows.text(row, 1), let name = rows.text(row, 2), let data = rows.text(row, 3) else {
                    continue
                }
                if let shown = try await shown(name, data, id: id) { out += SSE.event(name, data: shown) }
            }
        }
        let isFirst = snapshot == nil
        cursor = .after(snapshot: now)
        // The id stands with the last: whoever is cut off in between is told all of it again.
        if isFirst { out += SSE.event("ready", data: "{}") }
        return out.isEmpty ? [] : SSE.id(encoded(now)) + out
    }

    private var snapshot: String? { if case .after(let snapshot) = cursor { snapshot } else { nil } }

    /// The event's data for this bearer, with its id; nil when it is not for them to see.
    private func shown(_ name: String, _ text: String, id: String) async throws -> String? {
        var data = try JSONParser.parse(text.utf8)
        if let view = streams.views[name] {
            guard let seen = try await view(data, store, context) else { return nil }
            data = seen
        }
        var members = data.object ?? [:]
        members["event_id"] = .string(id)
        return JSONValue.object(members).encoded
    }

    private func encoded(_ snapshot: String) -> String { Self.cursors(store, principal).encode([snapshot]) }

    private static func cursors(_ store: RecordStore, _ principal: Principal) -> PageCursor {
        store.cursor("events/\(principal.tenant)/\(principal.user?.lowercased ?? principal.actor)")
    }

    /// Reads `Last-Event-ID`; whatever can't be read is no reason to turn a client away.
    static func cursor(_ header: String?, _ store: RecordStore, _ principal: Principal) -> Cursor {
        guard let header, !header.isEmpty else { return .now }
        guard let values = try? cursors(store, principal).decode(header, count: 1), let snapshot = values[0] else {
            return .unreadable
        }
        return .after(snapshot: snapshot)
    }
}

/// The lines of server-sent events.
///
/// (WHATWG HTML, "Server-sent events": https://html.spec.whatwg.org/multipage/server-sent-events.html)
enum SSE {
    /// A comment, which clients skip. `text` has no line breaks.
    static func comment(_ text: String) -> [UInt8] { Array(": \(text)\n\n".utf8) }
    /// How long a client waits before it connects again.
    static func retry(milliseconds: Int) -> [UInt8] { Array("retry: \(milliseconds)\n\n".utf8) }
    /// What the client sends as `Last-Event-ID` once it has taken in the event that follows.
    static func id(_ id: String) -> [UInt8] { Array("id: \(id)\n".utf8) }
    /// An event whose data is JSON without line breaks.
    static func event(_ name: String, data: String) -> [UInt8] { Array("event: \(name)\ndata: \(data)\n\n".utf8) }

    /// That a record is another now.
    static func change(_ change: LiveChange) -> [UInt8] {
        let data: JSONValue = [
            "type": .string(change.type), "id": .string(change.id.lowercased), "version": JSONValue(change.version),
            "kind": .string(change.kind),
        ]
        return event("change", data: data.encoded)
    }
}

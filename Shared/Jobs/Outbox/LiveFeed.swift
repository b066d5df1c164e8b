import Database
import Foundation
import Logging
import Redis
import Synchronization

/// That a record is another now: where and which, never what stands in it.
package struct LiveChange: Codable, Sendable, Equatable {
    package let type: String
    package let id: UUID
    package let version: Int
    /// `create`, `update`, `delete` or `restore`.
    package let kind: String
    /// Whose it is, for whoever decides who may hear of it; not told on.
    package let owner: UUID?
    package let team: UUID?

    package init(type: String, id: UUID, version: Int, kind: String, owner: UUID?, team: UUID?) {
        self.type = type
        self.id = id
        self.version = version
        self.kind = kind
        self.owner = owner
        self.team = team
    }
}

/// Tells the processes that hold streams of events what was just committed, through Redis, which may lose it.
///
/// A user's channel carries nothing but a ring: what there is to be told stands in the table `live_event`. A tenant's
/// channel carries changes of records, which nobody keeps. Messages of one moment travel together.
package final class LiveFeed: Sendable {
    private struct Pending {
        var users: Set<Listener> = []
        var changes: [TenantID: [LiveChange]] = [:]
        var count = 0
    }

    private struct Listener: Hashable {
        let tenant: TenantID
        let user: UUID
    }

    /// More waits only where Redis is away; then the newest are dropped.
    private static let capacity = 10_000
    private static let perMessage = 100

    private let schema: String
    private let redis: RedisClient
    private let logger: Logger
    private let pending = Mutex(Pending())
    private let arrived = Signal()

    init(schema: String, redis: RedisClient, logger: Logger) {
        self.schema = schema
        self.redis = redis
        self.logger = logger
    }

    /// The channel of what concerns one user.
    package static func channel(_ schema: String, _ tenant: TenantID, user: UUID) -> String {
        "gx:live:\(schema):\(tenant):\(user.lowercased)"
    }

    /// The channel of a tenant's changes of records.
    package static func channel(_ schema: String, _ tenant: TenantID) -> String { "gx:live:\(schema):\(tenant)" }

    /// Says that there is something new for `user`. Returns at once.
    package func tell(_ user: UUID, _ tenant: TenantID) {
        pending.withLock { pending in
            guard pending.count < Self.capacity else { return }
            if pending.users.insert(Listener(tenant: tenant, user: user)).inserted { pending.count += 1 }
        }
        arrived.raise()
    }

    /// Says that records have changed. Returns at once.
    package func tell(_ changes: [LiveChange], _ tenant: TenantID) {
        if changes.isEmpty { return }
        pending.withLock { pending in
            let room = changes.prefix(max(0, Self.capacity - pending.count))
            pending.changes[tenant, default: []] += room
            pending.count += room.count
        }
        arrived.raise()
    }

    /// Reads what a tenant's channel carried; nil for what is none of it.
    package static func changes(_ bytes: [UInt8]) -> [LiveChange]? {
        try? JSONDecoder().decode([LiveChange].self, from: Data(bytes))
    }

    /// Publishes until cancelled.
    func run() async {
        while !Task.isCancelled {
            await arrived.wait()
            await publish()
        }
    }

    private func publish() async {
        let batch = pending.withLock { pending in
            defer { pending = Pending() }
            return pending
        }
        var messages: [(channel: String, bytes: [UInt8])] = batch.users.map {
            (Self.channel(schema, $0.tenant, user: $0.user), [UInt8(ascii: "1")])
        }
        let encoder = JSONEncoder()
        for (tenant, changes) in batch.changes {
            for start in stride(from: 0, to: changes.count, by: Self.perMessage) {
                let part = Array(changes[start..<min(start + Self.perMessage, changes.count)])
                guard let data = try? encoder.encode(part) else { continue }
                messages.append((Self.channel(schema, tenant), Array(data)))
            }
        }
        // Together, so that they share a pipeline.
        await withTaskGroup(of: Bool.self) { group in
            for message in messages {
                group.addTask { [redis] in
                    let command: [RedisArgument] = ["PUBLISH", .text(message.channel), .bytes(message.bytes)]
                    return (try? await redis.command(key: message.channel, command)) != nil
                }
            }
            for await isSent in group where !isSent {
                logger.debug("listeners were not told", metadata: ["schema": "\(schema)"])
            }
        }
    }
}

extension Outbox {
    /// Tells `user` of something, in the caller's transaction: at once where they listen, and within a day once they do.
    /// With `until`, whoever listens only later than that is spared it.
    ///
    /// - Parameters:
    ///   - name: the event's name: `notification`, `call.ringing`.
    ///   - json: a JSON object.
    package func tell(
        _ user: UUID, _ name: String, json: String, until: Date? = nil, in transaction: TenantTransaction
    ) {
        let tenant = transaction.tenant
        transaction.later(
            Statement(
                """
                insert into \(schema).live_event (tenant_id, user_id, name, data, expires_at)
                values ($1, $2, $3, $4::jsonb, $5)
                """,
                [
                    tenant.parameter, .uuid(user), .text(name), .text(json), until.map(Parameter.time) ?? .null,
                ]))
        transaction.afterCommit { [live] in live.tell(user, tenant) }
    }

    /// The statement that ends a tracked job and tells whoever asked for it: `$1` the tenant, `$2` the job, further
    /// parameters as `assignments` wants them. It gives one row with that user, or none for a job that is not tracked.
    package func end(_ assignments: String, _ parameters: [Parameter]) -> Statement {
        Statement(
            """
            with ended as (
                update \(schema).job_status set \(assignments)
                where tenant_id = $1 and id = $2
                returning tenant_id, id, name, state, user_id
            ), told as (
                insert into \(schema).live_event (tenant_id, user_id, name, data)
                select tenant_id, user_id, 'job', jsonb_build_object('id', id, 'name', name, 'state', state)
                from ended where user_id is not null
            )
            select user_id from ended
            """, parameters)
    }
}

extension Rows {
    /// The user in the first row's first column; nil where there is none.
    package var firstUser: UUID? { isEmpty ? nil : uuid(0, 0) }
}

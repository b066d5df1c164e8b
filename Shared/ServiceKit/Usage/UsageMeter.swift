import Database
import Foundation
import Logging
import Records
import ServiceLifecycle
import Synchronization
import Tenancy

/// Counts the requests of each bearer in memory; `flush` adds them to the table of days. On the request's way it is one
/// look into a dictionary. A process that is killed loses the counts of its last seconds.
final class UsageMeter: Sendable {
    /// What a bearer sent since the last flush.
    struct Count: Sendable, Equatable {
        var requests = 0
        /// Of these, those that were more than the limits allow.
        var refused = 0
    }

    private struct Bearer: Hashable {
        let tenant: TenantID
        let actor: String
    }

    private let counts = Mutex<[Bearer: Count]>([:])
    private let schema: String

    init(schema: String) { self.schema = schema }

    /// Counts one request.
    func count(_ principal: Principal, isRefused: Bool) {
        counts.withLock { counts in
            counts[Bearer(tenant: principal.tenant, actor: principal.actor), default: Count()].add(isRefused)
        }
    }

    /// Adds what was counted to the table, a transaction for each tenant; what could not be written is counted on.
    func flush(to database: Database) async throws(DatabaseError) {
        let taken = counts.withLock { counts in
            defer { counts.removeAll(keepingCapacity: true) }
            return counts
        }
        var failure: DatabaseError?
        for (tenant, group) in Dictionary(grouping: taken, by: \.key.tenant) {
            // In one order, so that two processes never wait for each other crosswise.
            let lines = group.sorted { $0.key.actor < $1.key.actor }
            do {
                _ = try await database.query(
                    tenant: tenant,
                    Statement(
                        """
                        insert into \(schema).usage_day as u (tenant_id, day, actor, requests, refused)
                        select $1, (now() at time zone 'UTC')::date, t.actor, t.requests::bigint, t.refused::bigint
                        from unnest($2::text[], $3::text[], $4::text[]) as t (actor, requests, refused)
                        on conflict (tenant_id, day, actor) do update
                        set requests = u.requests + excluded.requests, refused = u.refused + excluded.refused
                        """,
                        [
                            tenant.parameter, .array(lines.map(\.key.actor)),
                            .array(lines.map { String($0.value.requests) }),
                            .array(lines.map { String($0.value.refused) }),
                        ]))
            } catch {
                failure = error
                counts.withLock { counts in
                    for (bearer, count) in lines { counts[bearer, default: Count()].add(count) }
                }
            }
        }
        if let failure { throw failure }
    }
}

extension UsageMeter.Count {
    fileprivate mutating func add(_ isRefused: Bool) {
        requests += 1
        if isRefused { refused += 1 }
    }

    fileprivate mutating func add(_ other: UsageMeter.Count) {
        requests += other.requests
        refused += other.refused
    }
}

/// Writes the counts down every few seconds, and once more at the end.
struct UsageFlush: ServiceLifecycle.Service {
    let meter: UsageMeter
    let database: Database
    let logger: Logger
    private static let interval: Duration = .seconds(5)

    init(meter: UsageMeter, database: Database, logger: Logger) {
        self.meter = meter
        self.database = database
        self.logger = logger
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                try? await Task.sleep(for: Self.interval)
                await flush()
            }
        }
        await flush()
    }

    private func flush() async {
        do throws(DatabaseError) { try await meter.flush(to: database) } catch {
            logger.warning("requests are counted on, not written", metadata: ["error": "\(error)"])
        }
    }
}

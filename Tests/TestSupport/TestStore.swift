import Database
import Foundation
import Jobs
import Records
import Redis
import ServiceKit
import Tenancy

/// A service's records in the test's own process, without its HTTP: a database of its own and no Redis, which the
/// writing of records does not need.
package final class TestStore: Sendable {
    package let database: TestDatabase
    package let store: RecordStore
    private let pool: Database
    private let redis: RedisClient
    private let owner: Database

    package init(_ service: ServiceDescription, connections: Int = 4) async throws {
        database = try await TestDatabase()
        pool = database.pool(role: "guanxi_\(service.name)", interactive: connections)
        owner = database.pool(role: "guanxi_owner")
        redis = try RedisClient(url: "redis://127.0.0.1:1", logger: TestServers.logger)
        let outbox = Outbox(schema: service.name, database: pool, redis: redis, logger: TestServers.logger)
        try await outbox.subscriptions.refresh()
        store = RecordStore(catalogue: service.catalogue, database: pool, outbox: outbox, secret: [1, 2, 3])
    }

    deinit {
        pool.close()
        owner.close()
        redis.close()
    }

    /// A fresh tenant.
    package func tenant(_ slug: String) async throws -> TenantID {
        try await TenantDirectory(owner: owner).create(TenantDirectory.NewTenant(slug: slug, name: slug))
    }

    /// The context of one request, with a change set of its own, that may do everything.
    package func context(_ tenant: TenantID) -> WriteContext {
        WriteContext(tenant: tenant, job: "test", defaults: .neutral, requestID: "test")
    }

    /// A digest of all living records of the tenant: their contents, without versions and times of change.
    package func digest(_ tenant: TenantID) async throws -> String {
        var digest = ""
        for type in store.catalogue.types {
            let rows = try await pool.query(
                tenant: tenant,
                Statement(
                    """
                    select md5(coalesce(string_agg((to_jsonb(r) - 'version' - 'updated_at')::text, ',' order by id), ''))
                    from \(type.table) r where tenant_id = $1 and deleted_at is null
                    """, [tenant.parameter]), readOnly: true)
            digest += rows.text(0, 0)!
        }
        return digest
    }
}

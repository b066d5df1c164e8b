import Database
import Foundation
import Jobs
import Logging
import Records
import Redis
import Tenancy

/// Brings a database up for the platform and its services.
package struct SchemaSetup: Sendable {
    private let services: [ServiceDescription]
    private let logger: Logger

    package init(services: [ServiceDescription], logger: Logger) {
        self.services = services
        self.logger = logger
    }

    /// The platform's migrations, and each service's, by schema, in the order they run.
    package var plan: [(schema: String, migrations: [Migration])] {
        [
            (
                "platform",
                [
                    PlatformSchema.migrations[0], JobsSchema.queueFunctions, PlatformSchema.migrations[1],
                    PlatformSchema.accounts, JobsSchema.queueTables, JobsSchema.operatorFunctions,
                    PlatformSchema.tenantKeys, JobsSchema.retryTables,
                ]
            )
        ] + services.map { ($0.name, $0.allMigrations) }
    }

    /// Creates roles and extensions over an administrator's `connection`, and gives the roles that sign in the password
    /// of GUANXI_ROLE_PASSWORD where it is set. Safe to repeat.
    package func bootstrap(connection: String) async throws {
        let admin = Database(
            settings: ConnectionSettings(connection: connection), pipelined: 1, interactive: 1, logger: logger)
        defer { admin.close() }
        try await bootstrap(admin: admin)
        if let password = ProcessInfo.processInfo.environment["GUANXI_ROLE_PASSWORD"], !password.isEmpty {
            try await setPassword(password, admin: admin)
        }
    }

    /// Creates roles and extensions, as a superuser. Safe to repeat.
    package func bootstrap(admin: Database) async throws {
        try await admin.withoutTenant { transaction in
            try await transaction.script(PlatformSchema.bootstrap(services: services.map(\.name)))
        }
    }

    /// Sets the passwords of the roles that sign in: for servers that do not trust the local address.
    package func setPassword(_ password: String, admin: Database) async throws {
        let quoted = password.replacingOccurrences(of: "'", with: "''")
        let roles = ["guanxi_owner"] + services.map { "guanxi_\($0.name)" }
        try await admin.withoutTenant { transaction in
            try await transaction.script(roles.map { "alter role \($0) password '\(quoted)';" }.joined(separator: "\n"))
        }
    }

    /// Applies what is pending, as the owner. Gives what was applied, as `schema/id`.
    package func migrate(owner: Database) async throws -> [String] {
        let migrator = Migrator(database: owner)
        var applied: [String] = []
        for (schema, migrations) in plan {
            for id in try await migrator.migrate(schema: schema, migrations) {
                applied.append("\(schema)/\(id)")
                logger.info("migrated", metadata: ["migration": "\(schema)/\(id)"])
            }
        }
        for service in services {
            try await subscribe(service, owner: owner)
            try await publishTypes(of: service, owner: owner)
        }
        return applied
    }

    /// Writes down which events each service's queues want, before any process runs: what is published from the first
    /// moment on reaches them.
    private func subscribe(_ service: ServiceDescription, owner: Database) async throws {
        // No Redis is asked: the registry only needs something to hold.
        let redis = try RedisClient(url: "redis://127.0.0.1:1", logger: logger)
        let outbox = Outbox(schema: service.name, database: owner, redis: redis, logger: logger)
        let store = RecordStore(catalogue: service.catalogue, database: owner, outbox: outbox, secret: [])
        let registry = service.registry(store)
        for queue in Set(registry.subscriptions.keys).union(registry.tenantSubscriptions.keys) {
            _ = try await owner.query(tenant: nil, registry.subscribing(queue))
        }
        redis.close()
    }

    /// Writes down which record types a service has, for tenants who add fields to them. Views of records are every
    /// service's, and have no fields of a tenant's.
    private func publishTypes(of service: ServiceDescription, owner: Database) async throws {
        let types = service.types.filter { $0.name != SavedView.typeName }
        _ = try await owner.query(
            tenant: nil,
            Statement(
                """
                insert into platform.record_type (name, service, label_en, label_zh)
                select t.name, $1, t.label_en, t.label_zh
                from unnest($2::text[], $3::text[], $4::text[]) as t (name, label_en, label_zh)
                on conflict (name) do update set
                    service = excluded.service, label_en = excluded.label_en, label_zh = excluded.label_zh
                """,
                [
                    .text(service.name), .array(types.map(\.name)), .array(types.map(\.label.en)),
                    .array(types.map(\.label.zh)),
                ]))
    }

    /// What is applied and what is pending. Changes nothing.
    package func status(owner: Database) async throws -> [Migrator.Status] {
        let migrator = Migrator(database: owner)
        var all: [Migrator.Status] = []
        for (schema, migrations) in plan { all += try await migrator.status(schema: schema, migrations) }
        return all
    }
}

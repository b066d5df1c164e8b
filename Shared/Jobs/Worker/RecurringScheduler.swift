import Database
import Foundation
import Logging
import ServiceLifecycle

/// Starts recurring jobs: one row per tenant, name and time, so that a firing is never done twice, whoever looks, and
/// never skipped by a restart. Several missed firings of one job are made up for by one.
package struct RecurringScheduler: Service {
    private let jobs: [RecurringJob]
    private let outbox: Outbox
    private let database: Database
    private let logger: Logger

    package init(jobs: [RecurringJob], outbox: Outbox, database: Database, logger: Logger) {
        self.jobs = jobs
        self.outbox = outbox
        self.database = database
        self.logger = logger
    }

    /// Looks every ten seconds until graceful shutdown.
    package func run() async throws {
        do {
            try await cancelWhenGracefulShutdown {
                while true {
                    if !jobs.isEmpty {
                        do { try await fire(now: Date()) } catch {
                            logger.warning("recurring jobs could not be started", metadata: ["error": "\(error)"])
                        }
                    }
                    try await Task.sleep(for: .seconds(10))
                }
            }
        } catch is CancellationError {}
    }

    /// Starts what is due at `now`.
    package func fire(now: Date) async throws {
        let tenants = try await database.query(
            tenant: nil, Statement("select id, time_zone from platform.active_tenants()"), readOnly: true)
        for row in 0..<tenants.count {
            let tenant = TenantID(Int64(tenants.int(row, 0)!))
            let zone = TimeZone(identifier: tenants.text(row, 1)!) ?? .gmt
            for recurring in jobs {
                guard let time = recurring.schedule.latest(atOrBefore: now, in: zone) else { continue }
                try await fire(recurring, at: time, tenant: tenant)
            }
        }
    }

    private func fire(_ recurring: RecurringJob, at time: Date, tenant: TenantID) async throws {
        let job = try recurring.make()
        try await database.withTenant(tenant) { transaction in
            // A tenant that is new has missed nothing: its first look only notes where it stands.
            let rows = try await transaction.query(
                """
                with known as (
                    select max(fire_at) as latest from \(outbox.schema).recurring_firing
                    where tenant_id = $1 and name = $2
                ), fired as (
                    insert into \(outbox.schema).recurring_firing (tenant_id, name, fire_at)
                    select $1, $2, $3 from known where latest is null or latest < $3
                    on conflict do nothing returning 1
                )
                select (select count(*) from fired), (select latest is null from known)
                """, [tenant.parameter, .text(recurring.name), .time(time)])
            guard rows.int(0, 0) == 1, rows.bool(0, 1) == false else { return }
            outbox.enqueue([job], in: transaction)
        }
    }
}

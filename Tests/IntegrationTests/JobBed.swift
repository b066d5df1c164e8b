import Contracts
import Database
import Foundation
import Records
import ServiceKit
import TestSupport

@testable import Jobs

/// A service's jobs run in the test's own process, one by one; and what they told others, kept in the outbox.
struct JobBed {
    let bed: TestStore
    let service: ServiceDescription
    let admin: Database
    var store: RecordStore { bed.store }

    /// `events` are kept for a queue that nobody serves.
    init(_ service: ServiceDescription, keeping events: [String] = [], connections: Int = 4) async throws {
        self.service = service
        bed = try await TestStore(service, connections: connections)
        admin = bed.database.pool(role: "postgres")
        for event in events {
            _ = try await admin.query(
                tenant: nil,
                Statement(
                    "insert into platform.subscription (event, queue) values ($1, $2)",
                    [.text(event), .text("\(service.name).test")]))
        }
        try await bed.store.outbox.subscriptions.refresh()
    }

    /// Runs a job to its end. The same `pending` again is the same job.
    func run(_ pending: PendingJob, _ tenant: TenantID) async throws {
        let context = JobContext(
            envelope: JobEnvelope(pending, tenant: tenant, origin: service.name), logger: TestServers.logger,
            outbox: store.outbox, database: store.database)
        try await service.registry(store).handlers[pending.name]!(context)
    }

    func run(_ job: some Job, _ tenant: TenantID) async throws { try await run(try PendingJob(job), tenant) }

    /// Runs every job of that name that lies in the outbox and has not been run, in the order of their making.
    func runAll(named name: String, _ tenant: TenantID) async throws {
        let rows = try await admin.query(
            tenant: nil,
            Statement(
                """
                select o.id, o.queue, o.payload from \(service.name).outbox o
                where o.tenant_id = $1 and o.name = $2 and not exists (
                    select 1 from \(service.name).inbox i where i.job_id = o.id)
                order by o.id
                """, [tenant.parameter, .text(name)]))
        for row in 0..<rows.count {
            let job = PendingJob(
                id: rows.uuid(row, 0)!, name: name, queue: rows.text(row, 1)!, payload: Array(rows.text(row, 2)!.utf8))
            try await run(job, tenant)
        }
    }

    /// What was told to the queue that nobody serves.
    func told<E: Event>(_ type: E.Type, _ tenant: TenantID) async throws -> [E] {
        let rows = try await admin.query(
            tenant: nil,
            Statement(
                "select payload from \(service.name).outbox where tenant_id = $1 and name = $2 and queue = $3 order by id",
                [tenant.parameter, .text(E.name), .text("\(service.name).test")]))
        return try (0..<rows.count).map { try JobCoding.decode(E.self, from: Array(rows.text($0, 0)!.utf8)) }
    }

    func create(_ name: String, _ body: JSONValue, _ tenant: TenantID) async throws -> UUID {
        try await store.create(store.catalogue.type(named: name)!, body, allowingDuplicates: true, bed.context(tenant))
            .id!
    }

    func record(_ name: String, _ id: UUID, _ tenant: TenantID) async throws -> JSONValue {
        try JSONParser.parse(
            try await store.get(store.catalogue.type(named: name)!, id, bed.context(tenant)).body)
    }
}

extension JobBed {
    /// The context of a job that does nothing of its own.
    func context(_ tenant: TenantID) -> JobContext {
        let job = PendingJob(name: "\(service.name).test", queue: "\(service.name).default", payload: [])
        return JobContext(
            envelope: JobEnvelope(job, tenant: tenant, origin: service.name), logger: TestServers.logger,
            outbox: store.outbox, database: store.database)
    }
}

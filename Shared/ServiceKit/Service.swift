import Database
import Foundation
import Jobs
import Records

/// How the workers of one queue share themselves out, where its jobs mostly wait for others.
package struct QueueShare: Sendable {
    /// Jobs that a worker runs at once, unless its command line says otherwise.
    package let concurrency: Int
    /// Jobs of one tenant that run at once, in all workers together.
    package let perTenant: Int

    package init(concurrency: Int, perTenant: Int) {
        self.concurrency = concurrency
        self.perTenant = perTenant
    }
}

/// A domain service, described: its records, its own endpoints, its jobs and its schema's history. One page each.
package struct ServiceDescription: Sendable {
    /// Also the schema's name and, behind `guanxi_`, the database role's.
    package let name: String
    package let types: [RecordType]
    package let migrations: [Migration]
    /// The queues its workers serve unless told otherwise.
    package let queues: [String]
    /// How workers serve those queues that differ from the usual.
    package let shares: [String: QueueShare]
    /// Reads the service's own settings, once, before a process of it does anything.
    package let configure: @Sendable (ServiceConfiguration) throws -> Void
    package let endpoints: @Sendable (RecordStore) -> [Endpoint]
    package let jobs: @Sendable (inout JobRegistry, RecordStore) -> Void
    /// How events of a name are shown to whoever listens, where that depends on who it is.
    package var liveViews: [String: LiveView] = [:]

    package init(
        name: String, types: [RecordType], migrations: [Migration], queues: [String] = [],
        shares: [String: QueueShare] = [:],
        configure: @escaping @Sendable (ServiceConfiguration) throws -> Void = { _ in },
        endpoints: @escaping @Sendable (RecordStore) -> [Endpoint] = { _ in [] },
        jobs: @escaping @Sendable (inout JobRegistry, RecordStore) -> Void = { _, _ in },
        liveViews: [String: LiveView] = [:]
    ) {
        self.liveViews = liveViews
        self.name = name
        // A service of records has views of them.
        self.types = types.isEmpty ? [] : types + [SavedView.type(schema: name, of: types)]
        self.migrations = migrations
        self.queues = ["\(name).import", "\(name).events", "\(name).default"] + queues
        self.shares = shares
        self.configure = configure
        self.endpoints = endpoints
        self.jobs = jobs
    }

    package var catalogue: Catalogue { Catalogue(types) }

    /// What is wanted of its workers, by queue.
    package func workerGoals(_ configuration: ServiceConfiguration) throws -> [String: WorkerDemand.Goal] {
        let usual = try configuration.int("worker.concurrency", minimum: 1)
        return try Dictionary(
            uniqueKeysWithValues: queues.map {
                ($0, try configuration.workerGoal(concurrency: shares[$0]?.concurrency ?? usual))
            })
    }

    /// The whole history of the schema: the common tables, then the service's own.
    package var allMigrations: [Migration] {
        [
            Migration(
                "M-001CreateSchema",
                """
                create schema \(name);
                grant usage on schema \(name) to guanxi_\(name);
                grant usage, create on schema \(name) to guanxi_across;
                """),
            JobsSchema.migration(schema: name),
            RecordsSchema.migration(schema: name),
        ] + migrations
    }

    /// A job that needs no content.
    private struct Empty: Codable, Sendable {}

    /// What the service's workers can do.
    package func registry(_ store: RecordStore) -> JobRegistry {
        var registry = JobRegistry()
        let runner = ImportRunner(store: store)
        registry.handle(named: "\(name).run-import", RunImport.self) { job, context in
            try await runner.run(job, context)
        }
        let exports = ExportRunner(store: store)
        registry.handle(named: "\(name).run-export", RunExport.self) { job, context in
            try await exports.run(job, context)
        }
        let undo = UndoRunner(store: store)
        registry.handle(named: "\(name).run-undo", RunUndo.self) { job, context in
            try await undo.run(job, context)
        }
        let seal = HistorySeal(store: store)
        registry.handle(named: "\(name).seal-history", Empty.self) { _, context in try await seal.run(context) }
        registry.every(
            CronSchedule("7 * * * *")!, named: "\(name).seal-history", queue: "\(name).default", options: .long)
        let verification = HistoryVerification(store: store)
        registry.handle(named: "\(name).verify-history", Empty.self) { _, context in
            try await verification.run(context)
        }
        let index = CustomFieldIndex(store: store)
        registry.on(CustomFieldIndexWanted.self, queue: "\(name).default") { event, context in
            try await index.complete(event, context)
        }
        jobs(&registry, store)
        return registry
    }
}

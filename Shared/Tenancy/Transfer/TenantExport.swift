import Database
import Foundation

/// Writes everything of a tenant into a folder: a file of lines for each table, and a manifest.
package struct TenantExport: Sendable {
    private let database: Database

    package init(owner database: Database) { self.database = database }

    /// Exports the tenant as it is at one moment; what is written meanwhile is not in it, and nobody waits.
    ///
    /// Any size goes through bounded memory. Throws `.refused` when there is something in the folder already.
    package func write(_ tenant: TenantID, to directory: URL, withCredentials: Bool) async throws -> TenantManifest {
        try prepare(directory)
        let all = try await database.withoutTenant { try await TenantTable.all(in: $0) }.sorted { $0.name < $1.name }
        let manifest = try await database.operating(on: tenant, snapshot: all) { transaction in
            var tables: [TenantManifest.Table] = []
            for table in all {
                guard let columns = TransferColumns(table, withCredentials: withCredentials) else { continue }
                let writer = try LineWriter(directory.appending(path: "\(table.name).ndjson"))
                try await transaction.copyOut(columns.export(tenant)) { try await writer.write($0) }
                tables.append(try await writer.finish(table.name, columns: columns.names))
            }
            let (slug, settings) = try await settings(of: tenant, in: transaction)
            return TenantManifest(
                format: TenantManifest.format, version: TenantManifest.version,
                exportedAt: Timestamp.rfc3339(Date()), slug: slug, withCredentials: withCredentials, tenant: settings,
                migrations: try await TenantManifest.migrations(in: transaction), tables: tables,
                unfinishedJobs: try await unfinishedJobs(tenant, all, in: transaction))
        }
        let file = directory.appending(path: TenantManifest.fileName)
        try manifest.encoded.write(to: file, options: .atomic)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file.path)
        try await note(tenant, manifest)
        return manifest
    }

    private func prepare(_ directory: URL) throws {
        let files = FileManager.default
        do {
            try files.createDirectory(
                at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            guard try files.contentsOfDirectory(atPath: directory.path).isEmpty else {
                throw TenantWorkError.refused("\(directory.path) is not empty")
            }
        } catch let error as CocoaError {
            throw TenantWorkError.refused("\(directory.path) can't be written: \(error.localizedDescription)")
        }
    }

    private func settings(
        of tenant: TenantID, in transaction: Transaction
    ) async throws -> (String, TenantManifest.Settings) {
        let rows = try await transaction.query(
            Statement(
                """
                select slug, name, plan, locale, time_zone, default_country, default_currency, weight::text,
                    requests_per_second from platform.tenant where tenant_id = $1
                """, [tenant.parameter]))
        guard rows.count == 1 else { throw TenantWorkError.refused("the tenant is gone") }
        return (
            rows.text(0, 0)!,
            TenantManifest.Settings(
                name: rows.text(0, 1)!, plan: rows.text(0, 2)!, locale: rows.text(0, 3)!, timeZone: rows.text(0, 4)!,
                defaultCountry: rows.text(0, 5)!, defaultCurrency: rows.text(0, 6)!, weight: rows.text(0, 7)!,
                requestsPerSecond: rows.int(0, 8)!)
        )
    }

    /// Jobs in outboxes that no inbox knows.
    private func unfinishedJobs(
        _ tenant: TenantID, _ tables: [TenantTable], in transaction: Transaction
    ) async throws -> Int {
        let inboxes = tables.filter { $0.baseName == "inbox" }.map {
            "select i.job_id from \($0.name) i where i.tenant_id = \(tenant)"
        }
        var count = 0
        for outbox in tables where outbox.baseName == "outbox" {
            let rows = try await transaction.query(
                Statement(
                    """
                    select count(*) from (
                        select o.id from \(outbox.name) o where o.tenant_id = \(tenant)
                        except (\(inboxes.joined(separator: " union all ")))) open_jobs
                    """))
            count += rows.int(0, 0) ?? 0
        }
        return count
    }

    private func note(_ tenant: TenantID, _ manifest: TenantManifest) async throws {
        try await database.operating(on: tenant) { transaction in
            _ = try await transaction.query(
                Statement(
                    """
                    select platform.write_audit($1, 'operator', 'tenant.exported', 'tenant:' || $2,
                        jsonb_build_object('digest', $3::text, 'with_credentials', $4::boolean), null, null)
                    """,
                    [
                        tenant.parameter, .text(manifest.slug), .text(manifest.digest),
                        .bool(manifest.withCredentials),
                    ]))
        }
    }
}

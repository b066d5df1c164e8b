import Database
import Foundation

/// Makes a new tenant out of an export: on this installation or another, all of it or nothing.
package struct TenantImport: Sendable {
    private let database: Database

    package init(owner database: Database) { self.database = database }

    /// Reads the export in `directory` into a tenant under `slug`, which is suspended: nothing goes out in its name until
    /// somebody has looked at it and resumed it.
    ///
    /// Every file is verified before anything is written. Throws `TenantWorkError` for files that are damaged or of
    /// another release, and `DatabaseError` of code `.uniqueViolation` for a slug that is taken.
    package func read(
        _ directory: URL, slug: String
    ) async throws -> (tenant: TenantID, manifest: TenantManifest) {
        let manifest = try TenantManifest.read(directory)
        let tables = try await tables(manifest)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (entry, _) in tables {
                group.addTask { try await CheckedLines(directory: directory, table: entry).verify() }
            }
            try await group.waitForAll()
        }
        let tenant = try await reserve()
        try await database.operating(on: tenant, asTheyAre: true) { transaction in
            try await create(tenant, slug, manifest.tenant, in: transaction)
            // A name can't be read as a type before the table is there, whatever the plan was made for.
            _ = try await transaction.query(
                Statement("create temporary table tenant_line (line json not null) on commit drop"))
            for (entry, columns) in tables where entry.rows > 0 {
                let lines = CheckedLines(directory: directory, table: entry)
                _ = try await transaction.copyIn(
                    "copy \(TransferColumns.stage) (line) from stdin with (\(TransferColumns.lines))", chunks: lines)
                do {
                    _ = try await transaction.batch([
                        columns.takeIn(tenant), Statement("truncate \(TransferColumns.stage)"),
                    ])
                } catch let error as DatabaseError where error.code == .uniqueViolation {
                    throw TenantWorkError.refused(
                        "\(entry.file): this installation has a row with the same key already (\(error.constraint ?? "")): credentials can't be in two tenants, export without them"
                    )
                } catch let error as DatabaseError where error.code == .invalidValue || error.code == .checkViolation {
                    throw TenantWorkError.damaged(file: entry.file, line: nil, what: error.message)
                }
            }
            for (entry, columns) in tables { try await verifyReferences(of: columns.table, entry, tenant, transaction) }
        }
        return (tenant, manifest)
    }

    /// The export's tables with those of this installation. Throws unless both are of one release.
    private func tables(
        _ manifest: TenantManifest
    ) async throws -> [(TenantManifest.Table, TransferColumns)] {
        let (here, known) = try await database.withoutTenant { transaction in
            (try await TenantManifest.migrations(in: transaction), try await TenantTable.all(in: transaction))
        }
        for schema in Set(here.keys).union(manifest.migrations.keys).sorted() {
            let difference = Set(here[schema] ?? []).symmetricDifference(manifest.migrations[schema] ?? [])
            if let id = difference.min() {
                let isHere = here[schema]?.contains(id) == true
                throw TenantWorkError.refused(
                    "the export is of another release: migration \(schema)/\(id) is applied \(isHere ? "here and was not there" : "there and is not here")"
                )
            }
        }
        let columns = known.compactMap { TransferColumns($0, withCredentials: manifest.withCredentials) }
        let entries = Dictionary(manifest.tables.map { ($0.name, $0) }) { first, _ in first }
        for entry in manifest.tables where !columns.contains(where: { $0.table.name == entry.name }) {
            throw TenantWorkError.damaged(
                file: TenantManifest.fileName, line: nil, what: "names the table \(entry.name), which is not here")
        }
        return try columns.map { columns in
            guard let entry = entries[columns.table.name], entry.columns == columns.names else {
                throw TenantWorkError.damaged(
                    file: TenantManifest.fileName, line: nil,
                    what: "the table \(columns.table.name) is missing or has other columns than here")
            }
            return (entry, columns)
        }
    }

    private func reserve() async throws -> TenantID {
        let rows = try await database.query(
            tenant: nil, Statement("select nextval(pg_get_serial_sequence('platform.tenant', 'tenant_id'))"))
        return TenantID(Int64(rows.int(0, 0)!))
    }

    private func create(
        _ tenant: TenantID, _ slug: String, _ settings: TenantManifest.Settings, in transaction: Transaction
    ) async throws {
        _ = try await transaction.query(
            Statement(
                """
                insert into platform.tenant (tenant_id, slug, name, plan, status, locale, time_zone, default_country,
                    default_currency, weight, requests_per_second)
                overriding system value values ($1, $2, $3, $4, 'suspended', $5, $6, $7, $8, $9::real, $10)
                """,
                [
                    tenant.parameter, .text(slug), .text(settings.name), .text(settings.plan), .text(settings.locale),
                    .text(settings.timeZone), .text(settings.defaultCountry), .text(settings.defaultCurrency),
                    .text(settings.weight), .int(settings.requestsPerSecond),
                ]))
    }

    /// Rows were written as they are: what they refer to is looked up here, all at once.
    private func verifyReferences(
        of table: TenantTable, _ entry: TenantManifest.Table, _ tenant: TenantID, _ transaction: Transaction
    ) async throws {
        for reference in table.references where entry.rows > 0 && reference.table != "platform.tenant" {
            let pairs = zip(reference.columns, reference.targets).filter { $0.0 != "tenant_id" }
            let same = pairs.map { "o.\(TenantTable.quoted($0.1)) = t.\(TenantTable.quoted($0.0))" }
            let set = pairs.map { "t.\(TenantTable.quoted($0.0)) is not null" }
            let rows = try await transaction.query(
                Statement(
                    """
                    select to_json(t)::text from \(table.name) t where t.tenant_id = \(tenant)
                    and \(set.joined(separator: " and ")) and not exists (
                        select 1 from \(reference.table) o
                        where o.tenant_id = \(tenant) and \(same.joined(separator: " and "))) limit 1
                    """))
            if let row = rows.isEmpty ? nil : rows.text(0, 0) {
                throw TenantWorkError.damaged(
                    file: entry.file, line: nil,
                    what: "a row refers to \(reference.table), which has no such row: \(row.prefix(200))")
            }
        }
    }
}

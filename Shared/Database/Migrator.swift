import Foundation

/// One step of a schema's history: raw SQL that runs once, forward only.
package struct Migration: Sendable {
    /// Sorts and names the step: `M0001CreateContacts`. Never renamed once released.
    package let id: String
    /// Statements in PostgreSQL's own words, run in one transaction with the note that they ran.
    package let sql: String

    package init(_ id: String, _ sql: String) {
        self.id = id
        self.sql = sql
    }

    /// A digest of the text (64-bit FNV-1a), to notice when a released migration was edited: it guards against
    /// accidents, not against attackers.
    var checksum: String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in sql.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }
}

/// Brings schemas up to date. Any number of processes may start at once: an advisory lock lets one of them work and the
/// others find everything done.
package struct Migrator: Sendable {
    /// What is known of one migration.
    package struct Status: Sendable {
        /// Where a migration stands; `edited` means that the database has it with another text, and nothing is applied then.
        package enum State: String, Sendable { case applied, pending, edited }
        package let schema: String
        package let id: String
        package let state: State
        package let appliedAt: String?
    }

    /// A migration that was applied differs from the one in this program. Nothing was changed.
    package struct EditedMigration: Error, CustomStringConvertible {
        package let schema: String
        package let id: String
        package var description: String {
            "migration \(schema)/\(id) was applied with another text: released migrations are never edited, add one"
        }
    }

    private let database: Database

    /// A migrator that works with the rights of `database`'s role, which must own the schemas.
    package init(database: Database) { self.database = database }

    /// Applies what is pending of `migrations`, in order, each in its own transaction; returns what was applied.
    package func migrate(schema: String, _ migrations: [Migration]) async throws -> [String] {
        try await prepare()
        var applied: [String] = []
        for migration in migrations {
            let ran = try await database.withoutTenant { transaction in
                _ = try await transaction.query(
                    Statement("select pg_advisory_xact_lock(hashtextextended('guanxi.migrate', 0))"))
                let known = try await transaction.query(
                    Statement(
                        "select checksum from migration.applied where schema_name = $1 and id = $2",
                        [.text(schema), .text(migration.id)]))
                if let checksum = known.isEmpty ? nil : known.text(0, 0) {
                    if checksum != migration.checksum { throw EditedMigration(schema: schema, id: migration.id) }
                    return false
                }
                try await transaction.script(migration.sql)
                _ = try await transaction.query(
                    Statement(
                        "insert into migration.applied (schema_name, id, checksum) values ($1, $2, $3)",
                        [.text(schema), .text(migration.id), .text(migration.checksum)]))
                return true
            }
            if ran { applied.append(migration.id) }
        }
        return applied
    }

    /// What of `migrations` is applied, pending or edited. Changes nothing: the dry run of `migrate`.
    package func status(schema: String, _ migrations: [Migration]) async throws -> [Status] {
        let known = try await database.withoutTenant { transaction in
            let exists = try await transaction.query(Statement("select to_regclass('migration.applied') is not null"))
            guard exists.bool(0, 0) == true else { return [String: (String, String?)]() }
            let rows = try await transaction.query(
                Statement(
                    "select id, checksum, applied_at::text from migration.applied where schema_name = $1",
                    [.text(schema)]))
            return Dictionary(
                uniqueKeysWithValues: (0..<rows.count).map {
                    (rows.text($0, 0)!, (rows.text($0, 1)!, rows.text($0, 2)))
                })
        }
        return migrations.map { migration in
            let entry = known[migration.id]
            let state: Status.State =
                entry == nil ? .pending : entry!.0 == migration.checksum ? .applied : .edited
            return Status(schema: schema, id: migration.id, state: state, appliedAt: entry?.1)
        }
    }

    private func prepare() async throws {
        try await database.withoutTenant { transaction in
            _ = try await transaction.query(
                Statement("select pg_advisory_xact_lock(hashtextextended('guanxi.migrate', 0))"))
            try await transaction.script(
                """
                create schema if not exists migration;
                create table if not exists migration.applied (
                    schema_name text not null,
                    id text not null,
                    checksum text not null,
                    applied_at timestamptz not null default now(),
                    primary key (schema_name, id)
                );
                """)
        }
    }
}

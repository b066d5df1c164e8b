import Database
import Foundation

/// What an export of a tenant says of itself, in `manifest.json`. It is written last: a folder without one is no export.
package struct TenantManifest: Sendable, Codable {
    /// The tenant's settings; its number and slug are the installation's.
    package struct Settings: Sendable, Codable {
        package var name: String
        package var plan: String
        package var locale: String
        package var timeZone: String
        package var defaultCountry: String
        package var defaultCurrency: String
        package var weight: String
        package var requestsPerSecond: Int
    }

    /// One table, one file.
    package struct Table: Sendable, Codable, Equatable {
        package let name: String
        package let columns: [String]
        package let rows: Int
        package let bytes: Int
        /// Of the file, whose lines are in the order of the primary key.
        package let sha256: String

        var file: String { "\(name).ndjson" }
    }

    static let format = "guanxi-tenant"
    static let version = 1
    static let fileName = "manifest.json"

    package let format: String
    package let version: Int
    package let exportedAt: String
    package let slug: String
    /// Whether keys, and the hashes of passwords, are among it.
    package let withCredentials: Bool
    package let tenant: Settings
    /// The installation's migrations, by schema.
    package let migrations: [String: [String]]
    package let tables: [Table]
    /// Jobs that had not run: what they would have done is not in the export.
    package let unfinishedJobs: Int

    /// Over all tables' names and digests: two tenants with the same one hold the same.
    package var digest: String {
        var stream = SHA256Stream()
        for table in tables { stream.update(Array("\(table.name) \(table.sha256)\n".utf8)) }
        return stream.finish()
    }

    var encoded: Data {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            encoder.keyEncodingStrategy = .convertToSnakeCase
            return try encoder.encode(self)
        }
    }

    /// Reads the manifest of an export; throws `.damaged` for what is none, or is of a version that is not known here.
    static func read(_ directory: URL) throws -> TenantManifest {
        struct Head: Decodable {
            let format: String
            let version: Int
        }
        guard let data = FileManager.default.contents(atPath: directory.appending(path: fileName).path) else {
            throw TenantWorkError.damaged(file: fileName, line: nil, what: "there is none: this is no whole export")
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        guard let head = try? decoder.decode(Head.self, from: data), head.format == format else {
            throw TenantWorkError.damaged(file: fileName, line: nil, what: "is not the manifest of a tenant's export")
        }
        guard head.version == version else {
            throw TenantWorkError.damaged(
                file: fileName, line: nil, what: "is of version \(head.version); this release reads version \(version)")
        }
        do { return try decoder.decode(TenantManifest.self, from: data) } catch {
            throw TenantWorkError.damaged(file: fileName, line: nil, what: "can't be read: \(error)")
        }
    }

    /// What this installation has applied.
    static func migrations(in transaction: Transaction) async throws -> [String: [String]] {
        let rows = try await transaction.query(
            Statement("select schema_name, id from migration.applied order by schema_name, id"))
        var applied: [String: [String]] = [:]
        for row in 0..<rows.count { applied[rows.text(row, 0)!, default: []].append(rows.text(row, 1)!) }
        return applied
    }
}

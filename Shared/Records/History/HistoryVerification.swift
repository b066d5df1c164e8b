import Database
import Foundation
import Jobs
import Tenancy

/// The job that proves a tenant's history: every entry follows from the one before it, every seal from its entries, and
/// every record from its history. One changed byte anywhere in them is found.
package struct HistoryVerification: Sendable {
    /// Something that does not fit.
    struct Fault: Sendable {
        /// `entry_changed`, `entry_missing`, `redaction_changed`, `seal_broken`, `record_changed`, `record_missing`.
        let code: String
        var type: String?
        var record: UUID?
        var version: Int?
        var field: String?

        var json: JSONValue {
            [
                "code": .string(code), "record_type": JSONValue(type), "record_id": JSONValue(record?.lowercased),
                "version": version.map { JSONValue($0) } ?? .null, "field": JSONValue(field),
            ]
        }
    }

    /// What was looked at, and what was found.
    struct Report: Sendable {
        var entries = 0
        /// Entries from which erasures took a person's values.
        var redacted = 0
        var records = 0
        var seals = 0
        /// The newest seal's root: kept elsewhere, it proves later that none of what it covers was changed.
        var lastRoot: [UInt8] = []
        private(set) var faults: [Fault] = []
        private(set) var faultCount = 0

        mutating func add(_ fault: Fault) {
            faultCount += 1
            if faults.count < 100 { faults.append(fault) }
        }

        var json: JSONValue {
            [
                "verified": .bool(faultCount == 0), "entries": JSONValue(entries), "redacted": JSONValue(redacted),
                "records": JSONValue(records),
                "seals": JSONValue(seals), "last_root": .string(lastRoot.hexadecimal),
                "fault_count": JSONValue(faultCount),
                "faults": .array(faults.map(\.json)),
            ]
        }
    }

    private let store: RecordStore
    private var schema: String { store.outbox.schema }
    private static let pageSize = 2000

    package init(store: RecordStore) { self.store = store }

    /// Starts the job for the bearer's tenant; 202 with its id. Throws 403 unless they administer it.
    package func start(_ context: WriteContext) async throws -> WriteResult {
        guard context.permissions?.isAdministrator == true else {
            throw Problem(403, "forbidden", "Administrators verify the history.")
        }
        var job = PendingJob(
            name: "\(schema).verify-history", queue: "\(schema).default", payload: Array("{}".utf8),
            traceparent: context.traceparent)
        job.options = .long
        return try await store.start(job, note: "entries", context)
    }

    /// Looks at everything; the job's result is the report.
    package func run(_ context: JobContext) async throws {
        var report = Report()
        try await verifyEntries(&report, context)
        try await verifyRedactions(&report, context)
        try await verifySeals(&report, context)
        for type in store.catalogue.types { try await verifyRecords(of: type, &report, context) }
        let end = report
        try await context.once(result: { (result: String) in result }) { _ in end.json.encoded }
    }

    private func verifyEntries(_ report: inout Report, _ context: JobContext) async throws {
        var after = (type: "", record: UUID.beforeAll, version: 0)
        while true {
            let (from, done) = (after, report.entries)
            let rows = try await context.step { transaction in
                context.progress(done: done, total: nil, in: transaction)
                return try await transaction.query(
                    """
                    select e.record_type, e.record_id, e.version, e.version > 1 and p.version is null,
                        case when r.digest is null then e.digest is distinct from \(HistoryChain.digest(previous: "p.digest"))
                        else r.digest is distinct from \(HistoryChain.redactedDigest(erasure: "r.erasure_id")) end
                    from \(schema).history e
                    left join \(schema).history p on p.tenant_id = e.tenant_id and p.record_type = e.record_type
                        and p.record_id = e.record_id and p.version = e.version - 1
                    left join lateral (
                        select x.digest, x.erasure_id from \(schema).history_redaction x
                        where x.tenant_id = $1 and x.record_type = e.record_type and x.record_id = e.record_id
                        and x.version = e.version order by x.at desc, x.batch desc limit 1) r on true
                    where e.tenant_id = $1 and (e.record_type, e.record_id, e.version) > ($2, $3::uuid, $4)
                    order by e.record_type, e.record_id, e.version limit \(Self.pageSize)
                    """, [transaction.tenant.parameter, .text(from.type), .text(from.record), .int(from.version)])
            }
            for row in 0..<rows.count {
                let isMissing = rows.bool(row, 3) == true
                guard isMissing || rows.bool(row, 4) == true else { continue }
                report.add(
                    Fault(
                        code: isMissing ? "entry_missing" : "entry_changed", type: rows.text(row, 0),
                        record: rows.uuid(row, 1), version: rows.int(row, 2)! - (isMissing ? 1 : 0)))
            }
            report.entries += rows.count
            guard rows.count == Self.pageSize else { return }
            let last = rows.count - 1
            after = (rows.text(last, 0)!, rows.text(last, 1)!, rows.int(last, 2)!)
        }
    }

    /// What erasures say they have redacted, and nothing else, is redacted.
    private func verifyRedactions(_ report: inout Report, _ context: JobContext) async throws {
        let rows = try await context.step { transaction in
            try await transaction.query(
                """
                select coalesce(r.erasure_id, e.record_id), coalesce(r.batch, e.version), coalesce(r.entries, 0),
                    r.entries is distinct from e.entries or r.root is distinct from e.root
                from (
                    select erasure_id, batch, count(*) as entries, \(ErasureSchema.root) as root
                    from \(schema).history_redaction where tenant_id = $1 group by 1, 2) r
                full join (
                    select record_id, version, (changes #>> '{redacted,to}')::bigint as entries,
                        changes #>> '{root,to}' as root
                    from \(schema).history where tenant_id = $1 and record_type = '\(ErasureSchema.recordType)') e
                on e.record_id = r.erasure_id and e.version = r.batch
                """, [transaction.tenant.parameter])
        }
        for row in 0..<rows.count {
            report.redacted += rows.int(row, 2) ?? 0
            guard rows.bool(row, 3) == true else { continue }
            report.add(
                Fault(
                    code: "redaction_changed", type: ErasureSchema.recordType, record: rows.uuid(row, 0),
                    version: rows.int(row, 1)))
        }
    }

    private func verifySeals(_ report: inout Report, _ context: JobContext) async throws {
        let seals = try await context.step { transaction in
            try await transaction.query(
                """
                select number, from_time, to_time, entries, root from \(schema).history_seal
                where tenant_id = $1 order by number
                """, [transaction.tenant.parameter])
        }
        var previous: [UInt8] = []
        var end: Date?
        for row in 0..<seals.count {
            let tree = try await HistorySeal.tree(
                schema: schema, from: seals.time(row, 1)!, to: seals.time(row, 2)!
            ) { statement in try await context.step { try await $0.query(statement($0.tenant)) } }
            let root = seals.bytes(row, 4)!
            let follows = seals.int(row, 0) == row + 1 && (end == nil || seals.time(row, 1) == end)
            if !follows || seals.int(row, 3) != tree.count || HistorySeal.root(tree, after: previous) != root {
                report.add(Fault(code: "seal_broken", version: seals.int(row, 0)))
            }
            previous = root
            end = seals.time(row, 2)
            report.seals += 1
            report.lastRoot = root
        }
    }

    private func verifyRecords(of type: RecordType, _ report: inout Report, _ context: JobContext) async throws {
        var after = UUID.beforeAll
        while true {
            let from = after
            let (records, entries, last) = try await context.step { transaction in
                let records = try await transaction.query(
                    """
                    select \(type.selectList) from \(type.table) r where r.tenant_id = $1 and r.id > $2::uuid
                    order by r.id limit 500
                    """, [transaction.tenant.parameter, .text(from)])
                let last = records.isEmpty ? nil : records.text(records.count - 1, 0)
                let entries = try await transaction.query(
                    """
                    select \(HistoryEntry.columns) from \(schema).history
                    where tenant_id = $1 and record_type = $2 and record_id > $3::uuid
                    and record_id <= coalesce($4, 'ffffffff-ffff-ffff-ffff-ffffffffffff')::uuid
                    order by record_id, version
                    """,
                    [
                        transaction.tenant.parameter, .text(type.name), .text(from),
                        .optional(records.count < 500 ? nil : last),
                    ])
                return (records, entries, last)
            }
            let histories = Dictionary(
                grouping: try (0..<entries.count).map { try HistoryEntry(entries, $0) }, by: \.key.id)
            var suspects = Set(histories.keys)
            for row in 0..<records.count {
                let record = Record(records, row, type: type)
                let faults = Self.faults(record, RecordStore.folded(histories[record.id] ?? [], type), type)
                if faults.isEmpty { suspects.remove(record.id) } else { suspects.insert(record.id) }
            }
            // The two reads may have had a change between them: whoever looks wrong is looked at again, held still.
            for id in suspects.sorted(by: { $0.lowercased < $1.lowercased }) {
                for fault in try await context.step({ try await faults(of: id, type, in: $0) }) { report.add(fault) }
            }
            report.records += records.count
            guard records.count == 500, let last else { return }
            after = last
        }
    }

    private func faults(of id: UUID, _ type: RecordType, in transaction: TenantTransaction) async throws -> [Fault] {
        let held = try await store.lock(type, id, includingDeleted: true, in: transaction)
        let rows = try await transaction.query(
            """
            select \(HistoryEntry.columns) from \(schema).history
            where tenant_id = $1 and record_type = $2 and record_id = $3 order by version
            """, [transaction.tenant.parameter, .text(type.name), .uuid(id)])
        guard let held else { return [Fault(code: "record_missing", type: type.name, record: id)] }
        let entries = try (0..<rows.count).map { try HistoryEntry(rows, $0) }
        return Self.faults(held, RecordStore.folded(entries, type), type)
    }

    private static func faults(_ record: Record, _ expected: Record?, _ type: RecordType) -> [Fault] {
        guard let expected else { return [Fault(code: "entry_missing", type: type.name, record: record.id)] }
        var fields = type.fields.filter { field in
            !field.isDerived
                && !RecordJSON.isSame(record.values[field.name], expected.values[field.name], of: field)
        }.map(\.name)
        if record.version != expected.version { fields.append("version") }
        if record.createdAt != expected.createdAt { fields.append("created_at") }
        if record.updatedAt != expected.updatedAt { fields.append("updated_at") }
        if record.deletedAt != expected.deletedAt { fields.append("deleted_at") }
        return fields.map {
            Fault(code: "record_changed", type: type.name, record: record.id, version: record.version, field: $0)
        }
    }
}

import Database
import Foundation
import Jobs
import Tenancy

/// Reads an uploaded file into records, some hundred rows a transaction.
///
/// Each transaction moves the import's position with it, under the row's lock: a killed import goes on where its last
/// commit left it, and of two workers that believe it theirs only one can take each step.
package struct ImportRunner: Sendable {
    private let store: RecordStore
    private static let batchSize = 1000

    package init(store: RecordStore) { self.store = store }

    /// Runs the import of `job` to its end.
    package func run(_ job: RunImport, _ context: JobContext) async throws {
        let plan = try await context.step { try await load(job.importID, context, $0) }
        var source = ImportSource(plan: plan, from: plan.state, store: store)
        var state = plan.state
        var rows: [DelimitedText.Row] = []
        var written: Batch?
        var isAtEnd = false
        repeat {
            let more = try await source.next()
            isAtEnd = more == nil
            rows += more ?? []
            while rows.count >= Self.batchSize || (isAtEnd && !rows.isEmpty) {
                let part = Array(rows.prefix(Self.batchSize))
                rows.removeFirst(part.count)
                let previous = written
                // While the database writes one batch, the next one is read and checked.
                async let isWritten: Void = write(previous, plan, context)
                let batch = try prepare(part, plan, state)
                try await isWritten
                written = batch
                state = batch.to
            }
        } while !isAtEnd
        try await write(written, plan, context)
        let end = state
        try await context.once(result: { (result: String) in result }) { transaction in
            if end.header == nil && plan.options.format.isCSV {
                throw PermanentFailure(code: "no_header", message: "The file has no header row.")
            }
            transaction.later(
                Statement(
                    "delete from \(plan.schema).import_chunk where tenant_id = $1 and import_id = $2",
                    [transaction.tenant.parameter, .uuid(plan.id)]))
            context.progress(done: plan.bytes, total: plan.bytes, in: transaction)
            let counts = try await transaction.query(
                "select rows_done, created, updated, skipped, failed, values_left_out from \(plan.schema).import where tenant_id = $1 and id = $2",
                [transaction.tenant.parameter, .uuid(plan.id)])
            var result: [String: JSONValue] = [
                "import_id": .string(plan.id.lowercased), "dry_run": .bool(plan.options.dryRun),
                "errors": .string("/v1/imports/\(plan.id.lowercased)/errors"),
            ]
            for (index, name) in ["rows", "created", "updated", "skipped", "failed", "values_left_out"].enumerated() {
                result[name] = JSONValue(counts.int(0, index) ?? 0)
            }
            if let header = end.header {
                let mapping = try plan.mapping(header: header)
                result["mapping"] = .object(mapping.paths.mapValues { .string($0) })
            }
            return JSONValue.object(result).encoded
        }
    }

    private func load(
        _ id: UUID, _ context: JobContext, _ transaction: TenantTransaction
    ) async throws -> ImportPlan {
        let schema = store.outbox.schema
        let rows = try await transaction.query(
            """
            select options, bytes, chunks, position, change_set, actor, to_json(unwritable) from \(schema).import
            where tenant_id = $1 and id = $2
            """, [transaction.tenant.parameter, .uuid(id)])
        guard rows.count == 1, let options = try rows.text(0, 0).map({ try JSONParser.parse($0.utf8) }) else {
            throw PermanentFailure(code: "no_import", message: "the import is gone")
        }
        let defaults = try await TenantDefaults(transaction)
        let write = WriteContext(
            tenant: transaction.tenant, job: "import", actor: rows.text(0, 5), defaults: defaults,
            requestID: "job:\(context.jobID.lowercased)",
            traceparent: context.traceparent, changeSet: rows.uuid(0, 4)!, isAsked: true)
        let position = try JSONParser.parse((rows.text(0, 3) ?? "{}").utf8)
        return ImportPlan(
            id: id, schema: schema, options: try ImportOptions(options, catalogue: store.catalogue),
            bytes: rows.int(0, 1)!, chunks: rows.int(0, 2)!, context: write,
            unwritable: Set(try JSONParser.parse(rows.text(0, 6)!.utf8).array?.compactMap(\.text) ?? []),
            state: ImportState(
                offset: position["offset"]?.int ?? 0, rows: position["rows"]?.int ?? 0,
                lines: position["lines"]?.int ?? 0,
                header: position["header"]?.array?.compactMap(\.text)))
    }

    /// Some hundred rows, read and checked, and where the import stands before and after them.
    private struct Batch: Sendable {
        let rows: ImportBatch
        let prepared: ImportBatch.Prepared
        let from: ImportState
        let to: ImportState
    }

    private func prepare(
        _ rows: [DelimitedText.Row], _ plan: ImportPlan, _ state: ImportState
    ) throws -> Batch {
        var next = state
        var body = rows
        if plan.options.format.isCSV && state.header == nil {
            let header = body.removeFirst()
            next.header = try plan.checkedHeader(header)
        }
        next.offset = rows.last!.end
        next.rows = rows.last!.number
        next.lines = rows.last!.entry?.place.lines ?? 0
        let batch = ImportBatch(store: store, plan: plan, header: next.header ?? [], rows: body)
        return Batch(rows: batch, prepared: try batch.prepared(), from: state, to: next)
    }

    /// Commits a batch. Throws when the position was no longer where this worker believed: somebody else has gone on
    /// from here, and the job must look again in a while.
    private func write(_ batch: Batch?, _ plan: ImportPlan, _ context: JobContext) async throws {
        guard let batch else { return }
        let isTaken: Bool
        do {
            isTaken = try await context.step { try await commit(batch, plan, context, oneByOne: false, $0) }
        } catch let error as DatabaseError where error.isOfOneRow {
            isTaken = try await context.step { try await commit(batch, plan, context, oneByOne: true, $0) }
        }
        if !isTaken { throw ImportMovedOn() }
    }

    private func commit(
        _ batch: Batch, _ plan: ImportPlan, _ context: JobContext, oneByOne: Bool, _ transaction: TenantTransaction
    ) async throws -> Bool {
        let moved = try await transaction.query(
            """
            update \(plan.schema).import set position = $3::jsonb
            where tenant_id = $1 and id = $2 and coalesce((position ->> 'offset')::bigint, 0) = $4
            """,
            [transaction.tenant.parameter, .uuid(plan.id), .text(batch.to.json.encoded), .int(batch.from.offset)])
        guard moved.affected == 1 else { return false }
        let tally = try await batch.rows.write(batch.prepared, oneByOne: oneByOne, in: transaction)
        for statement in tally.statements(plan, tenant: transaction.tenant) { transaction.later(statement) }
        context.progress(done: batch.to.offset, total: plan.bytes, note: "\(batch.to.rows) rows", in: transaction)
        return true
    }
}

/// The import was taken further by another worker meanwhile.
struct ImportMovedOn: Error, CustomStringConvertible {
    let description = "another worker has taken the import further"
}

/// Where an import stands.
struct ImportState: Sendable {
    var offset: Int
    var rows: Int
    /// Counted by a type's own format alone.
    var lines = 0
    var header: [String]?

    var json: JSONValue {
        [
            "offset": JSONValue(offset), "rows": JSONValue(rows), "lines": JSONValue(lines),
            "header": header.map { .array($0.map { .string($0) }) } ?? .null,
        ]
    }
}

/// What an import is to do, as its row says.
struct ImportPlan: Sendable {
    let id: UUID
    let schema: String
    let options: ImportOptions
    let bytes: Int
    let chunks: Int
    let context: WriteContext
    /// Fields that whoever asked for the import must not set.
    let unwritable: Set<String>
    let state: ImportState

    func mapping(header: [String]) throws -> ImportMapping {
        try options.mapping.map { try ImportMapping($0, type: options.type).ordered(by: header) }
            ?? ImportMapping(guessing: header, type: options.type)
    }

    /// A row as the error file shows it: as it came, or written anew where that was not kept.
    func text(of row: DelimitedText.Row) -> [UInt8] {
        guard let record = row.entry?.record, !record.isEmpty, let format = options.format.own else { return row.raw }
        var text: [UInt8] = []
        format.write(record, &text)
        return text
    }

    func checkedHeader(_ row: DelimitedText.Row) throws -> [String] {
        if let error = row.error { throw PermanentFailure(code: error.code, message: "Header: \(error.message)") }
        let names = row.fields.map { Normaliser.trimmed($0) }
        guard Set(names).count == names.count else {
            throw PermanentFailure(code: "header_twice", message: "Two columns have the same name.")
        }
        let mapping = try mapping(header: names)
        let missing = mapping.targets.map(\.column).filter { !names.contains($0) }
        guard missing.isEmpty else {
            throw PermanentFailure(
                code: "column_missing",
                message: "The mapping names columns that the file lacks: \(missing.joined(separator: ", ")).")
        }
        let forbidden = mapping.fields.intersection(unwritable).sorted()
        guard forbidden.isEmpty else {
            throw PermanentFailure(
                code: "forbidden_field",
                message: "The roles of whoever asked for the import do not let them set: "
                    + "\(forbidden.joined(separator: ", ")). Give a mapping without them.")
        }
        guard !mapping.targets.isEmpty else {
            throw PermanentFailure(
                code: "nothing_mapped", message: "No column of the file could be matched with a field; give a mapping.")
        }
        return names
    }
}

/// Gives the rows of an uploaded file, chunk by chunk, from any position on.
struct ImportSource {
    private let plan: ImportPlan
    private let store: RecordStore
    private var text: DelimitedText
    private var lines: LineReader
    private var own: (any RecordFileReader)?
    private var chunk: Int
    private var skip: Int
    private var isFinished = false

    init(plan: ImportPlan, from state: ImportState, store: RecordStore) {
        self.plan = plan
        self.store = store
        text = DelimitedText(offset: state.offset, rows: state.rows)
        lines = LineReader(offset: state.offset, rows: state.rows)
        own = plan.options.format.own?.reader(
            ImportPlace(offset: state.offset, entries: state.rows, lines: state.lines))
        chunk = state.offset / ImportUpload.chunkSize
        skip = state.offset % ImportUpload.chunkSize
    }

    /// The rows that end in the next chunk; nil at the end of the file.
    mutating func next() async throws -> [DelimitedText.Row]? {
        if isFinished { return nil }
        guard chunk < plan.chunks else {
            isFinished = true
            if let entries = own?.finish() { return entries.map(DelimitedText.Row.init) }
            let last = plan.options.format.isCSV ? text.finish() : lines.finish()
            return last.map { [$0] } ?? []
        }
        let rows = try await store.database.query(
            tenant: plan.context.tenant,
            Statement(
                "select bytes from \(plan.schema).import_chunk where tenant_id = $1 and import_id = $2 and number = $3",
                [plan.context.tenant.parameter, .uuid(plan.id), .int(chunk)]), readOnly: true)
        // Another worker finished the import and cleared its file.
        guard let bytes = rows.isEmpty ? nil : rows.bytes(0, 0) else { throw JobIsSettled() }
        let fresh = bytes.dropFirst(skip)
        skip = 0
        chunk += 1
        if let entries = own?.feed(fresh[...]) { return entries.map(DelimitedText.Row.init) }
        return plan.options.format.isCSV ? text.feed(fresh) : lines.feed(fresh)
    }
}

extension DelimitedText.Row {
    /// An entry of a type's own format. Its text is not kept: for the error file it is written anew.
    init(_ entry: RecordFileEntry) {
        self.init(
            number: entry.number, fields: [], error: entry.error, raw: [], end: entry.place.offset, entry: entry)
    }
}

/// Splits NDJSON into its lines, in bounded memory.
struct LineReader {
    private var line: [UInt8] = []
    private var consumed: Int
    private var number: Int
    private var isTooLong = false

    init(offset: Int, rows: Int) {
        consumed = offset
        number = rows
    }

    mutating func feed(_ bytes: some Sequence<UInt8>) -> [DelimitedText.Row] {
        var rows: [DelimitedText.Row] = []
        for byte in bytes {
            consumed += 1
            if byte == UInt8(ascii: "\n") {
                if let row = end() { rows.append(row) }
            } else if line.count < DelimitedText.longestRow {
                line.append(byte)
            } else {
                isTooLong = true
            }
        }
        return rows
    }

    mutating func finish() -> DelimitedText.Row? { line.isEmpty ? nil : end() }

    private mutating func end() -> DelimitedText.Row? {
        defer {
            line = []
            isTooLong = false
        }
        number += 1
        if line.allSatisfy({ $0 == 32 || $0 == 13 || $0 == 9 }) { return nil }
        return DelimitedText.Row(
            number: number, fields: [],
            error: isTooLong ? ("row_too_long", "A row is at most \(DelimitedText.longestRow) bytes.") : nil, raw: line,
            end: consumed)
    }
}

extension DatabaseError {
    /// True when one row's value caused it, so that the others can go in without it.
    var isOfOneRow: Bool {
        switch code {
        case .uniqueViolation: !isInboxConstraint
        case .foreignKeyViolation, .checkViolation, .invalidValue: true
        default: false
        }
    }

    private var isInboxConstraint: Bool { constraint?.hasPrefix("inbox_") == true }
}

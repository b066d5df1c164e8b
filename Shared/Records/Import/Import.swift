import Database
import Foundation
import Jobs
import Tenancy

/// What a caller wants of an import.
package struct ImportOptions: Sendable {
    /// What happens to a row whose source and external id are there already.
    package enum Duplicates: String, Sendable, CaseIterable {
        case skip, update, create
        /// Reported as an error of the row, for a person to decide.
        case ask
    }

    /// What happens to a row with a value that its field does not take.
    package enum BadValues: String, Sendable, CaseIterable {
        /// The row stays out.
        case refuse
        /// The row goes in without the value, which is reported all the same.
        case leaveOut = "leave_out"
    }

    package let type: RecordType
    package let format: FileFormat
    package let mapping: [String: String]?
    package let duplicates: Duplicates
    package let badValues: BadValues
    package let source: String?
    package let dryRun: Bool

    /// Reads the `options` part. Throws 422 with every wrong member.
    package init(_ value: JSONValue, catalogue: Catalogue) throws {
        guard let members = value.object else {
            throw Problem.invalid("/options", "not_an_object", "An object belongs here.")
        }
        var errors: [FieldError] = []
        for name in members.keys.sorted()
        where !["type", "format", "mapping", "duplicates", "bad_values", "source", "dry_run"].contains(name) {
            errors.append(FieldError("/options/\(name)", "unknown_field", "There is no such option."))
        }
        let type = members["type"]?.text.flatMap { catalogue.type(named: $0) ?? catalogue.type(plural: $0) }
        if type?.operations.contains(.import) != true {
            let names = catalogue.importable.map(\.name)
            errors.append(FieldError("/options/type", "not_a_choice", "One of: \(names.joined(separator: ", "))."))
        }
        func choice<Choice: RawRepresentable & CaseIterable>(_ name: String, _ fallback: Choice) -> Choice
        where Choice.RawValue == String {
            guard let given = members[name], given != .null else { return fallback }
            if let choice = given.text.flatMap(Choice.init(rawValue:)) { return choice }
            let names = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            errors.append(FieldError("/options/\(name)", "not_a_choice", "One of: \(names)."))
            return fallback
        }
        let format: FileFormat
        if let given = members["format"], given != .null {
            let known = given.text.flatMap { FileFormat($0, of: type) }
            if known == nil {
                let names = FileFormat.names(of: type).joined(separator: ", ")
                errors.append(FieldError("/options/format", "not_a_choice", "One of: \(names)."))
            }
            format = known ?? .csv
        } else {
            format = .csv
        }
        self.format = format
        duplicates = choice("duplicates", .skip)
        badValues = choice("bad_values", .refuse)
        if let given = members["dry_run"], given != .null, given.bool == nil {
            errors.append(FieldError("/options/dry_run", "not_a_boolean", "true or false belongs here."))
        }
        dryRun = members["dry_run"]?.bool ?? false
        var source: String?
        do throws(FieldError) {
            // Read as the records' own field is, which it becomes.
            let reader = FieldReader(defaults: .neutral)
            source = try reader.read(members["source"] ?? .null, as: RecordType.origin[0], at: "/options/source")[0]
        } catch {
            errors.append(error)
        }
        self.source = source
        var mapping: [String: String]?
        if let given = members["mapping"], given != .null {
            let pairs = given.object?.compactMapValues(\.text)
            if pairs == nil || pairs?.count != given.object?.count {
                errors.append(
                    FieldError("/options/mapping", "not_an_object", "An object of column to field belongs here."))
            }
            mapping = pairs
        }
        self.mapping = mapping
        guard errors.isEmpty, let type else { throw Problem.invalid(errors) }
        self.type = type
        if let mapping { _ = try ImportMapping(mapping, type: type) }
    }

    var json: JSONValue {
        [
            "type": .string(type.name), "format": .string(format.name), "duplicates": .string(duplicates.rawValue),
            "bad_values": .string(badValues.rawValue), "dry_run": .bool(dryRun), "source": JSONValue(source),
            "mapping": mapping.map { .object($0.mapValues { .string($0) }) } ?? .null,
        ]
    }
}

/// The job that reads an uploaded file into records.
package struct RunImport: Codable, Sendable {
    package let importID: UUID
}

/// Takes files in, piece by piece: the file is never held in memory, and every worker can reach it.
package struct ImportUpload: Sendable {
    /// The size of a stored piece; every piece but the last has it, so that any offset can be found.
    package static let chunkSize = 256 * 1024

    private let store: RecordStore
    private let context: WriteContext
    private let id = UUID.v7()
    private var buffer: [UInt8] = []
    /// Of the stored pieces so far, each hashed with what came before it.
    private var digest: [UInt8] = []
    private var chunks = 0
    private var bytes = 0

    package init(store: RecordStore, context: WriteContext) {
        self.store = store
        self.context = context
    }

    /// Adds bytes of the file. Throws 422 when it is certainly no text.
    package mutating func add(_ piece: some Sequence<UInt8>) async throws {
        buffer.append(contentsOf: piece)
        if chunks == 0 && buffer.count >= 4 { try Self.checkText(buffer.prefix(4096)) }
        while buffer.count >= Self.chunkSize {
            try await write(Array(buffer.prefix(Self.chunkSize)))
            buffer.removeFirst(Self.chunkSize)
        }
    }

    /// Throws 403 unless the bearer may import records of the type, all of them, since a file may bring and change records
    /// of anybody: asked before a byte of the file is kept. So is every field that the options name which the bearer may
    /// not set; those that the file names are for the job.
    package func check(_ options: ImportOptions) throws {
        guard try context.scope(of: .import, on: options.type) == .all else {
            throw Problem(
                403, "forbidden",
                "A file may bring and change \(options.type.plural) of anybody: your roles import but some of them.")
        }
        if options.source != nil { try context.requireWritable(["source"], options.type, in: .import) }
        guard let mapping = options.mapping else { return }
        let targets = try ImportMapping(mapping, type: options.type)
        try context.requireWritable(targets.fields, options.type, in: .import)
        try targets.require(context.defaults.customFields[options.type.name])
    }

    /// Throws 403 unless the bearer may import records of some type.
    package func checkAny() throws {
        guard store.catalogue.importable.contains(where: { (try? context.scope(of: .import, on: $0)) != nil }) else {
            throw Problem(403, "forbidden", "Your roles do not allow you to import.")
        }
    }

    /// Forgets what was uploaded: the request failed on the way.
    package func discard() async {
        _ = try? await store.database.query(
            tenant: context.tenant,
            Statement(
                "delete from \(store.outbox.schema).import_chunk where tenant_id = $1 and import_id = $2",
                [context.tenant.parameter, .uuid(id)]))
    }

    /// Ends the file and starts the import: its row and its job are written together. The answer holds their ids; a
    /// request that came before, with the same key, options and file, gets the earlier one's.
    package mutating func finish(_ options: ImportOptions) async throws -> WriteResult {
        try Self.checkText(buffer.prefix(4096))
        if !buffer.isEmpty { try await write(buffer) }
        guard bytes > 0 else { throw Problem.invalid("/file", "empty_file", "The file is empty.") }
        try check(options)
        let schema = store.outbox.schema
        var job = PendingJob(
            name: "\(schema).run-import", queue: "\(schema).import",
            payload: try JobCoding.encode(RunImport(importID: id)), traceparent: context.traceparent)
        job.options = .long
        job.options.isTracked = true
        var context = context
        if let given = context.idempotency {
            context.idempotency = WriteContext.Idempotency(
                key: given.key, digest: Sodium.hash(given.digest + options.json.encodedBytes + digest))
        }
        let answer: JSONValue = ["import_id": .string(id.lowercased), "job_id": .string(job.id.lowercased)]
        let result = WriteResult(status: 202, id: job.id, version: nil, body: answer.encodedBytes)
        var statements = context.idempotency.map { [store.remember(result, $0, context)] } ?? []
        statements += [
            Statement(
                """
                insert into \(schema).import (tenant_id, id, job_id, record_type, format, options, bytes, chunks, actor,
                    change_set, unwritable)
                values ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11::text[])
                """,
                [
                    context.tenant.parameter, .uuid(id), .uuid(job.id), .text(options.type.name),
                    .text(options.format.name), .text(options.json.encoded), .int(bytes), .int(chunks),
                    .text(context.actor), .uuid(context.changeSet),
                    .array(context.unwritable(options.type, in: .import).sorted()),
                ]),
            store.outbox.statusStatement(job, total: bytes, note: "bytes", for: context.user, tenant: context.tenant),
        ]
        statements += store.outbox.statements(for: [job], tenant: context.tenant)
        let (write, started) = (context, statements)
        let given = try await store.mapping(options.type, write) {
            _ = try await store.database.batch(tenant: write.tenant, started)
            store.outbox.push([job], tenant: write.tenant)
            return result
        }
        if given.isReplay { await discard() }
        return given
    }

    private mutating func write(_ piece: [UInt8]) async throws {
        _ = try await store.database.query(
            tenant: context.tenant,
            Statement(
                "insert into \(store.outbox.schema).import_chunk (tenant_id, import_id, number, bytes) values ($1, $2, $3, $4)",
                [context.tenant.parameter, .uuid(id), .int(chunks), .bytes(piece)]))
        digest = Sodium.hash(digest + piece)
        chunks += 1
        bytes += piece.count
    }

    private static func checkText(_ start: some Collection<UInt8>) throws {
        if start.starts(with: [0xff, 0xfe]) || start.starts(with: [0xfe, 0xff]) {
            throw Problem.invalid("/file", "wrong_encoding", "The file is UTF-16; save it as UTF-8.")
        }
        if start.contains(0) {
            throw Problem.invalid("/file", "not_text", "The file is no text.")
        }
    }
}

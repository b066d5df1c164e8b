import Database
import Foundation
import Jobs
import Tenancy

/// The job that writes an export's file.
package struct RunExport: Codable, Sendable {
    package let exportID: UUID
}

/// Exports: started over HTTP, written by a job, downloadable for a day.
package struct Exports: Sendable {
    private let store: RecordStore
    private var schema: String { store.outbox.schema }

    package init(store: RecordStore) { self.store = store }

    /// Starts an export of all records that the bearer may export and the filter lets through: 202 with its ids.
    package func start(_ options: ExportOptions, _ context: WriteContext) async throws -> WriteResult {
        let scope = try context.scope(of: .export, on: options.type)
        // A filter that can't be compiled is refused here, not in the job.
        if let filter = options.filter {
            var builder = SQLBuilder([context.tenant.parameter])
            _ = try FilterCompiler(
                catalogue: store.catalogue, defaults: context.defaults, reach: FilterReach(context)
            )
            .sql(filter, type: options.type, &builder)
        }
        let reach = ExportReach(context, scope: scope, options.type, store.catalogue)
        if let asked = options.fields?.intersection(reach.left ?? []).sorted(), !asked.isEmpty {
            throw Problem(
                403, "forbidden_field", "Your roles keep out of exports: \(asked.joined(separator: ", ")).",
                fields: asked.map { FieldError("/fields", "forbidden_field", "\($0) is hidden from your roles.") })
        }
        let id = UUID.v7()
        let job = PendingJob(
            name: "\(schema).run-export", queue: "\(schema).import",
            payload: try JobCoding.encode(RunExport(exportID: id)), options: .long, traceparent: context.traceparent)
        let reachText = String(decoding: try JobCoding.encode(reach), as: UTF8.self)
        return try await store.writing(options.type, dryRun: false, context) { transaction in
            transaction.later(
                Statement(
                    """
                    insert into \(schema).export (tenant_id, id, job_id, record_type, format, options, reach, actor)
                    values ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8)
                    """,
                    [
                        context.tenant.parameter, .uuid(id), .uuid(job.id), .text(options.type.name),
                        .text(options.format.name), .text(options.json.encoded), .text(reachText),
                        .text(context.actor),
                    ]))
            store.outbox.enqueueTracked(job, note: "records", for: context.user, in: transaction)
            let answer: JSONValue = ["export_id": .string(id.lowercased), "job_id": .string(job.id.lowercased)]
            return WriteResult(status: 202, id: job.id, version: nil, body: answer.encodedBytes)
        }
    }

    /// A finished export's file: its media type, its name, and how many pieces it has.
    package struct File: Sendable {
        package let id: UUID
        package let contentType: String
        package let name: String
        package let pieces: Int
        package let bytes: Int
    }

    /// The file of an export that its owner (or an administrator) asks for. Throws 404 for others', 409 while it is
    /// being written, 410 once its day is over.
    package func file(_ id: UUID, _ context: WriteContext) async throws -> File {
        let rows = try await store.database.query(
            tenant: context.tenant,
            Statement(
                """
                select record_type, format, actor, pieces, bytes, finished_at, finished_at < now() - interval '1 day',
                    options, reach
                from \(schema).export where tenant_id = $1 and id = $2
                """, [context.tenant.parameter, .uuid(id)]), readOnly: true)
        guard rows.count == 1, let type = store.catalogue.type(named: rows.text(0, 0)!),
            rows.text(0, 2) == context.actor || context.permissions?.isAdministrator == true,
            (try? context.scope(of: .export, on: type)) != nil
        else { throw Problem.notFound("export") }
        guard let finished = rows.time(0, 5) else {
            throw Problem(409, "not_finished", "The export is still being written.", headers: [("Retry-After", "1")])
        }
        // What was hidden from its owner since then is not handed out any more.
        let options = try ExportOptions(try JSONParser.parse(rows.text(0, 7)!.utf8), catalogue: store.catalogue)
        let reach = try JobCoding.decode(ExportReach.self, from: Array(rows.text(0, 8)!.utf8))
        let written = (options.fields ?? Set(type.fields.map(\.name))).subtracting(reach.left ?? [])
        if let hidden = context.permissions?.hiddenInExports(of: type.name), !hidden.isDisjoint(with: written) {
            throw Problem(403, "forbidden_field", "The file holds fields that your roles hide by now.")
        }
        if rows.bool(0, 6) == true { throw Problem(410, "expired", "Exports can be downloaded for a day.") }
        let format = FileFormat(rows.text(0, 1)!, of: type) ?? .csv
        let day = Timestamp.rfc3339(finished).prefix(10)
        return File(
            id: id, contentType: format.contentType, name: "\(type.plural)-\(day).\(format.fileExtension)",
            pieces: rows.int(0, 3)!, bytes: rows.int(0, 4)!)
    }

    /// One piece of a file, from 0 on.
    package func piece(_ number: Int, of file: File, tenant: TenantID) async throws -> [UInt8] {
        let rows = try await store.database.query(
            tenant: tenant,
            Statement(
                "select bytes from \(schema).export_piece where tenant_id = $1 and export_id = $2 and number = $3",
                [tenant.parameter, .uuid(file.id), .int(number)]), readOnly: true)
        guard let bytes = rows.isEmpty ? nil : rows.bytes(0, 0) else {
            throw Problem(410, "expired", "The export is no longer there.")
        }
        return bytes
    }
}

/// Writes an export page by page; a killed run goes on where its last committed page ended.
package struct ExportRunner: Sendable {
    private let store: RecordStore
    private var schema: String { store.outbox.schema }
    private static let pageSize = 1000

    package init(store: RecordStore) { self.store = store }

    private struct Plan: Sendable {
        let options: ExportOptions
        let reach: ExportReach
    }

    /// Where an export stands.
    private struct Position: Sendable {
        var last: String
        var pieces: Int
        var bytes: Int
        var records: Int
        var isAtEnd = false
    }

    /// Runs the export of `job` to its end.
    package func run(_ job: RunExport, _ context: JobContext) async throws {
        let (plan, from) = try await context.step { try await load(job.exportID, $0) }
        var position = from
        while !position.isAtEnd {
            let before = position
            guard let next = try await context.step({ try await write(job.exportID, plan, before, context, $0) }) else {
                throw ExportMovedOn()
            }
            position = next
        }
        let end = position
        try await context.once(result: { (result: String) in result }) { transaction in
            transaction.later(
                Statement(
                    "update \(schema).export set finished_at = now() where tenant_id = $1 and id = $2",
                    [transaction.tenant.parameter, .uuid(job.exportID)]))
            context.progress(done: end.records, total: end.records, in: transaction)
            let result: JSONValue = [
                "export_id": .string(job.exportID.lowercased), "records": JSONValue(end.records),
                "bytes": JSONValue(end.bytes), "file": .string("/v1/exports/\(job.exportID.lowercased)/file"),
            ]
            return result.encoded
        }
    }

    private func load(_ id: UUID, _ transaction: TenantTransaction) async throws -> (Plan, Position) {
        let rows = try await transaction.query(
            """
            select options, reach, last_id, pieces, bytes, records from \(schema).export
            where tenant_id = $1 and id = $2
            """, [transaction.tenant.parameter, .uuid(id)])
        guard rows.count == 1 else { throw PermanentFailure(code: "no_export", message: "the export is gone") }
        let options = try ExportOptions(try JSONParser.parse(rows.text(0, 0)!.utf8), catalogue: store.catalogue)
        let reach = try JobCoding.decode(ExportReach.self, from: Array(rows.text(0, 1)!.utf8))
        return (
            Plan(options: options, reach: reach),
            Position(
                last: rows.text(0, 2) ?? UUID.beforeAll, pieces: rows.int(0, 3)!,
                bytes: rows.int(0, 4)!, records: rows.int(0, 5)!)
        )
    }

    /// Writes one page and moves the position with it; nil when another worker has moved it meanwhile.
    private func write(
        _ id: UUID, _ plan: Plan, _ position: Position, _ context: JobContext, _ transaction: TenantTransaction
    ) async throws -> Position? {
        let type = plan.options.type
        var builder = SQLBuilder([transaction.tenant.parameter, .text(position.last), .int(Self.pageSize)])
        var conditions = WriteContext.condition(
            plan.reach.scope, type, user: plan.reach.userID, team: plan.reach.teamID, &builder)
        if let filter = plan.options.filter {
            let compiler = FilterCompiler(
                catalogue: store.catalogue, defaults: try await TenantDefaults(transaction),
                reach: FilterReach(plan.reach))
            conditions += " and " + (try compiler.sql(filter, type: type, &builder))
        }
        let rows = try await transaction.query(
            """
            select \(type.selectList) from \(type.table) r
            where r.tenant_id = $1 and r.id > $2::uuid and r.deleted_at is null\(conditions)
            order by r.id limit $3
            """, builder.parameters)
        let left = Set(plan.reach.left ?? [])
        let fields =
            left.isEmpty ? plan.options.fields : (plan.options.fields ?? Set(type.fields.map(\.name))).subtracting(left)
        let text = ExportText(type: type, format: plan.options.format, fields: fields)
        var piece = position.pieces == 0 ? text.header : []
        for row in 0..<rows.count { text.append(rows, row, to: &piece) }
        var next = position
        next.isAtEnd = rows.count < Self.pageSize
        if let last = rows.isEmpty ? nil : rows.text(rows.count - 1, 0) { next.last = last }
        next.records += rows.count
        next.bytes += piece.count
        next.pieces += 1
        let moved = try await transaction.query(
            """
            update \(schema).export set last_id = $3, pieces = $4, bytes = $5, records = $6
            where tenant_id = $1 and id = $2 and pieces = $7
            """,
            [
                transaction.tenant.parameter, .uuid(id), .text(next.last), .int(next.pieces), .int(next.bytes),
                .int(next.records), .int(position.pieces),
            ])
        guard moved.affected == 1 else { return nil }
        transaction.later(
            Statement(
                "insert into \(schema).export_piece (tenant_id, export_id, number, bytes) values ($1, $2, $3, $4)",
                [transaction.tenant.parameter, .uuid(id), .int(position.pieces), .bytes(piece)]))
        context.progress(done: next.records, total: nil, in: transaction)
        return next
    }
}

/// The export was taken further by another worker meanwhile.
private struct ExportMovedOn: Error, CustomStringConvertible {
    let description = "another worker has taken the export further"
}

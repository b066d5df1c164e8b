import Database
import Foundation
import Jobs

/// What every write over HTTP has around it: its precondition, its idempotency key, its dry run, and the database's
/// refusals told in the words of the surface.
extension RecordStore {
    func refuseStale(
        _ type: RecordType, _ current: Record, base: Int, submitted: [String: JSONValue], merging: Bool,
        _ context: WriteContext, in transaction: TenantTransaction
    ) async throws {
        let rows = try await transaction.query(
            """
            select changes::text from \(type.schema).history
            where tenant_id = $1 and record_type = $2 and record_id = $3 and version > $4 order by version
            """, [transaction.tenant.parameter, .text(type.name), .uuid(current.id), .int(base)])
        // What a field was at the base version is what its first later change came from.
        var baseValues: [String: JSONValue] = [:]
        for row in 0..<rows.count {
            guard let changes = rows.text(row, 0).flatMap({ try? JSONParser.parse($0.utf8) })?.object else { continue }
            for (name, change) in changes where baseValues[name] == nil { baseValues[name] = change["from"] ?? .null }
        }
        var conflicts: [JSONValue] = []
        let hidden = context.hidden(type)
        for field in type.fields where !hidden.contains(field.name) {
            guard let was = baseValues[field.name] else { continue }
            // A deletion submits nothing and conflicts with every change.
            guard submitted.isEmpty || submitted[field.name] != nil else { continue }
            conflicts.append([
                "field": .string(field.name), "base": was,
                "current": RecordJSON.value(of: field, columns: current.values[field.name] ?? [nil]),
                "submitted": submitted[field.name] ?? .null,
            ])
        }
        if merging && conflicts.isEmpty && base < current.version { return }
        throw Problem(
            412, "stale", "The \(type.name) has changed since version \(base).",
            extra: ["current_version": JSONValue(current.version), "conflicts": .array(conflicts)])
    }

    func inTransaction(
        _ context: WriteContext, dryRun: Bool,
        _ body: @Sendable (TenantTransaction) async throws -> WriteResult
    ) async throws -> WriteResult {
        do {
            return try await database.withTenant(context.tenant) { transaction in
                if let idempotency = context.idempotency,
                    let earlier = try await replay(idempotency, context, in: transaction)
                {
                    return earlier
                }
                let result = try await body(transaction)
                if dryRun {
                    // Constraints are checked as the real run would check them, then everything is rolled back.
                    try await transaction.batch([])
                    let record = try? JSONParser.parse(result.body)
                    let prediction = Prediction.json(transaction, record: record, context)
                    throw DryRun(
                        result: WriteResult(
                            status: 200, id: result.id, version: nil, body: prediction.encodedBytes))
                }
                if let idempotency = context.idempotency {
                    transaction.later(remember(result, idempotency, context))
                }
                return result
            }
        } catch let dry as DryRun {
            return dry.result
        }
    }

    private struct DryRun: Error { let result: WriteResult }

    /// The statement that keeps an answer for whoever repeats its request.
    func remember(
        _ result: WriteResult, _ idempotency: WriteContext.Idempotency, _ context: WriteContext
    ) -> Statement {
        Statement(
            """
            insert into \(outbox.schema).idempotency (tenant_id, actor, key, digest, status, record_id, version, body)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
            """,
            [
                context.tenant.parameter, .text(context.actor), .text(idempotency.key), .bytes(idempotency.digest),
                .int(result.status), result.id.map(Parameter.uuid) ?? .null,
                result.version.map(Parameter.int) ?? .null, .text(String(decoding: result.body, as: UTF8.self)),
            ])
    }

    private static let replaySQL = "select digest, status, record_id, version, body from"

    private func replay(
        _ idempotency: WriteContext.Idempotency, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> WriteResult? {
        let rows = try await transaction.query(replayStatement(idempotency, context))
        return try replayed(rows, idempotency)
    }

    private func replayStatement(_ idempotency: WriteContext.Idempotency, _ context: WriteContext) -> Statement {
        Statement(
            "\(Self.replaySQL) \(outbox.schema).idempotency where tenant_id = $1 and actor = $2 and key = $3",
            [context.tenant.parameter, .text(context.actor), .text(idempotency.key)])
    }

    private func replayed(_ rows: Rows, _ idempotency: WriteContext.Idempotency) throws -> WriteResult? {
        guard rows.count == 1 else { return nil }
        guard rows.bytes(0, 0) == idempotency.digest else {
            throw Problem(422, "idempotency_key_reused", "This Idempotency-Key came before with another request.")
        }
        return WriteResult(
            status: rows.int(0, 1)!, id: rows.uuid(0, 2), version: rows.int(0, 3),
            body: Array(rows.text(0, 4)!.utf8), isReplay: true)
    }

    /// Runs `body` and tells the database's refusals in the words of the HTTP surface.
    func mapping(
        _ type: RecordType, _ context: WriteContext, _ body: () async throws -> WriteResult
    ) async throws -> WriteResult {
        do {
            return try await body()
        } catch {
            if let earlier = try await earlierAnswer(after: error, context) { return earlier }
            if let error = error as? DatabaseError { throw Self.problem(error, type) ?? error }
            throw error
        }
    }

    /// The answer of the same request that came at the same time and got ahead: what it wrote may be why this one is
    /// refused. Nil where there is none.
    private func earlierAnswer(after error: any Error, _ context: WriteContext) async throws -> WriteResult? {
        guard let idempotency = context.idempotency else { return nil }
        switch error {
        case let error as DatabaseError where error.code == .uniqueViolation: break
        case let problem as Problem where [404, 409, 412].contains(problem.status): break
        default: return nil
        }
        let rows = try await database.query(
            tenant: context.tenant, replayStatement(idempotency, context), readOnly: true)
        return try replayed(rows, idempotency)
    }

    /// Runs a write of things that are no records, with the context's idempotency and dry run: the answer is kept as
    /// `body` gives it, so it holds no secret. What constraints refuse, `body` tells itself.
    package func writing(
        dryRun: Bool, _ context: WriteContext, _ body: @Sendable (TenantTransaction) async throws -> WriteResult
    ) async throws -> WriteResult {
        do {
            return try await inTransaction(context, dryRun: dryRun, body)
        } catch {
            if let earlier = try await earlierAnswer(after: error, context) { return earlier }
            throw error
        }
    }

    /// Starts a job that can be followed, once for an idempotency key; 202 with its id.
    ///
    /// - Parameter checking: throws where the job must not begin.
    package func start(
        _ job: PendingJob, note: String, _ context: WriteContext,
        checking: @Sendable (TenantTransaction) async throws -> Void = { _ in }
    ) async throws -> WriteResult {
        try await writing(dryRun: false, context) { transaction in
            try await checking(transaction)
            outbox.enqueueTracked(job, note: note, for: context.user, in: transaction)
            let answer: JSONValue = ["job_id": .string(job.id.lowercased)]
            return WriteResult(status: 202, id: job.id, version: nil, body: answer.encodedBytes)
        }
    }

    /// The refusal that a constraint's violation means to a caller; nil when it is no fault of theirs.
    package static func problem(_ error: DatabaseError, _ type: RecordType) -> Problem? {
        let field = error.constraint.flatMap { type.field(ofConstraint: $0) }
        let pointer = "/\(field?.name ?? "")"
        switch error.code {
        case .uniqueViolation:
            return Problem(
                409, "not_unique", "Another \(type.name) has the same \(field?.label.en.lowercased() ?? "key").",
                fields: [FieldError(pointer, "not_unique", "This value is taken.")])
        case .foreignKeyViolation:
            return Problem(
                409, "no_such_record", "A record that this one refers to does not exist.",
                fields: [FieldError(pointer, "no_such_record", "There is no such record.")])
        case .checkViolation, .invalidValue:
            return .invalid(pointer, "invalid_value", "This value can't be taken.")
        case .conflict, .lockUnavailable:
            return Problem(409, "busy", "Another change was in the way. Try again.", headers: [("Retry-After", "1")])
        default:
            return nil
        }
    }
}

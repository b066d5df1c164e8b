import Database
import Foundation
import Tenancy

extension RecordStore {
    /// Runs all operations of a batch in one transaction, or none: the first that is refused rolls back the others, and
    /// the problem says which it is. What was done is one change set.
    ///
    /// The answer is `{"results": [{"status", "id", "version", "record"}]}`, in the order of the operations.
    package func batch(
        _ batch: RecordBatch, dryRun: Bool = false, allowingDuplicates: Bool = false, _ context: WriteContext
    ) async throws -> WriteResult {
        // Refused before a connection is taken, and before any of its operations is looked at closer.
        for (index, operation) in batch.operations.enumerated() {
            do { _ = try context.scope(of: operation.action, on: operation.type) } catch {
                throw Self.problem(error, of: index, operation)
            }
        }
        let result = try await writing(batch.operations[0].type, dryRun: dryRun, context) { transaction in
            var run = BatchRun(dryRun: dryRun, allowingDuplicates: allowingDuplicates)
            for (index, operation) in batch.operations.enumerated() {
                do {
                    try await perform(operation, &run, context, in: transaction)
                    // What the database has against an operation belongs to that one.
                    try await transaction.batch([])
                } catch {
                    throw Self.problem(error, of: index, operation)
                }
            }
            if dryRun { transaction.note(BatchNames(names: run.names)) }
            return WriteResult(
                status: 200, id: nil, version: nil,
                body: JSONValue.object(["results": .array(run.results)]).encodedBytes)
        }
        return result
    }

    private func perform(
        _ operation: RecordBatch.Operation, _ run: inout BatchRun, _ context: WriteContext,
        in transaction: TenantTransaction
    ) async throws {
        let type = operation.type
        var body: [String: JSONValue] = [:]
        do throws(FieldError) {
            body = try RecordBatch.resolved(operation.body, fields: type.fields, run.made)
        } catch {
            throw Problem.invalid([error])
        }
        switch operation.kind {
        case .create:
            let scope = try context.scope(of: .create, on: type)
            let draft = try draft(type, creating: .object(body), context)
            try context.require(draft.record, within: scope, type)
            let record = try await admit(
                type, draft,
                lookingForDuplicates: looksForDuplicates(of: type, allowing: run.allowingDuplicates, context),
                dryRun: run.dryRun, context, in: transaction)
            run.add(201, record, context.json(record, type, isPrediction: run.dryRun), ref: operation.ref)
        case .update, .delete:
            let id: UUID
            do throws(FieldError) {
                id = try RecordBatch.id(operation.id!, run.made, at: BatchRun.idPointer)
            } catch {
                throw Problem.invalid([error])
            }
            // Outside of the transaction it still lives: whoever asks there would be told that it is somebody else's.
            if run.gone.contains(id) { throw Problem.notFound(type.name) }
            if operation.kind == .update {
                let record = try await revise(
                    type, id, body, precondition: operation.precondition, context, in: transaction)
                run.add(200, record, context.json(record, type), ref: nil)
            } else {
                try await discard(type, id, precondition: operation.precondition, context, in: transaction)
                run.gone.insert(id)
                run.results.append(["status": 204, "id": .string(id.lowercased)])
            }
        }
    }

    /// What refuses a whole batch, told of the operation that it is about; other errors as they are.
    private static func problem(
        _ error: any Error, of index: Int, _ operation: RecordBatch.Operation
    ) -> any Error {
        // What only was in the way is tried again with the whole transaction.
        if let database = error as? DatabaseError, database.code == .conflict || database.code == .connectionLost {
            return error
        }
        let known =
            (error as? Problem) ?? (error as? FieldError).map { .invalid([$0]) }
            ?? (error as? DatabaseError).flatMap { Self.problem($0, operation.type) }
        guard var problem = known else { return error }
        let place = "/operations/\(index)"
        problem.fields = problem.fields.map { field in
            let isID = field.pointer == BatchRun.idPointer
            return FieldError(isID ? "\(place)/id" : "\(place)/body\(field.pointer)", field.code, field.message)
        }
        if problem.fields.isEmpty { problem.fields = [FieldError(place, problem.code, problem.detail)] }
        problem.extra["operation"] = JSONValue(index)
        return problem
    }
}

extension RecordBatch.Operation {
    fileprivate var action: Action {
        switch kind {
        case .create: .create
        case .update: .update
        case .delete: .delete
        }
    }
}

/// What a batch has done so far.
private struct BatchRun: Sendable {
    /// Stands for the operation's own `id` in errors, where all other pointers lead into its body.
    static let idPointer = "\u{0}id"

    let dryRun: Bool
    let allowingDuplicates: Bool
    var results: [JSONValue] = []
    var made: [String: UUID] = [:]
    var gone: Set<UUID> = []

    init(dryRun: Bool, allowingDuplicates: Bool) {
        self.dryRun = dryRun
        self.allowingDuplicates = allowingDuplicates
    }

    /// Each new id's name, for a prediction: there it is not known yet.
    var names: [String: String] {
        Dictionary(made.map { ($0.value.lowercased, "$\($0.key)") }, uniquingKeysWith: { first, _ in first })
    }

    mutating func add(_ status: Int, _ record: Record, _ json: [UInt8], ref: String?) {
        if let ref { made[ref] = record.id }
        var members: [String: JSONValue] = [
            "status": JSONValue(status), "version": JSONValue(record.version),
            "record": (try? JSONParser.parse(json)) ?? .null,
        ]
        if !(dryRun && status == 201) { members["id"] = .string(record.id.lowercased) }
        results.append(.object(members))
    }
}

/// What stands in a prediction for ids that only a real run gives.
struct BatchNames: Sendable {
    let names: [String: String]

    /// The prediction with names for ids.
    func applied(to value: JSONValue) -> JSONValue {
        if names.isEmpty { return value }
        switch value {
        case .string(let text): return .string(names[text] ?? text)
        case .array(let values): return .array(values.map(applied))
        case .object(let members): return .object(members.mapValues(applied))
        default: return value
        }
    }
}

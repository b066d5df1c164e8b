import Database
import Foundation
import HTTPTypes
import Records

/// The common surface of every record type: list, create, get, change, delete, restore, history, bulk.
package struct RecordEndpoints: Sendable {
    private let store: RecordStore
    private let schemas: RecordSchemas

    package init(store: RecordStore) {
        self.store = store
        schemas = RecordSchemas(catalogue: store.catalogue)
    }

    package var all: [Endpoint] { store.catalogue.types.flatMap(endpoints) }

    private func endpoints(_ type: RecordType) -> [Endpoint] {
        var endpoints = [list(type), get(type), history(type)]
        if type.operations.contains(.create) { endpoints.append(create(type)) }
        if type.operations.contains(.update) { endpoints.append(update(type)) }
        if type.operations.contains(.delete) { endpoints += [delete(type), restore(type)] }
        if type.operations.isSuperset(of: [.create, .update, .delete]) { endpoints.append(bulk(type)) }
        return endpoints
    }

    private func list(_ type: RecordType) -> Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = schemas.listParameters(type) + [schemas.view]
            $0.response = schemas.page(type)
            $0.refusals = [404]
        }
        return Endpoint(.get, "/v1/\(type.plural)", "List \(type.plural)", documentation: documentation) { request in
            let parameters =
                request.parameter("view") == nil
                ? request.query : try await SavedViews(store: store).parameters(request.query, type, request.context)
            let query = try ListQuery(parameters: parameters, type: type)
            let page = try await store.list(type, query, request.context)
            var answer = EndpointResponse(200, page.body)
            if let cursor = page.nextCursor {
                let others = request.query.filter { $0.name != "cursor" } + [("cursor", cursor)]
                let text = others.map { "\($0.0.urlEncoded)=\($0.1.urlEncoded)" }.joined(separator: "&")
                answer.headers.append((.link, "<\(request.prefix)/v1/\(type.plural)?\(text)>; rel=\"next\""))
            }
            return answer
        }
    }

    private func create(_ type: RecordType) -> Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [schemas.dryRun, schemas.idempotencyKey] + likeness(type)
            $0.body = schemas.creation(type)
            $0.response = schemas.record(type)
            $0.status = 201
            $0.refusals = [409, 422]
        }
        return Endpoint(.post, "/v1/\(type.plural)", "Create \(type.oneOf)", documentation: documentation) { request in
            try request.allow(type.rules.likeness == nil ? ["dry_run"] : ["dry_run", "allow_duplicates"])
            let body = try await request.json()
            let dryRun = try request.flag("dry_run")
            let result = try await store.create(
                type, body, dryRun: dryRun, allowingDuplicates: try request.flag("allow_duplicates"), request.context)
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/\(type.plural)")
        }
    }

    private func likeness(_ type: RecordType) -> [JSONValue] {
        type.rules.likeness == nil ? [] : [schemas.allowDuplicates]
    }

    private func get(_ type: RecordType) -> Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [schemas.fields(type), schemas.asOf] + schemas.expand(type)
            $0.response = schemas.record(type)
            $0.refusals = [404]
        }
        return Endpoint(.get, "/v1/\(type.plural)/{id}", "Get \(type.oneOf)", documentation: documentation) {
            request in
            try request.allow(["fields", "as_of", "expand"])
            let (fields, expansions) = try Expansion.selection(
                fields: request.parameter("fields"), expand: request.parameter("expand"), type: type)
            guard let text = request.parameter("as_of") else {
                let id = try request.id()
                let record = try await store.get(type, id, fields: fields, expanding: expansions, request.context)
                var answer = EndpointResponse(200, record.body, headers: [(.eTag, "\"\(record.version)\"")])
                if record.id != id {
                    answer.headers.append(
                        (.contentLocation, "\(request.prefix)/v1/\(type.plural)/\(record.id.lowercased)"))
                }
                return answer
            }
            guard let moment = Timestamp.parse(text) else {
                throw Problem.badRequest("invalid_parameter", "as_of is a time of RFC 3339.")
            }
            // No ETag: what was is nothing to change.
            let past = try await store.get(
                type, try request.id(), asOf: moment, fields: fields, expanding: expansions, request.context)
            return EndpointResponse(200, past.body)
        }
    }

    private func update(_ type: RecordType) -> Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [schemas.ifMatch, schemas.dryRun, schemas.merge, schemas.idempotencyKey]
            $0.body = schemas.patch(type)
            $0.response = schemas.record(type)
            $0.refusals = [404, 409, 412, 422, 428]
        }
        return Endpoint(.patch, "/v1/\(type.plural)/{id}", "Change \(type.oneOf)", documentation: documentation) {
            request in
            try request.allow(["dry_run", "merge"])
            let id = try request.id()
            let precondition = try request.precondition()
            let body = try await request.json(also: "application/merge-patch+json")
            let dryRun = try request.flag("dry_run")
            let result = try await store.update(
                type, id, body, precondition: precondition, merging: try request.flag("merge"), dryRun: dryRun,
                request.context)
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/\(type.plural)")
        }
    }

    private func delete(_ type: RecordType) -> Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [schemas.ifMatch, schemas.dryRun]
            $0.status = 204
            $0.refusals = [404, 409, 412, 428]
        }
        return Endpoint(.delete, "/v1/\(type.plural)/{id}", "Delete \(type.oneOf)", documentation: documentation) {
            request in
            try request.allow(["dry_run"])
            let id = try request.id()
            let dryRun = try request.flag("dry_run")
            let result = try await store.delete(
                type, id, precondition: try request.precondition(), dryRun: dryRun, request.context)
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/\(type.plural)")
        }
    }

    private func restore(_ type: RecordType) -> Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [schemas.dryRun]
            $0.response = schemas.record(type)
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .post, "/v1/\(type.plural)/{id}/restore", "Restore \(type.oneOf) that was deleted",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let dryRun = try request.flag("dry_run")
            let result = try await store.restore(type, try request.id(), dryRun: dryRun, request.context)
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/\(type.plural)")
        }
    }

    private func history(_ type: RecordType) -> Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [
                RecordParameters.query("limit", ["type": "integer", "minimum": 1, "maximum": 200]),
                RecordParameters.query("cursor", ["type": "string"]),
            ]
            $0.response = schemas.history
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/\(type.plural)/{id}/history", "Every change of \(type.oneOf)", documentation: documentation
        ) { request in
            try request.allow(["limit", "cursor"])
            return EndpointResponse(
                200,
                try await store.history(
                    type, try request.id(), limit: try request.limit(200, usual: 200),
                    after: request.parameter("cursor"), request.context))
        }
    }

    // MARK: Bulk

    /// The most operations of one bulk request.
    static let maximumOperations = 1000

    private func bulk(_ type: RecordType) -> Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [schemas.dryRun] + likeness(type)
            $0.body = schemas.bulk(type)
            $0.predicts = false
            $0.response = schemas.bulkResult
            $0.refusals = [422]
        }
        return Endpoint(
            .post, "/v1/\(type.plural)/bulk", "Up to 1,000 changes, each with its own result",
            documentation: documentation
        ) { request in
            try request.allow(type.rules.likeness == nil ? ["dry_run"] : ["dry_run", "allow_duplicates"])
            let body = try await request.json(allowsNUL: true)
            guard let operations = body["operations"]?.array, body.object?.count == 1,
                (1...Self.maximumOperations).contains(operations.count), operations.allSatisfy({ $0.object != nil })
            else { throw Problem.invalid("/operations", "not_a_list", "A list of 1 to 1,000 operations belongs here.") }
            let dryRun = try request.flag("dry_run")
            _ = try request.flag("allow_duplicates")
            var results: [JSONValue] = []
            for (index, operation) in operations.enumerated() {
                results.append(try await result(of: operation, index, type, request, dryRun: dryRun))
            }
            return EndpointResponse(
                200, json: ["results": .array(results)],
                headers: dryRun ? [] : [(.changeSet, request.context.changeSet.lowercased)])
        }
    }

    private func result(
        of operation: JSONValue, _ index: Int, _ type: RecordType, _ request: EndpointRequest, dryRun: Bool
    ) async throws -> JSONValue {
        // Each operation remembers its own answer under the request's key and its place.
        var context = request.context
        context.idempotency = context.idempotency.map { .init(key: "\($0.key).\(index)", digest: $0.digest) }
        do {
            let result = try await perform(
                operation, type, context, dryRun: dryRun, allowingDuplicates: try request.flag("allow_duplicates"))
            var members: [String: JSONValue] = ["status": JSONValue(result.status)]
            if let id = result.id { members["id"] = .string(id.lowercased) }
            if let version = result.version { members["version"] = JSONValue(version) }
            if dryRun { members["prediction"] = try JSONParser.parse(result.body) }
            return .object(members)
        } catch {
            let problem = (error as? Problem) ?? (error as? FieldError).map { .invalid([$0]) }
            guard let problem else { throw error }
            return [
                "status": JSONValue(problem.status), "code": .string(problem.code), "detail": .string(problem.detail),
                "errors": .array(problem.fields.map(\.json)),
            ]
        }
    }

    private func perform(
        _ operation: JSONValue, _ type: RecordType, _ context: WriteContext, dryRun: Bool, allowingDuplicates: Bool
    ) async throws -> WriteResult {
        if operation.containsNUL {
            throw Problem.invalid("", "control_character", "The NUL character can't be kept.")
        }
        for name in (operation.object ?? [:]).keys where !["op", "id", "version", "data"].contains(name) {
            throw Problem.invalid("/\(name)", "unknown_field", "An operation holds op, id, version and data.")
        }
        let data = operation["data"] ?? .object([:])
        if operation["op"]?.text == "create" {
            return try await store.create(
                type, data, dryRun: dryRun, allowingDuplicates: allowingDuplicates, context)
        }
        guard let id = operation["id"]?.text.flatMap(UUID.init(uuidString:)) else {
            throw Problem.invalid("/id", "not_an_id", "A UUID belongs here.")
        }
        var precondition = Precondition.any
        if let given = operation["version"] {
            guard let version = given.int, version > 0 else {
                throw Problem.invalid("/version", "not_an_integer", "The version that was seen belongs here.")
            }
            precondition = .version(version)
        }
        switch operation["op"]?.text {
        case "update":
            return try await store.update(type, id, data, precondition: precondition, dryRun: dryRun, context)
        case "delete": return try await store.delete(type, id, precondition: precondition, dryRun: dryRun, context)
        default: throw Problem.invalid("/op", "not_a_choice", "One of: create, update, delete.")
        }
    }
}

extension EndpointRequest {
    /// The body as JSON: 415 for another type, 400 for what is not JSON.
    package func json(also other: String? = nil, allowsNUL: Bool = false) async throws -> JSONValue {
        let type = headers[.contentType]?.split(separator: ";").first.map { Normaliser.trimmed($0.lowercased()) }
        guard type == "application/json" || (other != nil && type == other) else {
            throw Problem(415, "unsupported_media_type", "Send application/json.")
        }
        let bytes = try await bytes()
        do {
            return try JSONParser.parse(bytes, allowsNUL: allowsNUL)
        } catch {
            throw Problem(400, "invalid_json", "The body is not JSON: \(error).")
        }
    }
}

extension String {
    /// Percent-encoded for a query string: everything but unreserved characters.
    package var urlEncoded: String {
        utf8.map { byte in
            let isPlain =
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                || byte == 45 || byte == 46 || byte == 95 || byte == 126
            return isPlain
                ? String(UnicodeScalar(byte)) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16).uppercased()
        }.joined()
    }
}

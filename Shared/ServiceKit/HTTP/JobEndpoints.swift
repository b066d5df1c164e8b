import Database
import Foundation
import Jobs
import Records

/// Work under way: how far a job is, and its cancellation.
extension CommonEndpoints {
    private static let jobSchema: JSONValue = [
        "type": "object", "required": ["id", "name", "state", "progress"],
        "properties": [
            "id": ["type": "string", "format": "uuid"], "name": ["type": "string"],
            "state": ["type": "string", "enum": ["waiting", "running", "done", "failed", "cancelled", "dead"]],
            "progress": [
                "type": "object",
                "properties": [
                    "done": ["type": "integer"], "total": ["type": ["integer", "null"]],
                    "note": ["type": ["string", "null"]],
                ],
            ],
            "result": ["type": ["object", "null"]], "error": ["type": ["object", "null"]],
        ],
    ]

    var job: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = Self.jobSchema
            $0.refusals = [404]
        }
        return Endpoint(.get, "/v1/jobs/{id}", "How far a job is", documentation: documentation) { request in
            try request.allow([])
            return try await jobState(try request.id(), request)
        }
    }

    private func jobState(_ id: UUID, _ request: EndpointRequest) async throws -> EndpointResponse {
        let rows = try await store.database.query(
            tenant: request.context.tenant,
            Statement(
                """
                select json_build_object('id', id, 'name', name, 'state', state,
                    'progress', json_build_object('done', done, 'total', total, 'note', note),
                    'result', result, 'error', error,
                    'created_at', to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                    'started_at', to_char(started_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                    'finished_at', to_char(finished_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')), user_id
                from \(schema).job_status where tenant_id = $1 and id = $2
                """, [request.context.tenant.parameter, .uuid(id)]), readOnly: true)
        guard let text = rows.isEmpty ? nil : rows.text(0, 0) else { throw Problem.notFound("job") }
        // What somebody's job found is theirs: it may tell of records that others do not reach.
        if let owner = rows.uuid(0, 1), owner != request.context.user {
            guard try await mayOversee(id, request) else { throw Problem.notFound("job") }
        }
        guard text.contains("\"conflicts\""), var job = try JSONParser.parse(text.utf8).object,
            var result = job["result"]?.object, let conflicts = result["conflicts"]?.array
        else { return EndpointResponse(200, Array(text.utf8)) }
        // The conflicts of an undoing quote values, and this is no place that asks whose the job is.
        result["conflicts"] = .array(
            conflicts.map { conflict in
                let type = conflict["record_type"]?.text.flatMap(store.catalogue.type(named:))
                if type.map(request.context.seesAll) == true { return conflict }
                return .object(
                    (conflict.object ?? [:]).filter { !["expected", "current", "message"].contains($0.key) })
            })
        job["result"] = .object(result)
        return EndpointResponse(json: .object(job))
    }

    var cancelJob: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = Self.jobSchema
            $0.refusals = [404, 409]
        }
        return Endpoint(.post, "/v1/jobs/{id}/cancel", "Cancel a waiting or running job", documentation: documentation)
        { request in
            try request.allow([])
            let id = try request.id()
            let tenant = request.context.tenant
            guard try await mayOversee(id, request) else { throw Problem.forbidden }
            do {
                guard try await store.outbox.settleAsCancelled(id, tenant: tenant) else {
                    throw Problem.notFound("job")
                }
            } catch let error as DatabaseError where error.code == .uniqueViolation {
                // Whoever asks twice, since the first answer was lost, is told that it is cancelled.
                guard try await state(of: id, tenant) == "cancelled" else {
                    throw Problem(409, "already_over", "The job is over.")
                }
            }
            await store.outbox.tellCancelled(id, tenant: tenant)
            return try await jobState(id, request)
        }
    }

    private func state(of job: UUID, _ tenant: TenantID) async throws -> String? {
        let rows = try await store.database.query(
            tenant: tenant,
            Statement(
                "select state from \(schema).job_status where tenant_id = $1 and id = $2",
                [tenant.parameter, .uuid(job)]),
            readOnly: true)
        return rows.isEmpty ? nil : rows.text(0, 0)
    }

    /// Whoever may import a type may follow and cancel its imports; other jobs are the administrators'.
    private func mayOversee(_ id: UUID, _ request: EndpointRequest) async throws -> Bool {
        if request.principal.permissions.isAdministrator { return true }
        let rows = try await store.database.query(
            tenant: request.context.tenant,
            Statement(
                "select record_type from \(schema).import where tenant_id = $1 and job_id = $2",
                [request.context.tenant.parameter, .uuid(id)]), readOnly: true)
        guard let name = rows.isEmpty ? nil : rows.text(0, 0) else { return false }
        return request.principal.permissions.scope(of: .import, on: name) != nil
    }
}

import Foundation
import Records

/// What belongs together, and its undoing.
extension CommonEndpoints {
    private var changeSetSchema: JSONValue {
        [
            "type": "object", "required": ["id", "at", "actor", "counts", "changes", "undone_by"],
            "properties": [
                "id": ["type": "string", "format": "uuid"], "at": ["type": "string", "format": "date-time"],
                "actor": ["type": "string"], "counts": ["type": "array"], "changes": ["type": "array"],
                "undone_by": ["type": ["string", "null"]],
            ],
        ]
    }

    var changeSet: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = changeSetSchema
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/change-sets/{id}", "What one request or job changed", documentation: documentation
        ) { request in
            try request.allow([])
            return EndpointResponse(200, try await store.changeSet(try request.id(), request.context))
        }
    }

    var verifyHistory: Endpoint {
        let documentation = EndpointDocumentation {
            $0.status = 202
            $0.response = [
                "type": "object", "required": ["job_id"], "properties": ["job_id": ["type": "string"]],
            ]
            $0.links = [("job_id", "/v1/jobs/{id}")]
        }
        return Endpoint(
            .post, "/v1/history/verification", "Prove the whole history by a job: entries, seals and records",
            documentation: documentation
        ) { request in
            try request.allow([])
            let job = try await HistoryVerification(store: store).start(request.context)
            return EndpointResponse(
                202, json: ["job_id": .string(job.lowercased)],
                headers: [(.location, "\(request.prefix)/v1/jobs/\(job.lowercased)")])
        }
    }

    var undo: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordSchemas(catalogue: store.catalogue).dryRun]
            $0.body = [
                "type": "object", "additionalProperties": false,
                "properties": [
                    "on_conflict": [
                        "type": "string", "enum": .array(ConflictPolicy.allCases.map { .string($0.rawValue) }),
                        "description": "refuse: all or nothing. skip: undo whatever has not changed since.",
                    ]
                ],
            ]
            $0.response = [
                "type": "object", "required": ["change_set", "undone", "conflict_count", "conflicts"],
                "properties": [
                    "change_set": ["type": "string", "format": "uuid"], "undone": ["type": "integer"],
                    "conflict_count": ["type": "integer"], "conflicts": ["type": "array"],
                ],
            ]
            $0.refusals = [404, 409]
            $0.others = [
                202: [
                    "type": "object", "required": ["job_id", "change_set"],
                    "properties": ["job_id": ["type": "string"], "change_set": ["type": "string"]],
                ]
            ]
        }
        return Endpoint(
            .post, "/v1/change-sets/{id}/undo", "Undo a change set: an import, a bulk edit, a merge, any request",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let body = try await request.json()
            guard let members = body.object else {
                throw Problem.invalid("", "not_an_object", "An object belongs here.")
            }
            for name in members.keys where name != "on_conflict" {
                throw Problem.invalid("/\(name)", "unknown_field", "There is no such field.")
            }
            var policy = ConflictPolicy.refuse
            if let given = members["on_conflict"] {
                guard let named = given.text.flatMap(ConflictPolicy.init(rawValue:)) else {
                    throw Problem.invalid("/on_conflict", "not_a_choice", "One of: refuse, skip.")
                }
                policy = named
            }
            let dryRun = try request.flag("dry_run")
            let result = try await store.undo(try request.id(), policy: policy, dryRun: dryRun, request.context)
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/jobs")
        }
    }
}

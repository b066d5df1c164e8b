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
        Endpoint(
            .post, "/v1/history/verification", "Prove the whole history by a job: entries, seals and records",
            documentation: .startsJob
        ) { request in
            try request.allow([])
            let job = try await HistoryVerification(store: store).start(request.context)
            return EndpointResponse(started: job, for: request)
        }
    }

    var undo: Endpoint {
        UndoEndpoint(
            store: store, path: "/v1/change-sets/{id}/undo",
            summary: "Undo a change set: an import, a bulk edit, a merge, any request"
        ).endpoint { _, _ in }
    }
}

/// An endpoint that undoes a change set: the common one, and those of domains whose own things are change sets.
package struct UndoEndpoint: Sendable {
    private let store: RecordStore
    private let path: String
    private let summary: String

    /// At `path`, which has `{id}`, the change set's.
    package init(store: RecordStore, path: String, summary: String) {
        self.store = store
        self.path = path
        self.summary = summary
    }

    /// The endpoint; `check` refuses ids that are no such thing.
    package func endpoint(
        _ check: @escaping @Sendable (UUID, WriteContext) async throws -> Void
    ) -> Endpoint {
        Endpoint(.post, path, summary, documentation: Self.documentation) { request in
            try request.allow(["dry_run"])
            let policy = try Self.policy(try await request.json())
            let dryRun = try request.flag("dry_run")
            let id = try request.id()
            try await check(id, request.context)
            let result = try await store.undo(id, policy: policy, dryRun: dryRun, request.context)
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/jobs")
        }
    }

    private static func policy(_ body: JSONValue) throws(Problem) -> ConflictPolicy {
        guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
        for name in members.keys.sorted() where name != "on_conflict" {
            throw .invalid("/\(name)", "unknown_field", "There is no such field.")
        }
        guard let given = members["on_conflict"] else { return .refuse }
        guard let policy = given.text.flatMap(ConflictPolicy.init(rawValue:)) else {
            throw .invalid("/on_conflict", "not_a_choice", "One of: refuse, skip.")
        }
        return policy
    }

    private static let documentation = EndpointDocumentation {
        let id: JSONValue = ["type": "string", "format": "uuid"]
        $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
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
                "change_set": id, "undone": ["type": "integer"], "conflict_count": ["type": "integer"],
                "conflicts": ["type": "array"],
            ],
        ]
        $0.refusals = [404, 409]
        $0.others = [
            202: [
                "type": "object", "required": ["job_id", "change_set"], "properties": ["job_id": id, "change_set": id],
            ]
        ]
    }
}

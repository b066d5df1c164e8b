import Database
import Foundation
import Jobs
import Records
import ServiceKit
import Tenancy

/// A contact's whole story, in the order of time, and its making.
struct TimelineEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [timeline, backfill] }

    /// Every kind of entry there is.
    static let kinds = [
        "call", "email", "meeting", "note", "web_visit", "social_message", "community_post", "appointment", "task_done",
        "deal_created", "deal_stage", "deal_won", "deal_lost", "order", "payment", "ticket_opened", "ticket_escalated",
        "ticket_reopened", "ticket_solved", "survey", "merge", "lifecycle",
    ]

    private var timeline: Endpoint {
        let one = Self.kinds.joined(separator: "|")
        let documentation = EndpointDocumentation {
            $0.parameters = [
                RecordParameters.query("kinds", ["type": "string", "pattern": .string("^(\(one))(,(\(one)))*$")]),
                RecordParameters.query("before", RecordDocumentation.moment),
                RecordParameters.query("limit", ["type": "integer", "minimum": 1, "maximum": 200]),
                RecordParameters.query("cursor", ["type": "string"]),
            ]
            $0.response = [
                "type": "object", "required": ["items", "next_cursor"],
                "properties": [
                    "items": [
                        "type": "array",
                        "items": [
                            "type": "object",
                            "required": ["id", "at", "kind", "service", "record_type", "record_id", "deleted"],
                            "properties": [
                                "id": ["type": "string", "format": "uuid"],
                                "at": ["type": "string", "format": "date-time"],
                                "kind": ["type": "string", "enum": .array(Self.kinds.map { .string($0) })],
                                "title": ["type": ["string", "null"]], "detail": ["type": ["object", "null"]],
                                "deleted": ["type": "boolean"],
                            ],
                        ],
                    ],
                    "next_cursor": ["type": ["string", "null"]],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/contacts/{id}/timeline", "What passed between a contact and us, newest first",
            documentation: documentation
        ) { request in
            try request.allow(["kinds", "before", "limit", "cursor"])
            let kinds = try Self.kinds(request.parameter("kinds"))
            let before = try Self.moment(request.parameter("before"))
            let limit = try request.limit(200, usual: 50)
            // Of a contact that was merged into another the survivor's story is told.
            let id = try await store.get(Contact.type, try request.id(), fields: [], request.context).id
            return try await page(
                of: id, kinds: kinds, before: before, limit: limit, cursor: request.parameter("cursor"),
                request.context)
        }
    }

    private static func kinds(_ text: String?) throws(Problem) -> [String]? {
        guard let text else { return nil }
        let names = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        for name in names where !kinds.contains(name) {
            throw .badRequest("invalid_parameter", "kinds: there is no \(name.prefix(60)).")
        }
        return Set(names).sorted()
    }

    private static func moment(_ text: String?) throws(Problem) -> Date? {
        guard let text else { return nil }
        guard let date = Timestamp.parse(text) else {
            throw .badRequest("invalid_parameter", "before is a time, such as 2026-11-22T14:00:00Z.")
        }
        return date
    }

    private func page(
        of id: UUID, kinds: [String]?, before: Date?, limit: Int, cursor text: String?, _ context: WriteContext
    ) async throws -> EndpointResponse {
        var builder = SQLBuilder([context.tenant.parameter, .uuid(id)])
        var conditions = "e.tenant_id = $1 and e.contact_id = $2 and not e.is_void"
        conditions += " and " + TimelineReach.condition(context, &builder)
        if let kinds { conditions += " and e.kind = any(\(builder.bind(.array(kinds.map { $0 }), "text[]")))" }
        if let before { conditions += " and e.at < \(builder.bind(.time(before), "timestamptz"))" }
        let cursor = store.cursor(
            "timeline/\(context.tenant)/\(id.lowercased)/\(kinds?.joined(separator: ",") ?? "")/"
                + "\(before.map(Timestamp.sqlText) ?? "")/\(context.actor)")
        if let text {
            let values = try cursor.decode(text, count: 2)
            let bound =
                "\(builder.bind(.optional(values[0]), "timestamptz")), \(builder.bind(.optional(values[1]), "uuid"))"
            conditions += " and (e.at, e.id) < (\(bound))"
        }
        let most = builder.bind(.int(limit + 1), "bigint")
        let rows = try await store.database.query(
            tenant: context.tenant,
            Statement(
                """
                select e.at::text, e.id::text, json_build_object('id', e.id,
                    'at', to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'kind', e.kind,
                    'service', e.service, 'record_type', e.record_type, 'record_id', e.record_id, 'title', e.title,
                    'detail', e.detail, 'deleted', e.is_deleted)::text
                from contacts.timeline_entry e where \(conditions)
                order by e.at desc, e.id desc limit \(most)
                """, builder.parameters), readOnly: true)
        let shown = min(rows.count, limit)
        let items = (0..<shown).compactMap { rows.text($0, 2) }.joined(separator: ",")
        let next = rows.count > limit ? cursor.encode([rows.text(shown - 1, 0), rows.text(shown - 1, 1)]) : nil
        return EndpointResponse(200, Array(#"{"items":[\#(items)],"next_cursor":\#(JSONValue(next).encoded)}"#.utf8))
    }

    private var backfill: Endpoint {
        Endpoint(
            .post, "/v1/timeline/backfill", "Put on the timelines what was there before they were kept",
            documentation: .startsJob
        ) { request in
            try request.allow([])
            guard request.principal.permissions.isAdministrator else { throw Problem.forbidden }
            let job = try PendingJob(BackfillTimelineJob(), traceparent: request.context.traceparent)
            let result = try await store.start(job, note: "records", request.context)
            return EndpointResponse(started: result, for: request)
        }
    }
}

/// What of a timeline a bearer may read: of each type of record what they may read of that, wherever it lives.
enum TimelineReach {
    private static let types = [
        "activity", "appointment", "task", "contact", "opportunity", "order", "payment", "ticket", "survey_response",
    ]

    /// The condition on entries aliased `e`.
    static func condition(_ context: WriteContext, _ builder: inout SQLBuilder) -> String {
        guard let permissions = context.permissions else { return "true" }
        let reach = types(permissions, context, &builder)
        // Whoever must not learn the stage must not learn when it was entered.
        return context.hidden(Contact.type).contains("lifecycle_stage") ? "(\(reach) and e.kind <> 'lifecycle')" : reach
    }

    private static func types(
        _ permissions: Permissions, _ context: WriteContext, _ builder: inout SQLBuilder
    ) -> String {
        func names(_ scope: Scope) -> [String?] {
            // Whoever may read the contact may know what it was merged with.
            types.filter { ($0 == "contact" ? .all : permissions.scope(of: .read, on: $0)) == scope }
        }
        if names(.all).count == types.count { return "true" }
        let all = "e.record_type = any(\(builder.bind(.array(names(.all)), "text[]")))"
        let user = builder.bind(context.user.map(Parameter.uuid) ?? .null, "uuid")
        let team = builder.bind(context.team.map(Parameter.uuid) ?? .null, "uuid")
        let mine = builder.bind(.array(names(.own) + names(.team)), "text[]")
        let ours = builder.bind(.array(names(.team)), "text[]")
        return """
            (\(all) or (e.record_type = any(\(mine)) and e.owner_id = \(user))
                or (e.record_type = any(\(ours)) and e.team_id = \(team)))
            """
    }
}

import Database
import Foundation
import Records
import ServiceKit

/// The log of what webhooks were sent.
struct WebhookDeliveryEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [list, get, replay] }

    private static let id: JSONValue = ["type": "string", "format": "uuid"]
    private static let time: JSONValue = ["type": ["string", "null"], "format": "date-time"]
    private static let states: JSONValue = ["waiting", "delivered", "failed"]
    private static let members: [String: JSONValue] = [
        "id": id, "webhook_id": id, "event": ["type": "string"], "record_id": ["type": ["string", "null"]],
        "state": ["type": "string", "enum": states], "attempts": ["type": "integer"],
        "last_status": ["type": ["integer", "null"]], "last_error": ["type": ["string", "null"]],
        "created_at": ["type": "string", "format": "date-time"], "next_attempt_at": time, "finished_at": time,
    ]
    static let summarySchema: JSONValue = [
        "type": "object", "required": ["id", "webhook_id", "event", "state", "attempts", "created_at"],
        "properties": .object(members),
    ]

    private static func time(_ column: String) -> String { "to_char(d.\(column), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')" }

    /// A delivery, aliased `d`, as JSON.
    private static let summary = """
        json_build_object('id', d.id, 'webhook_id', d.webhook_id, 'event', d.event, 'record_id', d.record_id,
            'state', d.state, 'attempts', d.attempts, 'last_status', d.last_status, 'last_error', d.last_error,
            'created_at', \(time("created_at")), 'next_attempt_at', \(time("next_attempt_at")),
            'finished_at', \(time("finished_at")))
        """

    /// A delivery's JSON as it stands in the transaction.
    static func summary(_ delivery: UUID, in transaction: TenantTransaction) async throws -> [UInt8] {
        let rows = try await transaction.query(
            "select \(summary) from accounts.webhook_delivery d where d.tenant_id = $1 and d.id = $2",
            [transaction.tenant.parameter, .uuid(delivery)])
        return Array(rows.text(0, 0)!.utf8)
    }

    // MARK: List

    private var list: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [
                RecordParameters.query("state", ["type": "string", "enum": Self.states]),
                RecordParameters.query("limit", ["type": "integer", "minimum": 1, "maximum": 200]),
                RecordParameters.query("cursor", ["type": "string"]),
            ]
            $0.response = [
                "type": "object", "required": ["items", "next_cursor"],
                "properties": [
                    "items": ["type": "array", "items": Self.summarySchema],
                    "next_cursor": ["type": ["string", "null"]],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/webhooks/{id}/deliveries", "What the webhook was sent in the last 30 days, the newest first",
            documentation: documentation
        ) { request in
            try request.allow(["state", "limit", "cursor"])
            let limit = try request.limit(200, usual: 50)
            let state = request.parameter("state")
            guard state == nil || Self.states.array?.contains(.string(state!)) == true else {
                throw Problem.badRequest("invalid_parameter", "state is one of: waiting, delivered, failed.")
            }
            let id = try await store.get(Webhook.type, try request.id(), fields: [], request.context).id
            return EndpointResponse(200, try await page(id, state, limit, request))
        }
    }

    private func page(
        _ webhook: UUID, _ state: String?, _ limit: Int, _ request: EndpointRequest
    ) async throws -> [UInt8] {
        let tenant = request.context.tenant
        let cursor = store.cursor("\(tenant)/webhook-deliveries/\(webhook)/\(state ?? "")")
        let last = try request.parameter("cursor").map { try cursor.decode($0, count: 1)[0] } ?? nil
        let rows = try await store.database.query(
            tenant: tenant,
            Statement(
                """
                select \(Self.summary), d.id from accounts.webhook_delivery d
                where d.tenant_id = $1 and d.webhook_id = $2 and ($3::text is null or d.state = $3)
                and ($4::uuid is null or d.id < $4)
                order by d.id desc limit $5
                """,
                [tenant.parameter, .uuid(webhook), .optional(state), .optional(last), .int(limit + 1)]),
            readOnly: true)
        let shown = min(rows.count, limit)
        let next = rows.count > limit ? cursor.encode([rows.text(shown - 1, 1)]) : nil
        let items = (0..<shown).map { rows.text($0, 0)! }.joined(separator: ",")
        return Array("{\"items\":[\(items)],\"next_cursor\":\(JSONValue(next).encoded)}".utf8)
    }

    // MARK: One

    private var get: Endpoint {
        let documentation = EndpointDocumentation {
            var members = Self.members
            members["body"] = ["type": "object"]
            members["log"] = [
                "type": "array",
                "items": [
                    "type": "object", "required": ["at", "duration_ms", "status", "error", "response"],
                    "properties": [
                        "at": Self.time, "duration_ms": ["type": "integer"], "status": ["type": ["integer", "null"]],
                        "error": [
                            "type": ["object", "null"],
                            "properties": ["code": ["type": "string"], "message": ["type": "string"]],
                        ],
                        "response": [
                            "type": ["string", "null"], "description": "The first 1,024 bytes of the answer's body.",
                        ],
                    ],
                ],
            ]
            $0.response = [
                "type": "object", "required": ["id", "webhook_id", "event", "state", "attempts", "body", "log"],
                "properties": .object(members),
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/webhook-deliveries/{id}", "A delivery, what was sent, and its last 100 attempts",
            documentation: documentation
        ) { request in
            try request.allow([])
            _ = try request.context.scope(of: .read, on: Webhook.type)
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    """
                    select (\(Self.summary))::jsonb || jsonb_build_object('body', d.body::jsonb, 'log', (
                        select coalesce(jsonb_agg(jsonb_build_object(
                            'at', to_char(a.at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'duration_ms', a.duration_ms,
                            'status', a.status, 'response', a.response,
                            'error', case when a.error_code is not null then
                                jsonb_build_object('code', a.error_code, 'message', a.error_message) end)
                            order by a.id), '[]')
                        from (select * from accounts.webhook_attempt
                            where tenant_id = $1 and delivery_id = $2 order by id desc limit 100) a))
                    from accounts.webhook_delivery d
                    join accounts.webhook w on w.tenant_id = d.tenant_id and w.id = d.webhook_id
                    where d.tenant_id = $1 and d.id = $2 and w.deleted_at is null
                    """, [request.context.tenant.parameter, .uuid(try request.id())]), readOnly: true)
            guard let text = rows.isEmpty ? nil : rows.text(0, 0) else { throw Problem.notFound("delivery") }
            return EndpointResponse(200, Array(text.utf8))
        }
    }

    private var replay: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.idempotencyKey]
            $0.status = 202
            $0.response = Self.summarySchema
            $0.refusals = [404, 409, 422]
        }
        return Endpoint(
            .post, "/v1/webhook-deliveries/{id}/replay", "Send a delivery again, under the same webhook-id",
            documentation: documentation
        ) { request in
            try request.allow([])
            let (id, context) = (try request.id(), request.context)
            let result = try await store.writing(Webhook.type, dryRun: false, context) { transaction in
                _ = try context.scope(of: .update, on: Webhook.type)
                try await WebhookReplay(store: store).start(id, in: transaction)
                let body = try await Self.summary(id, in: transaction)
                return WriteResult(status: 202, id: id, version: nil, body: body)
            }
            return EndpointResponse(result, to: request, at: "/v1/webhook-deliveries")
        }
    }
}

import Database
import Foundation
import Records
import ServiceKit

/// `GET /v1/contacts/{id}/lifecycle`: where a customer stands and stood, why, and what was done about it.
struct LifecycleEndpoint {
    let store: RecordStore

    var endpoint: Endpoint {
        let id: JSONValue = ["type": "string", "format": "uuid"]
        let documentation = EndpointDocumentation {
            $0.parameters = [
                RecordParameters.query("limit", ["type": "integer", "minimum": 1, "maximum": 200]),
                RecordParameters.query("cursor", ["type": "string"]),
            ]
            $0.response = [
                "type": "object", "required": ["contact_id", "stage", "group", "changes", "next_cursor"],
                "properties": [
                    "contact_id": id, "stage": ["type": ["string", "null"]], "group": ["type": ["string", "null"]],
                    "changes": [
                        "type": "array",
                        "items": [
                            "type": "object",
                            "required": ["id", "from", "to", "at", "computed_at", "rule", "figures", "runs"],
                            "properties": [
                                "id": id, "from": ["type": ["string", "null"]], "to": ["type": "string"],
                                "at": ["type": "string", "format": "date-time"],
                                "computed_at": ["type": "string", "format": "date-time"], "rule": ["type": "string"],
                                "figures": ["type": "object"],
                                "runs": [
                                    "type": "array",
                                    "items": ["type": "object", "required": ["playbook_id", "name", "at", "actions"]],
                                ],
                            ],
                        ],
                    ],
                    "next_cursor": ["type": ["string", "null"]],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/contacts/{id}/lifecycle",
            "A customer's stages, newest first, with their reasons and the playbooks that ran",
            documentation: documentation
        ) { request in
            try request.allow(["limit", "cursor"])
            let limit = try request.limit(200, usual: 50)
            let context = request.context
            let id = try await store.get(Contact.type, try request.id(), fields: [], context).id
            let cursor = store.cursor("\(context.tenant)/contacts/\(id.lowercased)/lifecycle")
            let after = try request.parameter("cursor").map { try cursor.decode($0, count: 1)[0] } ?? nil
            let results = try await store.database.batch(
                tenant: context.tenant,
                [
                    Statement(
                        """
                        select lifecycle_stage, lifecycle_group from contacts.contact where tenant_id = $1 and id = $2
                        """, [context.tenant.parameter, .uuid(id)]),
                    Statement(
                        Self.changes,
                        [
                            context.tenant.parameter, .uuid(id), .optional(after), .int(limit + 1),
                            .bool((try? context.scope(of: .read, on: Playbook.type)) != nil),
                        ]),
                ], readOnly: true)
            let (contact, rows) = (results[0], results[1])
            let shown = min(rows.count, limit)
            return EndpointResponse(json: [
                "contact_id": .string(id.lowercased),
                "stage": JSONValue(contact.isEmpty ? nil : contact.text(0, 0)),
                "group": JSONValue(contact.isEmpty ? nil : contact.text(0, 1)),
                "changes": .array((0..<shown).map { Self.change(rows, $0) }),
                "next_cursor": JSONValue(rows.count > limit ? cursor.encode([rows.text(shown - 1, 1)]) : nil),
            ])
        }
    }

    private static let changes = """
        select c.id, c.sequence, c.from_stage, c.to_stage, c.at, c.computed_at, c.rule, c.figures, (
            select json_agg(json_build_object('playbook_id', r.playbook_id, 'name', p.name,
                'at', to_char(r.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'actions', r.actions)
                order by p.position, p.created_at, p.id)
            from contacts.playbook_run r
            join contacts.playbook p on p.tenant_id = r.tenant_id and p.id = r.playbook_id
            where r.tenant_id = $1 and r.change_id = c.id and $5::boolean)
        from contacts.lifecycle_change c
        where c.tenant_id = $1 and c.contact_id = $2 and ($3::bigint is null or c.sequence < $3::bigint)
        order by c.sequence desc limit $4::bigint
        """

    private static func change(_ rows: Rows, _ row: Int) -> JSONValue {
        func json(_ column: Int) -> JSONValue? {
            rows.text(row, column).flatMap { try? JSONParser.parse($0.utf8) }
        }
        func time(_ column: Int) -> JSONValue { JSONValue(rows.time(row, column).map(Timestamp.rfc3339)) }
        return [
            "id": JSONValue(rows.text(row, 0)), "from": JSONValue(rows.text(row, 2)),
            "to": JSONValue(rows.text(row, 3)),
            "at": time(4), "computed_at": time(5), "rule": JSONValue(rows.text(row, 6)), "figures": json(7) ?? [:],
            "runs": json(8) ?? [],
        ]
    }
}

import Database
import Records
import ServiceKit

/// `GET /v1/contacts/{id}/relationships`: all of a contact's relationships, whichever side it stands on.
struct RelationshipEndpoint {
    let store: RecordStore

    var endpoint: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = [
                "type": "object", "required": ["items"],
                "properties": [
                    "items": [
                        "type": "array",
                        "items": [
                            "type": "object", "required": ["id", "kind", "direction", "name"],
                            "properties": [
                                "kind": ["type": "string"],
                                "direction": ["type": "string", "enum": ["to", "from", "mutual"]],
                            ],
                        ],
                    ]
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/contacts/{id}/relationships", "Who a contact is related to, read from its side",
            documentation: documentation
        ) { request in
            try request.allow([])
            let id = try await store.get(Contact.type, try request.id(), fields: [], request.context).id
            guard try request.context.scope(of: .read, on: Relationship.type) == .all else {
                throw Problem(403, "forbidden", "Your roles do not reach all relationships.")
            }
            let context = request.context
            let hidden = context.hidden(Relationship.type)
            try context.requireVisible(
                ["contact_id", "other_contact_id", "organization_id", "kind"], Relationship.type)
            // Names come from other records, which have bearers of their own.
            func names(_ type: RecordType, _ field: String) -> Bool {
                !context.hidden(type).contains(field) && (try? context.scope(of: .read, on: type)) == .all
            }
            // A mutual kind has no direction; of the others `to` says that this contact is the one the kind is said of.
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    """
                    select coalesce(json_agg(json_build_object('id', r.id, 'kind', r.kind,
                        'direction', case when r.kind = any($3::text[]) then 'mutual'
                            when r.contact_id = $2 then 'to' else 'from' end,
                        'contact_id', case when r.contact_id = $2 then r.other_contact_id else r.contact_id end,
                        'organization_id', r.organization_id,
                        'since', case when $4::boolean then r.since end, 'note', case when $5::boolean then r.note end,
                        'name', coalesce(case when $6::boolean then c.display_name end,
                            case when $7::boolean then o.name end, '')) order by r.created_at, r.id), '[]')
                    from contacts.relationship r
                    left join contacts.contact c on c.tenant_id = r.tenant_id and c.deleted_at is null
                        and c.id = case when r.contact_id = $2 then r.other_contact_id else r.contact_id end
                    left join contacts.organization o on o.tenant_id = r.tenant_id and o.id = r.organization_id
                        and o.deleted_at is null
                    where r.tenant_id = $1 and (r.contact_id = $2 or r.other_contact_id = $2) and r.deleted_at is null
                    and coalesce(c.id, o.id) is not null
                    """,
                    [
                        request.context.tenant.parameter, .uuid(id),
                        .array(Relationship.mutual.map { $0 }), .bool(!hidden.contains("since")),
                        .bool(!hidden.contains("note")), .bool(names(Contact.type, "display_name")),
                        .bool(names(Organization.type, "name")),
                    ]), readOnly: true)
            return EndpointResponse(200, Array(#"{"items":\#(rows.text(0, 0) ?? "[]")}"#.utf8))
        }
    }
}

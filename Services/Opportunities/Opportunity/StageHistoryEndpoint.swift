import Database
import Records
import ServiceKit

/// `GET /v1/opportunities/{id}/stages`: the stays of a deal in its stages, oldest first, with the seconds of each.
struct StageHistoryEndpoint {
    let store: RecordStore

    var endpoint: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = ["type": "object", "required": ["items"], "properties": ["items": ["type": "array"]]]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/opportunities/{id}/stages", "How long a deal was in each stage", documentation: documentation
        ) { request in
            try request.allow([])
            let id = try request.id()
            _ = try await store.get(Opportunity.type, id, fields: [], request.context)
            try request.context.requireVisible(["stage_id"], Opportunity.type)
            try request.context.requireVisible(["name"], Stage.type)
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    """
                    select coalesce(json_agg(json_build_object('stage_id', h.stage_id, 'stage', s.name,
                        'entered_at', to_char(h.entered_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                        'left_at', to_char(h.left_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                        'seconds', extract(epoch from coalesce(h.left_at, now()) - h.entered_at)::bigint)
                        order by h.version), '[]')
                    from opportunities.stage_stay h
                    join opportunities.stage s on s.tenant_id = h.tenant_id and s.id = h.stage_id
                    where h.tenant_id = $1 and h.opportunity_id = $2
                    """, [request.context.tenant.parameter, .uuid(id)]), readOnly: true)
            return EndpointResponse(200, Array(#"{"items":\#(rows.text(0, 0) ?? "[]")}"#.utf8))
        }
    }
}

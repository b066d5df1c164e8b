import Contracts
import Database
import Foundation
import Jobs
import Records
import ServiceKit

/// What analytics computed of each customer, as it last arrived.
struct SummaryStore {
    let store: RecordStore

    /// Keeps those summaries that are newer than what is here.
    func apply(_ summaries: [CustomerSummary], _ context: JobContext) async throws {
        let newest = Dictionary(
            summaries.map { ($0.contact, $0) }, uniquingKeysWith: { $0.sequence >= $1.sequence ? $0 : $1 })
        // In the order of ids, so that two jobs never wait for each other crosswise.
        let ordered = newest.values.sorted { $0.contact.lowercased < $1.contact.lowercased }
        try await context.once { transaction in
            let rows = try await transaction.query(
                """
                insert into contacts.customer_summary as s (tenant_id, contact_id, sequence, summary)
                select $1, * from unnest($2::uuid[], $3::bigint[], $4::text[]::jsonb[])
                on conflict (tenant_id, contact_id) do update
                set sequence = excluded.sequence, summary = excluded.summary where s.sequence < excluded.sequence
                returning contact_id
                """,
                [
                    transaction.tenant.parameter, .array(ordered.map(\.contact.lowercased)),
                    .array(ordered.map { String($0.sequence) }), .array(ordered.map { Self.json($0).encoded }),
                ])
            let fresh = Set((0..<rows.count).map { rows.uuid($0, 0)! })
            try await LifecycleStore(store: store).enter(
                ordered.filter { fresh.contains($0.contact) }, context, transaction)
        }
    }

    private static func json(_ summary: CustomerSummary) -> JSONValue {
        func time(_ date: Date?) -> JSONValue { JSONValue(date.map(Timestamp.rfc3339)) }
        return [
            "first_purchase_at": time(summary.firstPurchase), "last_purchase_at": time(summary.lastPurchase),
            "purchases": JSONValue(summary.purchases), "paid": .object(summary.paid.mapValues { JSONValue($0) }),
            "open_deals": JSONValue(summary.openDeals), "won_deals": JSONValue(summary.wonDeals),
            "tickets": JSONValue(summary.tickets), "open_tickets": JSONValue(summary.openTickets),
            "satisfaction_gap": summary.satisfactionGap.map { .number("\($0)") } ?? .null,
            "last_contact_at": time(summary.lastContact), "computed_at": time(summary.computedAt),
        ]
    }
}

/// `GET /v1/contacts/{id}/summary`: the customer in figures, each with the time it was computed at.
struct CustomerSummaryEndpoint {
    let store: RecordStore

    var endpoint: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = [
                "type": "object", "required": ["contact_id", "computed_at"],
                "properties": [
                    "contact_id": ["type": "string", "format": "uuid"], "purchases": ["type": "integer"],
                    "paid": ["type": "object"], "open_deals": ["type": "integer"], "tickets": ["type": "integer"],
                    "days_since_last_contact": ["type": ["integer", "null"]],
                    "satisfaction_gap": ["type": ["number", "null"]],
                    "computed_at": ["type": ["string", "null"], "format": "date-time"],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(.get, "/v1/contacts/{id}/summary", "A customer in figures", documentation: documentation) {
            request in
            try request.allow([])
            // Of a contact that was merged into another the survivor's figures count.
            let id = try await store.get(Contact.type, try request.id(), fields: [], request.context).id
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    "select summary from contacts.customer_summary where tenant_id = $1 and contact_id = $2",
                    [request.context.tenant.parameter, .uuid(id)]), readOnly: true)
            var members = rows.isEmpty ? Self.nothing : try JSONParser.parse(rows.text(0, 0)!.utf8).object ?? [:]
            members["contact_id"] = .string(id.lowercased)
            let last = members["last_contact_at"]?.text.flatMap(Timestamp.parse)
            members["days_since_last_contact"] =
                last.map { JSONValue(Int(Date().timeIntervalSince($0) / 86_400)) } ?? .null
            return EndpointResponse(json: .object(members))
        }
    }

    /// A customer of whom nothing is known yet.
    private static let nothing: [String: JSONValue] = [
        "first_purchase_at": .null, "last_purchase_at": .null, "purchases": 0, "paid": [:], "open_deals": 0,
        "won_deals": 0, "tickets": 0, "open_tickets": 0, "satisfaction_gap": .null, "last_contact_at": .null,
        "computed_at": .null,
    ]
}

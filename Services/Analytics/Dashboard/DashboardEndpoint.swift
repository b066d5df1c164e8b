import Database
import Foundation
import Records
import ServiceKit

/// `GET /v1/dashboard`: counts and sums per day of the tenant's calendar, and over the whole span.
struct DashboardEndpoint {
    let store: RecordStore

    private static let day: JSONValue = [
        "type": "string", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$",
    ]

    var endpoint: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = ["from", "to"].map { name in
                ["name": .string(name), "in": "query", "required": false, "schema": Self.day]
            }
            $0.response = [
                "type": "object", "required": ["totals", "days"],
                "properties": ["totals": ["type": "array"], "days": ["type": "array"]],
            ]
        }
        return Endpoint(.get, "/v1/dashboard", "Counts and sums per day", documentation: documentation) { request in
            try request.allow(["from", "to"])
            guard request.principal.permissions.scope(of: .read, on: "dashboard") == .all else {
                throw Problem.forbidden
            }
            let from = try Self.day(request, "from")
            let to = try Self.day(request, "to")
            let parameters: [Parameter] = [request.context.tenant.parameter, .optional(from), .optional(to)]
            let span = "tenant_id = $1 and ($2::date is null or day >= $2) and ($3::date is null or day <= $3)"
            let results = try await store.database.batch(
                tenant: request.context.tenant,
                [
                    Statement(
                        """
                        select metric, currency, sum(count), sum(amount) from analytics.rollup_daily
                        where \(span) group by metric, currency order by metric, currency
                        """, parameters),
                    Statement(
                        """
                        select day, metric, currency, count, amount from analytics.rollup_daily
                        where \(span) and (count <> 0 or amount <> 0)
                        order by day desc, metric, currency limit 5000
                        """, parameters),
                ], readOnly: true)
            let totals = (0..<results[0].count).map { Self.line(results[0], $0, first: 0) }
            let days = (0..<results[1].count).map { row -> JSONValue in
                var members = Self.line(results[1], row, first: 1).object ?? [:]
                members["day"] = JSONValue(results[1].text(row, 0))
                return .object(members)
            }
            return EndpointResponse(json: ["totals": .array(totals), "days": .array(days)])
        }
    }

    private static func day(_ request: EndpointRequest, _ name: String) throws(Problem) -> String? {
        guard let text = request.parameter(name) else { return nil }
        guard let day = Timestamp.parseDay(text), (2000...2099).contains(day.year) else {
            throw .badRequest("invalid_parameter", "\(name) is a day, as YYYY-MM-DD, of this century.")
        }
        return text
    }

    private static func line(_ rows: Rows, _ row: Int, first: Int) -> JSONValue {
        var members: [String: JSONValue] = [
            "metric": JSONValue(rows.text(row, first)), "count": JSONValue(rows.int(row, first + 2) ?? 0),
        ]
        if let currency = rows.text(row, first + 1), !currency.isEmpty {
            members["amount"] = ["amount": JSONValue(rows.int(row, first + 3) ?? 0), "currency": .string(currency)]
        }
        return .object(members)
    }
}

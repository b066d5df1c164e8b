import Database
import Foundation
import Records
import Synchronization
import Tenancy

/// `GET /v1/usage`: what the tenant uses of the service, and the limits in force.
struct UsageEndpoint: Sendable {
    let store: RecordStore
    let meter: UsageMeter
    let maximumBody: Int
    private let rows = RowCounts()
    private var schema: String { store.outbox.schema }

    init(store: RecordStore, meter: UsageMeter, maximumBody: Int) {
        self.store = store
        self.meter = meter
        self.maximumBody = maximumBody
    }

    var endpoint: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [
                RecordParameters.query("days", ["type": "integer", "minimum": 1, "maximum": 366])
            ]
            $0.response = Self.schema
        }
        return Endpoint(
            .get, "/v1/usage", "Requests, records and jobs of the tenant, and its limits", documentation: documentation
        ) { request in
            try request.allow(["days"])
            var days = 30
            if let text = request.parameter("days") {
                guard let value = Int(text), (1...366).contains(value) else {
                    throw Problem.badRequest("invalid_parameter", "days is a number from 1 to 366.")
                }
                days = value
            }
            return EndpointResponse(json: try await usage(days, request))
        }
    }

    private func usage(_ days: Int, _ request: EndpointRequest) async throws -> JSONValue {
        // What this process counted is in the answer at once, what others did within seconds.
        try? await meter.flush(to: store.database)
        let tenant = request.context.tenant
        let principal = request.principal
        // What others do is for administrators to know; the sums are no secret.
        let only: Parameter = principal.permissions.isAdministrator ? .null : .text(principal.actor)
        let since = "((now() at time zone 'UTC')::date - $2::int + 1)"
        let results = try await store.database.batch(
            tenant: tenant,
            [
                Statement(
                    """
                    select day, sum(requests), sum(refused) from \(schema).usage_day
                    where tenant_id = $1 and day >= \(since) group by day order by day desc
                    """, [tenant.parameter, .int(days)]),
                Statement(
                    """
                    select actor, sum(requests), sum(refused) from \(schema).usage_day
                    where tenant_id = $1 and day >= \(since) and ($3::text is null or actor = $3)
                    group by actor order by 2 desc, 1 limit 100
                    """, [tenant.parameter, .int(days), only]),
                Statement(
                    """
                    select (created_at at time zone 'UTC')::date, state, count(*) from \(schema).job_status
                    where tenant_id = $1 and id >= platform.uuid_lower_bound(\(since)::timestamp at time zone 'UTC')
                    group by 1, 2 order by 1 desc, 2
                    """, [tenant.parameter, .int(days)]),
            ], readOnly: true)
        let counted = try await rows.counts(tenant, store)
        func lines(_ rows: Rows, _ name: String) -> JSONValue {
            .array(
                (0..<rows.count).map { row in
                    [
                        name: JSONValue(rows.text(row, 0)), "requests": JSONValue(rows.int(row, 1) ?? 0),
                        "refused": JSONValue(rows.int(row, 2) ?? 0),
                    ]
                })
        }
        return [
            "service": .string(schema), "days": JSONValue(days),
            "requests": ["by_day": lines(results[0], "day"), "by_actor": lines(results[1], "actor")],
            "records": counted.json, "jobs": jobs(results[2]), "limits": limits(principal),
        ]
    }

    /// A line a day: how many jobs began on it, by what has become of them.
    private func jobs(_ rows: Rows) -> JSONValue {
        var days: [(day: String, states: [String: JSONValue])] = []
        for row in 0..<rows.count {
            let day = rows.text(row, 0)!
            if days.last?.day != day { days.append((day, [:])) }
            days[days.count - 1].states[rows.text(row, 1)!] = JSONValue(rows.int(row, 2)!)
        }
        return ["by_day": .array(days.map { .object($0.states.merging(["day": .string($0.day)]) { $1 }) })]
    }

    private func limits(_ principal: Principal) -> JSONValue {
        [
            "requests_per_second": JSONValue(principal.tenantRate),
            "key_requests_per_second": principal.credentialRate.map { JSONValue($0) } ?? .null,
            "body_bytes": JSONValue(maximumBody), "page": 200, "search_hits": JSONValue(RecordStore.mostHits),
            "bulk_operations": JSONValue(RecordEndpoints.maximumOperations),
            "batch_operations": JSONValue(RecordBatch.most), "expansions": JSONValue(Expansion.most),
            "undo_at_once": JSONValue(RecordStore.largestUndoAtOnce),
        ]
    }

    private static let schema: JSONValue = [
        "type": "object", "required": ["service", "days", "requests", "records", "jobs", "limits"],
        "properties": [
            "service": ["type": "string"], "days": ["type": "integer"],
            "requests": [
                "type": "object", "required": ["by_day", "by_actor"],
                "properties": ["by_day": ["type": "array"], "by_actor": ["type": "array"]],
            ],
            "records": [
                "type": "object", "required": ["counted_at", "types"],
                "properties": [
                    "counted_at": ["type": "string", "format": "date-time"],
                    "types": [
                        "type": "array",
                        "items": [
                            "type": "object", "required": ["type", "count", "is_least"],
                            "properties": [
                                "type": ["type": "string"], "count": ["type": "integer"],
                                "is_least": [
                                    "type": "boolean", "description": "There are more: counting stops there.",
                                ],
                            ],
                        ],
                    ],
                ],
            ],
            "jobs": ["type": "object", "required": ["by_day"], "properties": ["by_day": ["type": "array"]]],
            "limits": ["type": "object"],
        ],
    ]
}

/// How many records a tenant has of each type, counted by this process at most every five minutes.
private final class RowCounts: Sendable {
    struct Counts: Sendable {
        let at: Date
        let json: JSONValue
    }

    private static let age: TimeInterval = 300
    private static let most = 1_000_000
    private let known = Mutex<[TenantID: Counts]>([:])

    func counts(_ tenant: TenantID, _ store: RecordStore) async throws -> Counts {
        if let counts = known.withLock({ $0[tenant] }), counts.at.timeIntervalSinceNow > -Self.age { return counts }
        let types = store.catalogue.types
        let statements = types.map { type in
            Statement(
                """
                select count(*) from (
                    select 1 from \(type.table) where tenant_id = $1 and deleted_at is null limit $2) c
                """, [tenant.parameter, .int(Self.most)])
        }
        // On a connection of its own: to count a large tenant's records takes a while.
        let results =
            statements.isEmpty ? [] : try await store.database.withTenant(tenant) { try await $0.batch(statements) }
        let now = Date()
        let lines = zip(types, results).map { type, rows -> JSONValue in
            let count = rows.int(0, 0) ?? 0
            return ["type": .string(type.name), "count": JSONValue(count), "is_least": .bool(count >= Self.most)]
        }
        let counts = Counts(
            at: now, json: ["counted_at": .string(Timestamp.rfc3339(now)), "types": .array(lines)])
        known.withLock { known in
            if known.count > 10_000 { known.removeAll() }
            known[tenant] = counts
        }
        return counts
    }
}

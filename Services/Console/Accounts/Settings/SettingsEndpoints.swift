import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// What a tenant says of itself: its name, language, time zone, and what stands where a customer's country or a price's
/// currency is left out.
struct SettingsEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [get, patch] }

    private static let form = Form(
        fields: [
            Field("name", .text(max: 200), Label("Name", "名称")).required(),
            Field("locale", .choice(["en", "zh-CN"]), Label("Language", "语言")).required(),
            Field("time_zone", .text(max: 60), Label("Time zone", "时区")).required(),
            Field("default_country", .country, Label("Country", "国家")).required(),
            Field("default_currency", .currency, Label("Currency", "货币")).required(),
        ],
        schemas: [
            "time_zone": [
                "type": "string", "enum": ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York"],
                "description": "Any name of the IANA database; these are some.",
            ]
        ])

    private static let schema = Schemas.object([
        "slug": ["type": "string"], "name": ["type": "string"], "plan": ["type": "string"],
        "locale": ["type": "string"], "time_zone": ["type": "string"], "default_country": ["type": "string"],
        "default_currency": ["type": "string"], "created_at": Schemas.time,
    ])

    private static let columns = """
        slug, name, plan, locale, time_zone, default_country, default_currency, created_at
        """

    private static func json(_ rows: Rows) -> JSONValue {
        [
            "slug": JSONValue(rows.text(0, 0)), "name": JSONValue(rows.text(0, 1)), "plan": JSONValue(rows.text(0, 2)),
            "locale": JSONValue(rows.text(0, 3)), "time_zone": JSONValue(rows.text(0, 4)),
            "default_country": JSONValue(rows.text(0, 5)), "default_currency": JSONValue(rows.text(0, 6)),
            "created_at": rows.timeJSON(0, 7),
        ]
    }

    private static func current(_ tenant: TenantID) -> Statement {
        Statement("select \(columns) from platform.tenant where tenant_id = $1", [tenant.parameter])
    }

    private var get: Endpoint {
        let documentation = EndpointDocumentation { $0.response = Self.schema }
        return Endpoint(.get, "/v1/settings", "The tenant's settings", documentation: documentation) { request in
            try request.allow([])
            _ = try Author(administering: request)
            let tenant = request.context.tenant
            return EndpointResponse(
                json: Self.json(
                    try await store.database.query(tenant: tenant, Self.current(tenant), readOnly: true)))
        }
    }

    private var patch: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = Self.form.schema(isPatch: true)
            $0.response = Self.schema
        }
        return Endpoint(.patch, "/v1/settings", "Change them", documentation: documentation) { request in
            try request.allow(["dry_run"])
            let author = try Author(administering: request)
            let values = try Self.form.read(try await request.json(), isPatch: true)
            if let zone = values.text("time_zone"), !Self.isTimeZone(zone) {
                throw Problem.invalid("/time_zone", "not_a_time_zone", "A name such as Asia/Shanghai belongs here.")
            }
            do {
                return try await store.changing(request) { transaction in
                    try await change(values, author, transaction)
                }
            } catch let error as DatabaseError {
                // PostgreSQL reckons in the zone too, and asks to know it.
                guard error.code == .invalidValue else { throw error }
                throw Problem.invalid("/time_zone", "not_a_time_zone", "A name such as Asia/Shanghai belongs here.")
            }
        }
    }

    private func change(
        _ values: Form.Values, _ author: Author, _ transaction: TenantTransaction
    ) async throws -> JSONValue {
        let before = Self.json(try await transaction.query(Self.current(transaction.tenant)))
        let names = ["name", "locale", "time_zone", "default_country", "default_currency"]
        let rows = try await transaction.query(
            """
            update platform.tenant set name = coalesce($2, name), locale = coalesce($3, locale),
                time_zone = coalesce($4, time_zone), default_country = coalesce($5, default_country),
                default_currency = coalesce($6, default_currency)
            where tenant_id = $1 returning \(Self.columns)
            """, [transaction.tenant.parameter] + names.map { .optional(values.text($0)) })
        if let zone = values.text("time_zone") {
            try await transaction.query("select now() at time zone $1", [.text(zone)])
        }
        let after = Self.json(rows)
        if after != before {
            RoleStore(transaction: transaction).forget()
            transaction.later(
                author.audit(
                    "settings.updated", "tenant:\(author.principal.slug)", UserStore.difference(before, after)))
        }
        return after
    }

    private static func isTimeZone(_ name: String) -> Bool {
        name == "UTC" || TimeZone.knownTimeZoneIdentifiers.contains(name)
    }
}

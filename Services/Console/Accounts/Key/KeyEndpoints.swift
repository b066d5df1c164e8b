import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// Keys of programs: made, listed, revoked.
struct KeyEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [create, list, get, revoke] }

    private static let form = Form(
        fields: [
            Field("name", .text(max: 200), Label("Name", "名称")).required(),
            User.roles,
            Field("user_id", .foreignID, Label("Acts for", "代表用户")),
            Field("addresses", .tags(max: 50), Label("Addresses", "允许的地址")),
            Field("expires_at", .timestamp, Label("Expires", "到期时间")),
            Field("requests_per_second", .integer(min: 1, max: 1_000_000), Label("Requests a second", "每秒请求数")),
        ],
        schemas: [
            "roles": Schemas.roles,
            "addresses": [
                "type": ["array", "null"], "minItems": 1, "maxItems": 50,
                "items": ["type": "string", "pattern": "^10\\.[0-9]\\.[0-9]\\.[0-9](/(8|16|24|32))?$"],
                "description": "Addresses and networks that the key may be used from; anywhere when left out.",
            ],
            "expires_at": [
                "type": ["string", "null"],
                "pattern": "^2[01][5-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:00Z$",
                "description": "In the future.",
            ],
        ])

    private static let schema = Schemas.object(
        [
            "id": ["type": "string"], "name": ["type": "string"], "roles": Schemas.texts,
            "user_id": ["type": ["string", "null"]], "addresses": ["type": ["array", "null"]],
            "requests_per_second": ["type": ["integer", "null"]], "expires_at": Schemas.timeOrNull,
            "revoked_at": Schemas.timeOrNull, "created_at": Schemas.time, "key": ["type": "string"],
        ], optional: ["key"])
    private static let id = Schemas.inPath("id", "^[0-9a-f]{24}$")

    private static let columns = """
        id, name, to_json(roles), user_id, to_json(addresses), requests_per_second, expires_at, revoked_at, created_at
        """

    private static func json(_ rows: Rows, _ row: Int) -> JSONValue {
        [
            "id": JSONValue(rows.text(row, 0)), "name": JSONValue(rows.text(row, 1)), "roles": rows.json(row, 2),
            "user_id": JSONValue(rows.text(row, 3)), "addresses": rows.json(row, 4),
            "requests_per_second": rows.int(row, 5).map { JSONValue($0) } ?? .null,
            "expires_at": rows.timeJSON(row, 6), "revoked_at": rows.timeJSON(row, 7),
            "created_at": rows.timeJSON(row, 8),
        ]
    }

    private var create: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = Self.form.schema()
            $0.response = Self.schema
            $0.status = 201
            $0.refusals = [409]
        }
        return Endpoint(
            .post, "/v1/keys", "Make an API key; its secret is shown once", documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let author = try Author(administering: request)
            let values = try Self.form.read(try await request.json())
            let addresses = try Self.addresses(values)
            if let expires = values.time("expires_at"), expires <= Date() {
                throw Problem.invalid("/expires_at", "out_of_range", "This lies in the past.")
            }
            let token = BearerToken.make(.key)
            return try await store.changing(
                request, status: 201, at: "/v1/keys", secrets: ["key": .string(token.text)]
            ) { transaction in
                try await create(token, values, addresses, author, transaction)
            }
        }
    }

    private static func addresses(_ values: Form.Values) throws(Problem) -> [String]? {
        guard let texts = values.list("addresses") else { return nil }
        // An empty list would let nobody in.
        if texts.isEmpty { throw .invalid("/addresses", "required", "At least one address, or none at all.") }
        var addresses: [String] = []
        for (index, text) in texts.enumerated() {
            guard let range = AddressRange(text) else {
                throw .invalid("/addresses/\(index)", "not_an_address", "An address or a network belongs here.")
            }
            addresses.append(range.description)
        }
        return addresses
    }

    private func create(
        _ token: BearerToken, _ values: Form.Values, _ addresses: [String]?, _ author: Author,
        _ transaction: TenantTransaction
    ) async throws -> JSONValue {
        let roles = values.list("roles") ?? []
        let users = UserStore(transaction: transaction, author: author)
        try await users.check(roles: roles)
        if let id = values.uuid("user_id") {
            let known = try await transaction.query(
                "select 1 from platform.app_user where tenant_id = $1 and id = $2 and status = 'active'",
                [transaction.tenant.parameter, .uuid(id)])
            if known.isEmpty {
                throw Problem(
                    409, "no_such_record", "A key acts for an active user of the tenant.",
                    fields: [FieldError("/user_id", "no_such_record", "There is no such user.")])
            }
        }
        let rows = try await transaction.query(
            """
            insert into platform.api_key (tenant_id, id, secret_hash, name, roles, user_id, addresses,
                requests_per_second, expires_at)
            values ($1, $2, $3, $4, $5::text[], $6, $7::text[], $8, $9) returning \(Self.columns)
            """,
            [
                transaction.tenant.parameter, .text(token.id), .bytes(token.hash), .text(values.text("name")!),
                .array(roles), .optional(values.text("user_id")), addresses.map { .array($0) } ?? .null,
                .optional(values.text("requests_per_second")), .optional(values.text("expires_at")),
            ])
        let json = Self.json(rows, 0)
        transaction.later(author.audit("key.created", "key:\(token.id)", json))
        return json
    }

    private var list: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = Schemas.paging
            $0.response = Schemas.page(Self.schema)
        }
        return Endpoint(.get, "/v1/keys", "API keys, revoked ones too", documentation: documentation) { request in
            try request.allow(["limit", "cursor"])
            _ = try Author(administering: request)
            return try await store.page(request, of: "keys", keys: 2) { after, limit in
                Statement(
                    """
                    select \(Self.columns), created_at::text as made_at from platform.api_key
                    where tenant_id = $1
                    and ($2::timestamptz is null or (created_at, id) > ($2::timestamptz, $3::text))
                    order by created_at, id limit $4
                    """,
                    [request.context.tenant.parameter, .optional(after[0]), .optional(after[1]), .int(limit)])
            } _: { rows, row in
                (Self.json(rows, row), [rows.text(row, 9), rows.text(row, 0)])
            }
        }
    }

    private var get: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [Self.id]
            $0.response = Self.schema
            $0.refusals = [404]
        }
        return Endpoint(.get, "/v1/keys/{id}", "One living key, without its secret", documentation: documentation) {
            request in
            try request.allow([])
            _ = try Author(administering: request)
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    """
                    select \(Self.columns) from platform.api_key
                    where tenant_id = $1 and id = $2 and revoked_at is null
                    """,
                    [request.context.tenant.parameter, .text(request.path["id"] ?? "")]), readOnly: true)
            guard rows.count == 1 else { throw Problem.notFound("key") }
            return EndpointResponse(json: Self.json(rows, 0))
        }
    }

    private var revoke: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [Self.id]
            $0.status = 204
            $0.refusals = [404]
        }
        return Endpoint(.delete, "/v1/keys/{id}", "Revoke a key, at once", documentation: documentation) { request in
            try request.allow([])
            let author = try Author(administering: request)
            let id = request.path["id"] ?? ""
            return try await store.changing(request, status: 204) { transaction in
                let gone = try await transaction.query(
                    """
                    update platform.api_key set revoked_at = now()
                    where tenant_id = $1 and id = $2 and revoked_at is null
                    """, [transaction.tenant.parameter, .text(id)])
                guard gone.affected == 1 else { throw Problem.notFound("key") }
                transaction.later(Statement("select pg_notify('guanxi_credentials', $1)", [.text("key:\(id)")]))
                transaction.later(author.audit("key.revoked", "key:\(id)"))
                return .null
            }
        }
    }
}

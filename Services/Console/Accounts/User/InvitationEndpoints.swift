import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// Inviting people, and what they do with the token they were sent: accept, or set a new password.
struct InvitationEndpoints {
    let store: RecordStore
    let passwords: PasswordVerifier

    var all: [Endpoint] {
        [
            create, list, revoke,
            accept(
                .invitation, "/v1/invitations/accept", "Accept an invitation: set a password and be active",
                Form(
                    fields: [Self.token(.invitation), Field("name", .text(max: 200), Label("Name", "姓名"))],
                    passwords: ["password"], schemas: Self.tokenSchema(.invitation))),
            accept(
                .reset, "/v1/password-resets/accept", "Set a new password; all sessions end",
                Form(
                    fields: [Self.token(.reset)], passwords: ["password"], schemas: Self.tokenSchema(.reset))),
        ]
    }

    private static let hours = 7 * 24

    private static let schema = Schemas.object(
        [
            "id": Schemas.id, "email": ["type": "string"], "name": ["type": "string"], "roles": Schemas.texts,
            "team_id": ["type": ["string", "null"]], "created_by": ["type": "string"], "expires_at": Schemas.time,
            "expired": ["type": "boolean"], "token": ["type": "string"],
        ], optional: ["token"])

    private static let form = Form(
        fields: [
            User.email, Field("name", .text(max: 200), Label("Name", "姓名")), User.roles, User.team,
        ], schemas: ["roles": Schemas.roles])

    private static func token(_ kind: BearerToken.Kind) -> Field {
        Field("token", .text(max: 100), Label("Token", "令牌")).required()
    }

    private static func tokenSchema(_ kind: BearerToken.Kind) -> [String: JSONValue] {
        let prefix = kind == .invitation ? "gi" : "gr"
        return ["token": ["type": "string", "pattern": .string("^\(prefix)_[0-9a-f]{24}_[A-Za-z0-9_-]{43}$")]]
    }

    private static let columns = """
        u.id, u.email, u.name, to_json(u.roles), u.team_id, k.created_by, k.expires_at, k.expires_at <= now()
        """
    private static let source = """
        platform.app_user u join platform.user_token k
        on k.tenant_id = u.tenant_id and k.user_id = u.id and k.kind = 'invitation'
        """

    private static func json(_ rows: Rows, _ row: Int) -> JSONValue {
        [
            "id": JSONValue(rows.text(row, 0)), "email": JSONValue(rows.text(row, 1)),
            "name": JSONValue(rows.text(row, 2)), "roles": rows.json(row, 3), "team_id": JSONValue(rows.text(row, 4)),
            "created_by": JSONValue(rows.text(row, 5)), "expires_at": rows.timeJSON(row, 6),
            "expired": .bool(rows.bool(row, 7)!),
        ]
    }

    private var create: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = Self.form.schema()
            $0.response = Self.schema
            $0.status = 201
            $0.refusals = [409]
            $0.links = [("id", "/v1/users/{id}")]
        }
        return Endpoint(
            .post, "/v1/invitations", "Invite somebody: a token, shown once, that is good for seven days",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let author = try Author(administering: request)
            let values = try Self.form.read(try await request.json())
            let token = BearerToken.make(.invitation)
            return try await store.changing(
                request, status: 201, at: "/v1/invitations", secrets: ["token": .string(token.text)]
            ) { transaction in
                try await invite(values, token, author, transaction)
            }
        }
    }

    private func invite(
        _ values: Form.Values, _ token: BearerToken, _ author: Author, _ transaction: TenantTransaction
    ) async throws -> JSONValue {
        let users = UserStore(transaction: transaction, author: author)
        let roles = values.list("roles") ?? []
        try await users.check(roles: roles)
        let email = values.text("email")!
        // Somebody who is invited again gets the new token and what the new invitation says.
        let rows = try await transaction.query(
            """
            insert into platform.app_user as u (tenant_id, id, email, name, roles, team_id, status)
            values ($1, $2, $3, $4, $5::text[], $6, 'invited')
            on conflict (tenant_id, email) do update
            set name = excluded.name, roles = excluded.roles, team_id = excluded.team_id where u.status = 'invited'
            returning u.id
            """,
            [
                transaction.tenant.parameter, .uuid(.v7()), .text(email), .text(values.text("name") ?? email),
                .array(roles), .optional(values.text("team_id")),
            ])
        guard let id = rows.isEmpty ? nil : rows.uuid(0, 0) else {
            throw Problem(
                409, "not_unique", "There is a user with this address.",
                fields: [FieldError("/email", "not_unique", "This value is taken.")])
        }
        users.give(token, to: id, lifetime: Self.hours)
        let made = try await transaction.query(
            "select \(Self.columns) from \(Self.source) where u.tenant_id = $1 and u.id = $2",
            [transaction.tenant.parameter, .uuid(id)])
        transaction.later(
            author.audit(
                "invitation.created", "user:\(id.lowercased)",
                ["email": .string(email), "roles": .array(roles.map { .string($0) })]))
        return Self.json(made, 0)
    }

    private var list: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = Schemas.paging
            $0.response = Schemas.page(Self.schema)
        }
        return Endpoint(
            .get, "/v1/invitations", "Invitations that nobody has accepted yet", documentation: documentation
        ) { request in
            try request.allow(["limit", "cursor"])
            _ = try Author(administering: request)
            return try await store.page(request, of: "invitations", keys: 1) { after, limit in
                Statement(
                    """
                    select \(Self.columns) from \(Self.source)
                    where u.tenant_id = $1 and u.status = 'invited' and ($2::uuid is null or u.id > $2)
                    order by u.id limit $3
                    """, [request.context.tenant.parameter, .optional(after[0]), .int(limit)])
            } _: { rows, row in
                (Self.json(rows, row), [rows.text(row, 0)])
            }
        }
    }

    private var revoke: Endpoint {
        let documentation = EndpointDocumentation {
            $0.status = 204
            $0.refusals = [404]
        }
        return Endpoint(
            .delete, "/v1/invitations/{id}", "Revoke an invitation", documentation: documentation
        ) { request in
            try request.allow([])
            let author = try Author(administering: request)
            let id = try request.id()
            return try await store.changing(request, status: 204) { transaction in
                let gone = try await transaction.query(
                    """
                    delete from platform.app_user where tenant_id = $1 and id = $2 and status = 'invited'
                    returning email
                    """, [transaction.tenant.parameter, .uuid(id)])
                guard let email = gone.isEmpty ? nil : gone.text(0, 0) else { throw Problem.notFound("invitation") }
                transaction.later(
                    author.audit("invitation.revoked", "user:\(id.lowercased)", ["email": .string(email)]))
                return .null
            }
        }
    }

    // MARK: Using a token

    /// Nobody has signed in yet: the token is all there is. The password is hashed for living tokens alone.
    private func accept(_ kind: BearerToken.Kind, _ path: String, _ summary: String, _ form: Form) -> Endpoint {
        let documentation = EndpointDocumentation {
            $0.body = form.schema()
            $0.response = Schemas.object([
                "tenant": ["type": "string"], "user_id": Schemas.id, "email": ["type": "string"],
            ])
            $0.refusals = [404]
        }
        return Endpoint(.post, path, summary, isPublic: true, documentation: documentation) { request in
            try request.allow([])
            let values = try form.read(try await request.json())
            let gone = Problem(404, "not_found", "This token was used before, was taken back, or has expired.")
            guard let token = BearerToken(values.text("token")!), token.kind == kind else { throw gone }
            let found = try await store.database.query(
                tenant: nil,
                Statement(
                    "select secret_hash from platform.find_token($1, $2)",
                    [.text(kind.rawValue), .text(token.id)]), readOnly: true)
            guard found.count == 1, let hash = found.bytes(0, 0), Sodium.isEqual(hash, token.hash) else { throw gone }
            let password = try await hashed(values.text("password")!)
            let used = try await store.database.query(
                tenant: nil,
                Statement(
                    "select slug, user_id, email from platform.use_token($1, $2, $3, $4, $5, $6)",
                    [
                        .text(kind.rawValue), .text(token.id), .bytes(token.hash), .text(password),
                        .optional(values.text("name")), .optional(request.client),
                    ]))
            guard used.count == 1 else { throw gone }
            return EndpointResponse(json: [
                "tenant": JSONValue(used.text(0, 0)), "user_id": JSONValue(used.text(0, 1)),
                "email": JSONValue(used.text(0, 2)),
            ])
        }
    }

    private func hashed(_ password: String) async throws -> String {
        do {
            return try await passwords.hash(password: password)
        } catch {
            throw Problem(
                429, "too_many_requests", "Too many passwords are being set right now.",
                headers: [("Retry-After", "2")])
        }
    }
}

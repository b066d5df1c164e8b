import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// The tenant's people, for its administrators.
struct UserEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [list, get, patch, reset, removeSecondFactor, endSessions] }

    private static let patchForm = Form(
        fields: [User.name, User.roles, User.team, User.status], schemas: ["roles": Schemas.roles])

    private var list: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters =
                Schemas.paging + [
                    RecordParameters.query(
                        "status", ["type": "string", "enum": ["invited", "active", "disabled"]]),
                    RecordParameters.query("email", ["type": "string", "maxLength": 254]),
                ]
            $0.response = Schemas.page(User.schema)
        }
        return Endpoint(.get, "/v1/users", "The people of the tenant", documentation: documentation) { request in
            try request.allow(["limit", "cursor", "status", "email"])
            _ = try Author(administering: request)
            let status = request.parameter("status")
            let email = request.parameter("email")
            guard (email?.unicodeScalars.count ?? 0) <= 254 else {
                throw Problem.badRequest("invalid_parameter", "email has at most 254 characters.")
            }
            if let status, !["invited", "active", "disabled"].contains(status) {
                throw Problem.badRequest("invalid_parameter", "status is invited, active or disabled.")
            }
            return try await store.page(request, of: "users", keys: 1) { after, limit in
                Statement(
                    """
                    select \(User.columns) from platform.app_user u
                    where u.tenant_id = $1 and ($2::text is null or u.status = $2)
                    and ($3::text is null or u.email = lower($3)) and ($4::uuid is null or u.id > $4)
                    order by u.id limit $5
                    """,
                    [
                        request.context.tenant.parameter, .optional(status), .optional(email),
                        .optional(after[0]), .int(limit),
                    ])
            } _: { rows, row in
                let user = User(rows, row)
                return (user.json, [user.id.lowercased])
            }
        }
    }

    private var get: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = User.schema
            $0.refusals = [404]
        }
        return Endpoint(.get, "/v1/users/{id}", "One of them", documentation: documentation) { request in
            try request.allow([])
            _ = try Author(administering: request)
            let id = try request.id()
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    "select \(User.columns) from platform.app_user u where u.tenant_id = $1 and u.id = $2",
                    [request.context.tenant.parameter, .uuid(id)]), readOnly: true)
            guard rows.count == 1 else { throw Problem.notFound("user") }
            return EndpointResponse(json: User(rows, 0).json)
        }
    }

    private var patch: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = Self.patchForm.schema(isPatch: true)
            $0.response = User.schema
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .patch, "/v1/users/{id}", "Change name, roles, team or status; a disabled user is out at once",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let author = try Author(administering: request)
            let id = try request.id()
            let values = try Self.patchForm.read(try await request.json(), isPatch: true)
            return try await store.changing(request) { transaction in
                try await UserStore(transaction: transaction, author: author).change(id, values).json
            }
        }
    }

    private var reset: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.idempotencyKey]
            $0.response = Schemas.object(
                ["user_id": Schemas.id, "token": ["type": "string"], "expires_at": Schemas.time], optional: ["token"])
            $0.status = 201
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .post, "/v1/users/{id}/password-resets", "A token, shown once, to set a new password with in a day",
            documentation: documentation
        ) { request in
            try request.allow([])
            let author = try Author(administering: request)
            let id = try request.id()
            let token = BearerToken.make(.reset)
            return try await store.changing(request, status: 201, secrets: ["token": .string(token.text)]) {
                transaction in
                let users = UserStore(transaction: transaction, author: author)
                let user = try await users.find(id)
                try author.require(over: user.roles)
                guard user.status == "active" else {
                    throw Problem(409, "not_active", "Only active users have a password to reset.")
                }
                users.give(token, to: id, lifetime: 24)
                transaction.later(author.audit("password.reset_requested", user.subject))
                return [
                    "user_id": .string(id.lowercased),
                    "expires_at": .string(Timestamp.rfc3339(Date(timeIntervalSinceNow: 86_400))),
                ]
            }
        }
    }

    private var removeSecondFactor: Endpoint {
        let documentation = EndpointDocumentation {
            $0.status = 204
            $0.refusals = [404]
        }
        return Endpoint(
            .delete, "/v1/users/{id}/totp", "Take away one-time codes from somebody whose phone is gone",
            documentation: documentation
        ) { request in
            try request.allow([])
            let author = try Author(administering: request)
            let id = try request.id()
            return try await store.changing(request, status: 204) { transaction in
                let user = try await UserStore(transaction: transaction, author: author).find(id)
                try author.require(over: user.roles)
                try await SecondFactorStore(transaction: transaction).remove(from: id)
                transaction.later(author.audit("totp.removed", user.subject))
                return .null
            }
        }
    }

    private var endSessions: Endpoint {
        let documentation = EndpointDocumentation {
            $0.status = 204
            $0.refusals = [404]
        }
        return Endpoint(
            .delete, "/v1/users/{id}/sessions", "Sign somebody out everywhere", documentation: documentation
        ) { request in
            try request.allow([])
            let author = try Author(administering: request)
            let id = try request.id()
            return try await store.changing(request, status: 204) { transaction in
                let users = UserStore(transaction: transaction, author: author)
                let user = try await users.find(id)
                try author.require(over: user.roles)
                users.endSessions(id)
                transaction.later(author.audit("sessions.ended", user.subject))
                return .null
            }
        }
    }
}

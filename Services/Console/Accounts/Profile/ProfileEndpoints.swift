import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// Everybody's own account: name, password, sessions.
struct ProfileEndpoints {
    let store: RecordStore
    let passwords: PasswordVerifier

    var all: [Endpoint] { [get, patch, changePassword, sessions, endSession, endOtherSessions] }

    private static let form = Form(fields: [User.name])
    private static let passwordForm = Form(fields: [], passwords: ["current_password", "new_password"])

    private static let schema = Schemas.object(
        [
            "tenant": ["type": "string"], "actor": ["type": "string"], "user_id": ["type": ["string", "null"]],
            "locale": ["type": "string"], "time_zone": ["type": "string"], "currency": ["type": "string"],
            "administrator": ["type": "boolean"], "user": User.schema, "recovery_codes_left": ["type": "integer"],
        ], optional: ["user", "recovery_codes_left"])

    private static func json(_ principal: Principal) -> [String: JSONValue] {
        [
            "tenant": .string(principal.slug), "actor": .string(principal.actor),
            "user_id": JSONValue(principal.user?.lowercased), "locale": .string(principal.locale),
            "time_zone": .string(principal.defaults.timeZone), "currency": .string(principal.defaults.currency),
            "administrator": .bool(principal.permissions.isAdministrator),
        ]
    }

    private var get: Endpoint {
        let documentation = EndpointDocumentation { $0.response = Self.schema }
        return Endpoint(.get, "/v1/me", "Who is asking, and their account", documentation: documentation) { request in
            try request.allow([])
            var members = Self.json(request.principal)
            guard let person = try? Person(request) else { return EndpointResponse(json: .object(members)) }
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    """
                    select \(User.columns), (select count(*) from platform.recovery_code c
                        where c.tenant_id = u.tenant_id and c.user_id = u.id and c.used_at is null)
                    from platform.app_user u where u.tenant_id = $1 and u.id = $2
                    """, [request.context.tenant.parameter, .uuid(person.id)]), readOnly: true)
            guard rows.count == 1 else { throw Problem.notFound("user") }
            members["user"] = User(rows, 0).json
            members["recovery_codes_left"] = JSONValue(rows.int(0, 10) ?? 0)
            return EndpointResponse(json: .object(members))
        }
    }

    private var patch: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = Self.form.schema(isPatch: true)
            $0.response = User.schema
        }
        return Endpoint(.patch, "/v1/me", "Change one's own name", documentation: documentation) { request in
            try request.allow(["dry_run"])
            let values = try Self.form.read(try await request.json(), isPatch: true)
            let person = try Person(request)
            return try await store.changing(request) { transaction in
                let before = try await UserStore(transaction: transaction, author: person.author).find(person.id)
                let rows = try await transaction.query(
                    """
                    update platform.app_user u set name = $3 where u.tenant_id = $1 and u.id = $2
                    returning \(User.columns)
                    """,
                    [transaction.tenant.parameter, .uuid(person.id), .text(values.text("name") ?? before.name)])
                let after = User(rows, 0)
                if after.name != before.name {
                    transaction.later(
                        person.author.audit(
                            "user.updated", person.subject, UserStore.difference(before.json, after.json)))
                }
                return after.json
            }
        }
    }

    private var changePassword: Endpoint {
        let documentation = EndpointDocumentation {
            $0.body = Self.passwordForm.schema()
            $0.status = 204
        }
        return Endpoint(
            .post, "/v1/me/password", "Change one's own password; all other sessions end", documentation: documentation
        ) { request in
            try request.allow([])
            let values = try Self.passwordForm.read(try await request.json())
            let person = try Person(request)
            try await check(current: values.text("current_password")!, of: person, request)
            let hash: String
            do { hash = try await passwords.hash(password: values.text("new_password")!) } catch { throw Self.busy }
            return try await store.changing(request, status: 204) { transaction in
                transaction.later(
                    Statement(
                        "update platform.app_user set password_hash = $3 where tenant_id = $1 and id = $2",
                        [transaction.tenant.parameter, .uuid(person.id), .text(hash)]))
                UserStore(transaction: transaction, author: person.author)
                    .endSessions(person.id, but: person.session)
                transaction.later(person.author.audit("password.changed", person.subject))
                return .null
            }
        }
    }

    private static let busy = Problem(
        429, "too_many_requests", "Too many passwords are being checked right now.", headers: [("Retry-After", "2")])

    /// A wrong one counts as at signing in: whoever found an open session must not guess the password with it.
    private func check(current password: String, of person: Person, _ request: EndpointRequest) async throws {
        let tenant = request.context.tenant
        let rows = try await store.database.query(
            tenant: tenant,
            Statement(
                """
                select password_hash, extract(epoch from locked_until - now())::int from platform.app_user
                where tenant_id = $1 and id = $2
                """, [tenant.parameter, .uuid(person.id)]), readOnly: true)
        if let seconds = rows.int(0, 1), seconds > 0 {
            throw Problem(
                429, "too_many_requests", "Too many wrong passwords.", headers: [("Retry-After", "\(seconds)")])
        }
        let isRight: Bool
        do { isRight = try await passwords.verify(password: password, hash: rows.text(0, 0) ?? "") } catch {
            throw Self.busy
        }
        if isRight { return }
        _ = try await store.database.query(
            tenant: nil,
            Statement(
                "select platform.refuse_sign_in($1, $2, 'password', $3)",
                [tenant.parameter, .uuid(person.id), .optional(request.client)]))
        throw Problem.invalid("/current_password", "wrong_password", "This is not your password.")
    }

    // MARK: Sessions

    private var sessions: Endpoint {
        let item = Schemas.object([
            "id": ["type": "string"], "current": ["type": "boolean"], "address": ["type": ["string", "null"]],
            "agent": ["type": ["string", "null"]], "created_at": Schemas.time, "expires_at": Schemas.time,
        ])
        let documentation = EndpointDocumentation { $0.response = Schemas.page(item) }
        return Endpoint(
            .get, "/v1/me/sessions", "Where one is signed in, the latest two hundred", documentation: documentation
        ) { request in
            try request.allow([])
            let person = try Person(request)
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    """
                    select id, address, agent, created_at, expires_at from platform.session
                    where tenant_id = $1 and user_id = $2 and expires_at > now()
                    order by created_at desc, id limit 200
                    """, [request.context.tenant.parameter, .uuid(person.id)]), readOnly: true)
            let items = (0..<rows.count).map { row -> JSONValue in
                [
                    "id": JSONValue(rows.text(row, 0)), "current": .bool(rows.text(row, 0) == person.session),
                    "address": JSONValue(rows.text(row, 1)), "agent": JSONValue(rows.text(row, 2)),
                    "created_at": rows.timeJSON(row, 3), "expires_at": rows.timeJSON(row, 4),
                ]
            }
            return EndpointResponse(json: ["items": .array(items), "next_cursor": nil])
        }
    }

    private var endSession: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [Schemas.inPath("id", "^[0-9a-f]{24}$")]
            $0.status = 204
            $0.refusals = [404]
        }
        return Endpoint(.delete, "/v1/me/sessions/{id}", "End one of one's sessions", documentation: documentation) {
            request in
            try request.allow([])
            let person = try Person(request)
            let id = request.path["id"] ?? ""
            return try await store.changing(request, status: 204) { transaction in
                let gone = try await transaction.query(
                    "delete from platform.session where tenant_id = $1 and user_id = $2 and id = $3",
                    [transaction.tenant.parameter, .uuid(person.id), .text(id)])
                guard gone.affected == 1 else { throw Problem.notFound("session") }
                transaction.later(
                    Statement("select pg_notify('guanxi_credentials', $1)", [.text("session:\(id)")]))
                transaction.later(person.author.audit("session.closed", "session:\(id)"))
                return .null
            }
        }
    }

    private var endOtherSessions: Endpoint {
        let documentation = EndpointDocumentation { $0.status = 204 }
        return Endpoint(
            .delete, "/v1/me/sessions", "Sign out everywhere but here", documentation: documentation
        ) { request in
            try request.allow([])
            let person = try Person(request)
            return try await store.changing(request, status: 204) { transaction in
                UserStore(transaction: transaction, author: person.author)
                    .endSessions(person.id, but: person.session)
                transaction.later(person.author.audit("sessions.ended", person.subject))
                return .null
            }
        }
    }
}

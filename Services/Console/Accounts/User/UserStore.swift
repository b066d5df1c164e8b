import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// The tenant's people, within a transaction of theirs.
struct UserStore: Sendable {
    let transaction: TenantTransaction
    let author: Author
    private var tenant: Parameter { transaction.tenant.parameter }

    /// A user whose row the transaction then holds; throws 404.
    func find(_ id: UUID) async throws -> User {
        let rows = try await transaction.query(
            "select \(User.columns) from platform.app_user u where u.tenant_id = $1 and u.id = $2 for update of u",
            [tenant, .uuid(id)])
        guard rows.count == 1 else { throw Problem.notFound("user") }
        return User(rows, 0)
    }

    /// Throws 422 for roles that are not there, and 403 for those the author may not give.
    func check(roles: [String]) async throws {
        if roles.isEmpty { throw Problem.invalid("/roles", "required", "At least one role belongs here.") }
        let custom = try await RoleStore(transaction: transaction).grants(of: roles)
        for (index, role) in roles.enumerated() where Permissions.builtIn[role] == nil && custom[role] == nil {
            throw Problem.invalid("/roles/\(index)", "no_such_role", "There is no role \(role).")
        }
        for role in roles where !author.principal.permissions.mayGive(role, custom: custom) {
            throw Problem(403, "forbidden", "You can't give \(role): it allows more than your own roles.")
        }
    }

    /// Changes what `values` names, ends what a disabled user has open, and notes it in the trail.
    func change(_ id: UUID, _ values: Form.Values) async throws -> User {
        let before = try await find(id)
        try author.require(over: before.roles)
        let roles = values.list("roles") ?? before.roles
        if values.isGiven("roles"), Set(roles) != Set(before.roles) { try await check(roles: roles) }
        let status = values.text("status") ?? before.status
        if before.status == "invited" && status != before.status {
            throw Problem(
                409, "not_accepted", "Who is invited becomes active by accepting; an invitation can be revoked.")
        }
        if before.isActiveOwner && !(status == "active" && roles.contains("owner")) {
            try await requireAnotherOwner(than: id)
        }
        let rows = try await transaction.query(
            """
            update platform.app_user u set name = $3, roles = $4::text[], team_id = $5, status = $6
            where u.tenant_id = $1 and u.id = $2 returning \(User.columns)
            """,
            [
                tenant, .uuid(id), .text(values.text("name") ?? before.name), .array(roles),
                values.isGiven("team_id")
                    ? .optional(values.text("team_id")) : before.team.map(Parameter.uuid) ?? .null,
                .text(status),
            ])
        let after = User(rows, 0)
        guard after.json != before.json else { return after }
        if status == "disabled" && before.status != status { endAccess(id) }
        forget(id)
        transaction.later(
            author.audit("user.updated", before.subject, Self.difference(before.json, after.json)))
        return after
    }

    private func requireAnotherOwner(than id: UUID) async throws {
        let others = try await transaction.query(
            """
            select 1 from platform.app_user
            where tenant_id = $1 and id <> $2 and status = 'active' and 'owner' = any (roles) limit 1
            """, [tenant, .uuid(id)])
        if others.isEmpty {
            throw Problem(409, "last_owner", "This is the tenant's last active owner: make somebody else one first.")
        }
    }

    /// Ends a user's sessions and takes back what would let them set a password.
    private func endAccess(_ id: UUID) {
        endSessions(id)
        transaction.later(
            Statement("delete from platform.user_token where tenant_id = $1 and user_id = $2", [tenant, .uuid(id)]))
    }

    /// Ends all sessions of a user, but for `kept`.
    func endSessions(_ id: UUID, but kept: String = "") {
        transaction.later(
            Statement(
                "delete from platform.session where tenant_id = $1 and user_id = $2 and id <> $3",
                [tenant, .uuid(id), .text(kept)]))
        forget(id)
    }

    /// Every process reads the user anew.
    func forget(_ id: UUID) {
        transaction.later(
            Statement("select pg_notify('guanxi_credentials', $1)", [.text("user:\(id.lowercased)")]))
    }

    /// Gives a user what lets them set a password once; an older one of the kind ends. `lifetime` is in hours.
    func give(_ token: BearerToken, to user: UUID, lifetime: Int) {
        transaction.later(
            Statement(
                "delete from platform.user_token where tenant_id = $1 and user_id = $2 and kind = $3",
                [tenant, .uuid(user), .text(token.kind.rawValue)]))
        transaction.later(
            Statement(
                """
                insert into platform.user_token (tenant_id, id, kind, user_id, secret_hash, created_by, expires_at)
                values ($1, $2, $3, $4, $5, $6, now() + make_interval(hours => $7))
                """,
                [
                    tenant, .text(token.id), .text(token.kind.rawValue), .uuid(user), .bytes(token.hash),
                    .text(author.principal.actor), .int(lifetime),
                ]))
    }

    /// `{field: {from, to}}` of the members that differ.
    static func difference(_ before: JSONValue, _ after: JSONValue) -> JSONValue {
        var changes: [String: JSONValue] = [:]
        for (name, value) in after.object ?? [:] where before[name] != value {
            changes[name] = ["from": before[name] ?? .null, "to": value]
        }
        return .object(changes)
    }
}

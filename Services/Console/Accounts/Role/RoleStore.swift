import Database
import Foundation
import Records
import Tenancy

/// The tenant's own roles, within a transaction of the tenant.
struct RoleStore: Sendable {
    let transaction: TenantTransaction
    private var tenant: Parameter { transaction.tenant.parameter }

    /// The grants of those of `names` that are the tenant's own.
    func grants(of names: [String]) async throws -> [String: [Grant]] {
        let rows = try await transaction.query(
            "select name, grants from platform.role where tenant_id = $1 and name = any ($2::text[])",
            [tenant, .array(names)])
        var found: [String: [Grant]] = [:]
        for row in 0..<rows.count { found[rows.text(row, 0)!] = Self.decoded(rows.text(row, 1)!) }
        return found
    }

    /// Grants that an earlier version wrote and this one can't read grant nothing.
    static func decoded(_ text: String) -> [Grant] {
        (try? JSONDecoder().decode([Grant].self, from: Data(text.utf8))) ?? []
    }

    /// Writes a role; gives what it was before, nil when it is new.
    func put(_ name: String, _ grants: JSONValue) async throws -> JSONValue? {
        let rows = try await transaction.query(
            "select grants from platform.role where tenant_id = $1 and name = $2", [tenant, .text(name)])
        let before = rows.isEmpty ? nil : rows.json(0, 0)
        if before == nil {
            let count = try await transaction.query(
                "select count(*) from platform.role where tenant_id = $1", [tenant])
            guard count.int(0, 0)! < Self.most else {
                throw Problem(409, "too_many", "A tenant has at most \(Self.most) roles of its own.")
            }
        }
        transaction.later(
            Statement(
                """
                insert into platform.role (tenant_id, name, grants) values ($1, $2, $3::jsonb)
                on conflict (tenant_id, name) do update set grants = excluded.grants
                """, [tenant, .text(name), .text(grants.encoded)]))
        return before
    }

    static let most = 200

    /// Deletes a role that nobody has; throws 404 and 409.
    func delete(_ name: String) async throws {
        let used = try await transaction.query(
            """
            select (select count(*) from platform.app_user where tenant_id = $1 and $2 = any (roles)),
                (select count(*) from platform.api_key
                where tenant_id = $1 and $2 = any (roles) and revoked_at is null
                and (expires_at is null or expires_at > now()))
            """, [tenant, .text(name)])
        let gone = try await transaction.query(
            "delete from platform.role where tenant_id = $1 and name = $2", [tenant, .text(name)])
        guard gone.affected == 1 else { throw Problem.notFound("role") }
        let (users, keys) = (used.int(0, 0)!, used.int(0, 1)!)
        guard users + keys == 0 else {
            throw Problem(
                409, "in_use", "\(users) users and \(keys) keys have this role.",
                extra: ["users": JSONValue(users), "keys": JSONValue(keys)])
        }
    }

    /// Every process reads the permissions of the tenant's bearers anew.
    func forget() {
        transaction.later(
            Statement("select pg_notify('guanxi_credentials', $1)", [.text("tenant:\(transaction.tenant)")]))
    }
}

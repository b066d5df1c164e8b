import Database
import Foundation
import Records
import Tenancy

/// Secrets of one-time codes and hashes of recovery codes, within a transaction of their tenant.
struct SecondFactorStore: Sendable {
    let transaction: TenantTransaction
    private var tenant: Parameter { transaction.tenant.parameter }

    /// What a person has set up.
    struct State: Sendable {
        let sealed: [UInt8]
        let lastStep: Int64
        let isConfirmed: Bool
    }

    /// Nil when nothing is set up. The row is the transaction's then.
    func state(of user: UUID) async throws -> State? {
        let rows = try await transaction.query(
            """
            select secret, last_step, confirmed_at is not null from platform.totp
            where tenant_id = $1 and user_id = $2 for update
            """, [tenant, .uuid(user)])
        guard rows.count == 1 else { return nil }
        return State(sealed: rows.bytes(0, 0)!, lastStep: Int64(rows.int(0, 1)!), isConfirmed: rows.bool(0, 2)!)
    }

    /// Keeps a secret that counts once a code of it has been shown.
    func propose(_ sealed: [UInt8], to user: UUID) {
        transaction.later(
            Statement(
                """
                insert into platform.totp (tenant_id, user_id, secret) values ($1, $2, $3)
                on conflict (tenant_id, user_id) do update
                set secret = excluded.secret, last_step = -1, confirmed_at = null, created_at = now()
                """, [tenant, .uuid(user), .bytes(sealed)]))
    }

    /// From now on signing in asks for a code later than that of `step`.
    func confirm(_ user: UUID, step: Int64) {
        transaction.later(
            Statement(
                """
                update platform.totp set confirmed_at = now(), last_step = $3 where tenant_id = $1 and user_id = $2
                """, [tenant, .uuid(user), .int(step)]))
    }

    /// Puts `codes` in the place of those there were.
    func replaceRecoveryCodes(of user: UUID, with codes: [RecoveryCode]) {
        transaction.later(
            Statement(
                "delete from platform.recovery_code where tenant_id = $1 and user_id = $2", [tenant, .uuid(user)]))
        for code in codes {
            transaction.later(
                Statement(
                    "insert into platform.recovery_code (tenant_id, user_id, hash) values ($1, $2, $3)",
                    [tenant, .uuid(user), .bytes(code.hash)]))
        }
    }

    /// Signing in asks for the password alone from now on. Throws 404 when nothing was set up.
    func remove(from user: UUID) async throws {
        let gone = try await transaction.query(
            "delete from platform.totp where tenant_id = $1 and user_id = $2", [tenant, .uuid(user)])
        guard gone.affected == 1 else { throw Problem.notFound("second factor") }
        replaceRecoveryCodes(of: user, with: [])
    }
}

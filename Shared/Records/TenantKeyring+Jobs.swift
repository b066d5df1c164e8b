import Database
import Jobs
import Tenancy

extension TenantKey: PayloadKey {}

/// What a tenant's jobs carry is sealed with the tenant's key: said here, in the lowest room that knows both.
extension TenantKeyring: PayloadKeyring {
    /// See `key(of:)`.
    package func payloadKey(of tenant: TenantID) async throws -> any PayloadKey { try await key(of: tenant) }
}

import CSodium
import Database
import Entropy
import Foundation
import Synchronization

/// A tenant's own key: what is sealed with it can be read by nobody once the key is erased, wherever copies of it lie.
package struct TenantKey: Sendable {
    private let key: [UInt8]

    init(_ key: [UInt8]) {
        precondition(key.count == Int(crypto_aead_xchacha20poly1305_ietf_KEYBYTES))
        self.key = key
    }

    /// Bytes that `seal` adds.
    package static let overhead = saltLength + Int(crypto_aead_xchacha20poly1305_ietf_ABYTES)
    private static let saltLength = Int(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES) - MemoryLayout<uuid_t>.size

    /// XChaCha20-Poly1305. Its nonce is 8 random bytes, which stand before the text, and `id`, which does not: whoever
    /// opens it knows that, and under another id it does not open.
    package func seal(_ text: [UInt8], for id: UUID) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: text.count + Self.overhead) { sealed, count in
            let salt = sealed.baseAddress!
            // No secret, and so from the store of random bits: the system's own call would be a tenth of a bulk enqueue.
            withUnsafeBytes(of: RandomBits.word()) {
                salt.initialize(
                    from: $0.assumingMemoryBound(to: UInt8.self).baseAddress!, count: Self.saltLength)
            }
            Self.withNonce(salt, id) { nonce in
                _ = crypto_aead_xchacha20poly1305_ietf_encrypt(
                    salt + Self.saltLength, nil, text, UInt64(text.count), nil, 0, nil, nonce, key)
            }
            count = sealed.count
        }
    }

    /// What was sealed for `id`; nil under another key or id, or when a bit of it was changed.
    package func open(_ sealed: [UInt8], for id: UUID) -> [UInt8]? {
        guard sealed.count >= Self.overhead else { return nil }
        var isGenuine = false
        let text = [UInt8](unsafeUninitializedCapacity: sealed.count - Self.overhead) { text, count in
            isGenuine = sealed.withUnsafeBufferPointer { sealed in
                let salt = sealed.baseAddress!
                return Self.withNonce(salt, id) { nonce in
                    crypto_aead_xchacha20poly1305_ietf_decrypt(
                        text.baseAddress, nil, nil, salt + Self.saltLength, UInt64(sealed.count - Self.saltLength), nil,
                        0,
                        nonce, key) == 0
                }
            }
            count = isGenuine ? text.count : 0
        }
        return isGenuine ? text : nil
    }

    private static func withNonce<Result>(
        _ salt: UnsafePointer<UInt8>, _ id: UUID, _ body: (UnsafePointer<UInt8>) -> Result
    ) -> Result {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: saltLength + 16) { nonce in
            let start = nonce.baseAddress!
            start.initialize(from: salt, count: saltLength)
            withUnsafeBytes(of: id.uuid) {
                (start + saltLength).initialize(from: $0.assumingMemoryBound(to: UInt8.self).baseAddress!, count: 16)
            }
            return body(start)
        }
    }
}

/// The tenants' keys. Each lies in the tenant's own row, sealed with a key that the database does not have, and goes
/// with the tenant.
package final class TenantKeyring: Sendable {
    private struct Entry {
        let key: TenantKey
        let until: ContinuousClock.Instant
    }

    private let database: Database
    private let vault: SecretVault
    private let known = Mutex<[TenantID: Entry]>([:])
    /// What the key over the keys is derived for, from the secret that all processes share.
    package static let purpose = "tenants' keys"
    /// How long a process goes on with a key it has: so long after its erasure it may still be in memory.
    private static let lifetime = Duration.seconds(600)
    private static let mostKnown = 50_000

    package init(database: Database, vault: SecretVault) {
        Sodium.ready()
        self.database = database
        self.vault = vault
    }

    /// The key of a tenant, made when it has none yet. The first call for a tenant asks the database; throws
    /// `DatabaseError` when that does not answer or has no such tenant, `ForeignTenantKey` under another secret.
    package func key(of tenant: TenantID) async throws -> TenantKey {
        let now = ContinuousClock.now
        if let entry = known.withLock({ $0[tenant] }), entry.until > now { return entry.key }
        let key = try await stored(tenant)
        known.withLock { known in
            if known.count >= Self.mostKnown { known.removeAll() }
            known[tenant] = Entry(key: key, until: now + Self.lifetime)
        }
        return key
    }

    /// Forgets what was read: the next call for a tenant asks the database again.
    package func forget() { known.withLock { $0.removeAll() } }

    private func stored(_ tenant: TenantID) async throws -> TenantKey {
        let owner = "tenant:\(tenant)"
        let find = Statement("select sealed from platform.tenant_key where tenant_id = $1", [tenant.parameter])
        var rows = try await database.query(tenant: tenant, find, readOnly: true)
        if rows.isEmpty {
            let fresh = vault.seal(Sodium.random(Int(crypto_aead_xchacha20poly1305_ietf_KEYBYTES)), for: owner)
            // Of two who make one, the first wins.
            let make = Statement(
                "insert into platform.tenant_key (tenant_id, sealed) values ($1, $2) on conflict do nothing",
                [tenant.parameter, .bytes(fresh)])
            rows = try await database.batch(tenant: tenant, [make, find])[1]
        }
        guard let key = rows.bytes(0, 0).flatMap({ vault.open($0, for: owner) }) else {
            throw ForeignTenantKey(tenant: tenant)
        }
        return TenantKey(key)
    }
}

/// A tenant's key was sealed under another secret than this process has.
package struct ForeignTenantKey: Error, CustomStringConvertible {
    package let tenant: TenantID

    package var description: String {
        "the key of tenant \(tenant) was sealed under another GUANXI_SECRET: all processes need the same"
    }
}

extension PlatformSchema {
    /// Where the keys lie. Every service makes and reads them, under the tenant's row security.
    package static let tenantKeys = Migration(
        "M0007CreateTenantKeys",
        """
        create table platform.tenant_key (
            tenant_id bigint primary key references platform.tenant on delete cascade,
            sealed bytea not null,
            created_at timestamptz not null default now()
        );
        comment on table platform.tenant_key is
            'Seals what lies outside the database. Sealed itself, under a secret that only processes have.';
        select platform.secure_table('platform.tenant_key', '');
        grant select, insert on platform.tenant_key to guanxi_service;
        grant select, insert, update, delete on platform.tenant_key to guanxi_across;
        """)
}

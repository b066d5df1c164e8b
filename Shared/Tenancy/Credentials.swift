import Database
import Foundation
import Logging
import Synchronization
import ThreadExecutor

/// Who is asking: the tenant, the person or key, and what they may do. Everything comes from the credential. One instance
/// for all requests of a credential, until it is read anew.
package final class Principal: Sendable {
    package let tenant: TenantID
    package let slug: String
    /// The person behind a session, or the one a key acts for.
    package let user: UUID?
    package let team: UUID?
    /// What the history shows: `user:<id>` or `key:<id>`.
    package let actor: String
    package let permissions: Permissions
    package let locale: String
    package let defaults: TenantDefaults
    /// Requests per second that the tenant, and this credential, may make.
    package let tenantRate: Int
    package let credentialRate: Int?
    package let isSuspended: Bool
    /// Where the credential may be used from; nil for anywhere.
    package let addresses: [AddressRange]?

    package init(
        tenant: TenantID, slug: String, user: UUID?, team: UUID?, actor: String, permissions: Permissions,
        locale: String, defaults: TenantDefaults, tenantRate: Int, credentialRate: Int?, isSuspended: Bool,
        addresses: [AddressRange]? = nil
    ) {
        self.tenant = tenant
        self.slug = slug
        self.user = user
        self.team = team
        self.actor = actor
        self.permissions = permissions
        self.locale = locale
        self.defaults = defaults
        self.tenantRate = tenantRate
        self.credentialRate = credentialRate
        self.isSuspended = isSuspended
        self.addresses = addresses
    }
}

/// A secret that is shown once: `gx_<id>_<secret>` for keys, `gs_…` for sessions, `gi_…` for invitations, `gr_…` for
/// resets of a password. Only its hash is stored.
package struct BearerToken: Sendable {
    /// A key of a program, a session of a person, or what lets somebody set a password once.
    package enum Kind: String, Sendable, CaseIterable {
        case key, session, invitation, reset

        fileprivate var prefix: String {
            switch self {
            case .key: "gx"
            case .session: "gs"
            case .invitation: "gi"
            case .reset: "gr"
            }
        }
    }
    package let kind: Kind
    package let id: String
    private let secret: [UInt8]

    /// A fresh token: 96 bits of id, 256 of secret.
    package static func make(_ kind: Kind) -> BearerToken {
        let id = Sodium.random(12).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        return BearerToken(kind: kind, id: id, secret: Sodium.random(32))
    }

    /// Reads a token from an `Authorization` header's credentials; nil when it has not the form of one.
    package init?(_ text: String) {
        let parts = text.split(separator: "_", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[1].utf8.count == 24,
            parts[1].utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }),
            let secret = Sodium.bytes(base64: String(parts[2])), secret.count == 32
        else { return nil }
        guard let kind = Kind.allCases.first(where: { $0.prefix == parts[0] }) else { return nil }
        self.kind = kind
        id = String(parts[1])
        self.secret = secret
    }

    private init(kind: Kind, id: String, secret: [UInt8]) {
        self.kind = kind
        self.id = id
        self.secret = secret
    }

    /// What its owner keeps.
    package var text: String { "\(kind.prefix)_\(id)_\(Sodium.base64(secret))" }
    /// What the database keeps. The secret has 256 random bits, so a fast hash is enough.
    package var hash: [UInt8] { Sodium.hash(secret) }
}

/// Turns tokens into principals, with a short memory so that a busy key costs no query per request.
///
/// A revoked key is forgotten at once through a notification, and after ten seconds even if that was lost.
package final class Authenticator: Sendable {
    private struct Entry {
        let hash: [UInt8]
        let principal: Principal
        let expires: Date?
        let readAt: ContinuousClock.Instant

        var isFresh: Bool {
            ContinuousClock.now - readAt < memory && expires.map { $0 > Date() } ?? true
        }
    }

    private let database: Database
    private let entries = Mutex<[String: Entry]>([:])
    /// What whole tokens, by their digests, were found to be: to read and compare a token costs more than to look here.
    private let verified = Mutex<[SecretDigest: Entry]>([:])
    private let listener: Listener
    private let watchers = Mutex<[@Sendable (String?) -> Void]>([])
    private static let memory: Duration = .seconds(10)
    private static let capacity = 10_000

    package init(database: Database) {
        self.database = database
        let forget = Forgetter()
        listener = database.listen(channels: ["guanxi_credentials"]) { event in forget.hear(event) }
        forget.authenticator.withLock { $0 = self }
    }

    /// Lets the listener, made first, reach the authenticator, made after.
    private final class Forgetter: Sendable {
        let authenticator = Mutex<Authenticator?>(nil)
        func hear(_ event: Listener.Event) { authenticator.withLock { $0 }?.forget(event) }
    }

    /// The bearer of the token that `text` is; nil when it is none, unknown, wrong, expired or revoked.
    package func principal(forText text: Substring) async throws(DatabaseError) -> Principal? {
        let digest = SecretDigest(text)
        if let known = verified.withLock({ $0[digest] }), known.isFresh { return known.principal }
        guard let token = BearerToken(String(text)), let principal = try await principal(for: token) else { return nil }
        // Under both locks: what is forgotten meanwhile must not come in afterwards.
        entries.withLock { entries in
            verified.withLock { verified in
                if verified.count >= Self.capacity { verified.removeAll() }
                verified[digest] = entries[Self.key(token)]
            }
        }
        return principal
    }

    private static func key(_ token: BearerToken) -> String { "\(token.kind.rawValue):\(token.id)" }

    /// The bearer of `token`; nil when the token is unknown, wrong, expired or revoked.
    package func principal(for token: BearerToken) async throws(DatabaseError) -> Principal? {
        let key = Self.key(token)
        let hash = token.hash
        let known = entries.withLock { $0[key] }
        if let known, known.isFresh {
            return Sodium.isEqual(known.hash, hash) ? known.principal : nil
        }
        let rows = try await database.query(
            tenant: nil,
            Statement(
                """
                select tenant_id, secret_hash, user_id, team_id, to_json(roles), grants, requests_per_second,
                    key_requests_per_second, expires_at, status, slug, locale, time_zone, default_country,
                    default_currency, to_json(addresses), custom_fields
                from platform.find_credential($1, $2)
                """, [.text(token.kind.rawValue), .text(token.id)]), readOnly: true)
        guard rows.count == 1, let stored = rows.bytes(0, 1) else { return nil }
        let principal = Self.principal(rows, token: token)
        let entry = Entry(hash: stored, principal: principal, expires: rows.time(0, 8), readAt: .now)
        entries.withLock { entries in
            if entries.count >= Self.capacity { entries.removeAll() }
            entries[key] = entry
        }
        return Sodium.isEqual(stored, hash) ? principal : nil
    }

    /// Calls `watcher`, which must not block, with `kind:id` of every credential that is forgotten from now on, and with
    /// nil when any may be.
    package func whenForgotten(_ watcher: @escaping @Sendable (String?) -> Void) {
        watchers.withLock { $0.append(watcher) }
    }

    /// Ends the listener; what is remembered goes with the process.
    package func close() { listener.close() }

    private func forget(_ event: Listener.Event) {
        entries.withLock { entries in
            switch event {
            case .reconnected: entries.removeAll()
            case .notification(_, let payload):
                // `key:…` and `session:…` name one; after a change of a person or a tenant all of theirs are read anew.
                switch payload.split(separator: ":", maxSplits: 1).first {
                case "user": entries = entries.filter { payload != "user:\($0.value.principal.user?.lowercased ?? "")" }
                case "tenant": entries = entries.filter { payload != "tenant:\($0.value.principal.tenant)" }
                default: entries[payload] = nil
                }
            }
        }
        verified.withLock { $0.removeAll(keepingCapacity: true) }
        let credential: String? = if case .notification(_, let payload) = event { payload } else { nil }
        for watcher in watchers.withLock({ $0 }) { watcher(credential) }
    }

    private static func principal(_ rows: Rows, token: BearerToken) -> Principal {
        let decoder = JSONDecoder()
        let roles = rows.text(0, 4).flatMap { try? decoder.decode([String].self, from: Data($0.utf8)) } ?? []
        let custom = rows.text(0, 5).flatMap { try? decoder.decode([String: [Grant]].self, from: Data($0.utf8)) } ?? [:]
        let user = rows.uuid(0, 2)
        return Principal(
            tenant: TenantID(Int64(rows.int(0, 0)!)), slug: rows.text(0, 10)!, user: user, team: rows.uuid(0, 3),
            actor: token.kind == .key ? "key:\(token.id)" : "user:\(user?.lowercased ?? "")",
            permissions: Permissions(roles: roles, custom: custom), locale: rows.text(0, 11)!,
            defaults: TenantDefaults(
                country: rows.text(0, 13)!, currency: rows.text(0, 14)!, timeZone: rows.text(0, 12)!,
                customFields: CustomFields(json: rows.text(0, 16))),
            tenantRate: rows.int(0, 6)!, credentialRate: rows.int(0, 7), isSuspended: rows.text(0, 9) != "active",
            // An entry that can't be read lets nobody in.
            addresses: rows.text(0, 15).flatMap { try? decoder.decode([String].self, from: Data($0.utf8)) }?
                .compactMap(AddressRange.init))
    }
}

/// Hashes and verifies passwords on a thread of its own, one at a time: Argon2 takes tens of milliseconds and 19 MiB, by
/// intent, and must not hold up the tasks of everybody else.
package final class PasswordVerifier: Sendable {
    private let requests = BlockingQueue<@Sendable () -> Void>()
    /// At some thirty a second, the last one waits about a second.
    private static let longestQueue = 32

    package init() {
        OSThread.start { [requests] in
            while let work = requests.take(upTo: 1).first { work() }
        }
    }

    deinit { requests.close() }

    /// True when `password` is the one that `hash` was made from.
    package func verify(password: String, hash: String) async throws(SignIn.Busy) -> Bool {
        try await perform { Sodium.verify(password: password, hash: hash) } ?? false
    }

    /// See `Sodium.passwordHash`. Throws `SignIn.Busy` also when there is no memory for it.
    package func hash(password: String) async throws(SignIn.Busy) -> String {
        guard let hash = try await perform({ Sodium.passwordHash(password) }) ?? nil else { throw SignIn.Busy() }
        return hash
    }

    private func perform<Value: Sendable>(
        _ work: @escaping @Sendable () -> Value
    ) async throws(SignIn.Busy) -> Value? {
        guard requests.count < Self.longestQueue else { throw SignIn.Busy() }
        return await withCheckedContinuation { continuation in
            if !requests.push({ continuation.resume(returning: work()) }) { continuation.resume(returning: nil) }
        }
    }
}

/// Signing in with a password, and a one-time code where the person has set that up.
package struct SignIn: Sendable {
    /// More people sign in at once than passwords can be verified.
    package struct Busy: Error {}

    /// What somebody signs in with, and from where.
    package struct Attempt: Sendable {
        package var tenant: String
        package var email: String
        package var password: String
        package var code: String?
        package var recoveryCode: String?
        package var client: String?
        package var agent: String?

        package init(tenant: String, email: String, password: String) {
            self.tenant = tenant
            self.email = email
            self.password = password
        }
    }

    /// What a successful sign-in gives.
    package struct Session: Sendable {
        package let token: BearerToken
        package let expiresAt: Date
    }

    /// What came of an attempt.
    package enum Outcome: Sendable {
        case opened(Session)
        /// The password is right; a one-time code or a recovery code must come with it.
        case codeNeeded
        /// Tenant, address, password or code are wrong, or the account is locked: which, nobody is told.
        case refused
    }

    private let database: Database
    private let vault: SecretVault
    private let verifier = PasswordVerifier()
    /// Verified against when there is no such user, so that both answers take the same time.
    private static let decoy = Sodium.passwordHash("no such user") ?? ""

    package init(database: Database, vault: SecretVault) {
        self.database = database
        self.vault = vault
    }

    /// Whose the sealed secret of a person's one-time codes is, for the vault.
    package static func owner(tenant: TenantID, user: UUID) -> String { "totp/\(tenant)/\(user.lowercased)" }

    /// Opens a session of twelve hours. Wrong passwords and codes are counted, and lock the account for a while. Throws
    /// `SignIn.Busy` when too many try at once.
    package func open(_ attempt: Attempt) async throws -> Outcome {
        let rows = try await database.query(
            tenant: nil,
            Statement(
                """
                select tenant_id, id, password_hash, locked_until, status, totp_secret, totp_last_step
                from platform.find_user($1, $2)
                """, [.text(attempt.tenant), .text(attempt.email)]), readOnly: true)
        let hash = rows.isEmpty ? nil : rows.text(0, 2)
        let isRight = try await verifier.verify(password: attempt.password, hash: hash ?? Self.decoy)
        guard let hash, !hash.isEmpty, let user = rows.uuid(0, 1), let tenant = rows.int(0, 0) else { return .refused }
        if let locked = rows.time(0, 3), locked > Date() { return .refused }
        guard isRight else { return try await refuse(tenant, user, "password", attempt) }
        guard rows.text(0, 4) == "active" else { return .refused }
        var step: Int64?
        var recovery: [UInt8]?
        if let sealed = rows.bytes(0, 5) {
            if let code = attempt.code {
                step = vault.open(sealed, for: Self.owner(tenant: TenantID(Int64(tenant)), user: user)).flatMap {
                    OneTimeCode(secret: $0).step(
                        of: code, at: Int64(Date().timeIntervalSince1970), after: Int64(rows.int(0, 6)!))
                }
            } else if let code = attempt.recoveryCode {
                recovery = RecoveryCode(code)?.hash
            } else {
                return .codeNeeded
            }
            if step == nil && recovery == nil { return try await refuse(tenant, user, "code", attempt) }
        }
        let token = BearerToken.make(.session)
        let opened = try await database.query(
            tenant: nil,
            Statement(
                "select platform.open_session($1, $2, $3, $4, interval '12 hours', $5, $6, $7, $8)",
                [
                    .int(tenant), .text(token.id), .bytes(token.hash), .uuid(user), step.map(Parameter.int) ?? .null,
                    recovery.map(Parameter.bytes) ?? .null, .optional(attempt.client), .optional(attempt.agent),
                ]))
        guard let expiresAt = opened.time(0, 0) else { return try await refuse(tenant, user, "code", attempt) }
        return .opened(Session(token: token, expiresAt: expiresAt))
    }

    private func refuse(_ tenant: Int, _ user: UUID, _ reason: String, _ attempt: Attempt) async throws -> Outcome {
        _ = try await database.query(
            tenant: nil,
            Statement(
                "select platform.refuse_sign_in($1, $2, $3, $4)",
                [.int(tenant), .uuid(user), .text(reason), .optional(attempt.client)]))
        return .refused
    }

    /// Ends the session of `token`.
    package func close(_ token: BearerToken, client: String? = nil) async throws {
        _ = try await database.query(
            tenant: nil, Statement("select platform.close_session($1, $2)", [.text(token.id), .optional(client)]))
    }
}

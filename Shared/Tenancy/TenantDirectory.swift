import Database
import Foundation

/// The operator's view of tenants, users and keys. Needs the owner's role: services can't use it.
package struct TenantDirectory: Sendable {
    /// A tenant as operators see it.
    package struct Tenant: Sendable, Codable {
        package let id: Int64
        package let slug: String
        package let name: String
        package let plan: String
        package let status: String
        package let locale: String
        package let timeZone: String
        package let country: String
        package let currency: String
        /// `pooled`, or `dedicated`: with partitions of its own.
        package let placement: String
        /// When a closing tenant may be erased.
        package let eraseAfter: String?
        package let createdAt: String
    }

    /// What a new tenant is made of.
    package struct NewTenant: Sendable {
        package var slug: String
        package var name: String
        package var locale = "en"
        package var timeZone = "UTC"
        package var country = "US"
        package var currency = "USD"
        package var plan = "standard"
        package var requestsPerSecond = 1000

        package init(slug: String, name: String) {
            self.slug = slug
            self.name = name
        }
    }

    /// What is changed of a tenant; what is nil stays as it is.
    package struct Change: Sendable {
        package var plan: String?
        /// Its share of running time in every queue that says nothing else; 1 is the usual.
        package var weight: Double?
        package var requestsPerSecond: Int?

        package init(plan: String? = nil, weight: Double? = nil, requestsPerSecond: Int? = nil) {
            self.plan = plan
            self.weight = weight
            self.requestsPerSecond = requestsPerSecond
        }
    }

    private let database: Database

    package init(owner database: Database) { self.database = database }

    /// Creates a tenant in one transaction. Throws `.uniqueViolation` for a slug that is taken and `.checkViolation`
    /// for one that is malformed.
    package func create(_ tenant: NewTenant) async throws -> TenantID {
        guard TimeZone(identifier: tenant.timeZone) != nil else {
            throw DatabaseError(code: .invalidValue, message: "unknown time zone \(tenant.timeZone)")
        }
        let rows = try await owning { transaction in
            let rows = try await transaction.query(
                Statement(
                    """
                    insert into platform.tenant
                        (slug, name, locale, time_zone, default_country, default_currency, requests_per_second, plan)
                    values ($1, $2, $3, $4, $5, $6, $7, $8) returning tenant_id
                    """,
                    [
                        .text(tenant.slug), .text(tenant.name), .text(tenant.locale), .text(tenant.timeZone),
                        .text(tenant.country), .text(tenant.currency), .int(tenant.requestsPerSecond),
                        .text(tenant.plan),
                    ]))
            let id = TenantID(Int64(rows.int(0, 0)!))
            _ = try await transaction.query(Self.audit(id, "tenant.created", "tenant:\(tenant.slug)"))
            return rows
        }
        return TenantID(Int64(rows.int(0, 0)!))
    }

    /// All tenants, or the one with `slug`.
    package func list(slug: String? = nil) async throws -> [Tenant] {
        let rows = try await owning { transaction in
            try await transaction.query(
                Statement(
                    """
                    select tenant_id, slug, name, plan, status, locale, time_zone, default_country, default_currency,
                        placement, to_char(erase_after, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                        to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                    from platform.tenant where $1::text is null or slug = $1 order by slug
                    """, [.optional(slug)]))
        }
        return (0..<rows.count).map { row in
            Tenant(
                id: Int64(rows.int(row, 0)!), slug: rows.text(row, 1)!, name: rows.text(row, 2)!,
                plan: rows.text(row, 3)!, status: rows.text(row, 4)!, locale: rows.text(row, 5)!,
                timeZone: rows.text(row, 6)!, country: rows.text(row, 7)!, currency: rows.text(row, 8)!,
                placement: rows.text(row, 9)!, eraseAfter: rows.text(row, 10), createdAt: rows.text(row, 11)!)
        }
    }

    /// Adds a person who can sign in with `password` (at least 10 characters) under `roles`.
    package func createUser(
        tenant: TenantID, email: String, name: String, password: String, roles: [String], team: UUID? = nil
    ) async throws -> UUID {
        guard password.count >= 10, let hash = Sodium.passwordHash(password) else {
            throw DatabaseError(code: .invalidValue, message: "a password has at least 10 characters")
        }
        let id = UUID.v7()
        _ = try await owning { transaction in
            transaction.later(Self.audit(tenant, "user.created", "user:\(id.lowercased)", roles: roles))
            return try await transaction.query(
                Statement(
                    """
                    insert into platform.app_user (tenant_id, id, email, name, password_hash, roles, team_id)
                    values ($1, $2, lower($3), $4, $5, $6::text[], $7)
                    """,
                    [
                        tenant.parameter, .uuid(id), .text(email), .text(name), .text(hash), .array(roles),
                        team.map(Parameter.uuid) ?? .null,
                    ]))
        }
        return id
    }

    /// Makes an API key; the returned token is the only time its secret can be seen.
    package func createKey(
        tenant: TenantID, name: String, roles: [String], user: UUID? = nil, expiresAt: Date? = nil
    ) async throws -> BearerToken {
        let token = BearerToken.make(.key)
        _ = try await owning { transaction in
            transaction.later(Self.audit(tenant, "key.created", "key:\(token.id)", roles: roles))
            return try await transaction.query(
                Statement(
                    """
                    insert into platform.api_key (tenant_id, id, secret_hash, name, roles, user_id, expires_at)
                    values ($1, $2, $3, $4, $5::text[], $6, $7)
                    """,
                    [
                        tenant.parameter, .text(token.id), .bytes(token.hash), .text(name), .array(roles),
                        user.map(Parameter.uuid) ?? .null, expiresAt.map(Parameter.time) ?? .null,
                    ]))
        }
        return token
    }

    /// Revokes a key; services forget it at once. False when no live key has this id.
    package func revokeKey(_ id: String) async throws -> Bool {
        let rows = try await owning { transaction in
            try await transaction.batch([
                Statement(
                    "update platform.api_key set revoked_at = now() where id = $1 and revoked_at is null", [.text(id)]),
                Statement("select pg_notify('guanxi_credentials', 'key:' || $1)", [.text(id)]),
                Statement(
                    """
                    select platform.write_audit(tenant_id, 'operator', 'key.revoked', 'key:' || id, null, null, null)
                    from platform.api_key where id = $1 and revoked_at = now()
                    """, [.text(id)]),
            ])
        }
        return rows[0].affected == 1
    }

    /// Sets a tenant's status, and forgets when it was to be erased. Requests are told at once, jobs within a second;
    /// false when there is no such tenant, or its erasure has begun.
    package func setStatus(_ status: String, slug: String) async throws -> Bool {
        let rows = try await owning { transaction in
            try await transaction.batch([
                Statement(
                    """
                    update platform.tenant t set status = $2, erase_after = null where slug = $1
                    and not exists (select 1 from platform.tenant_erasure e where e.tenant_id = t.tenant_id)
                    """, [.text(slug), .text(status)]),
                Statement(
                    """
                    select platform.write_audit(tenant_id, 'operator', 'tenant.' || status, 'tenant:' || slug, null,
                        null, null), pg_notify('guanxi_credentials', 'tenant:' || tenant_id)
                    from platform.tenant where slug = $1 and status = $2
                    """, [.text(slug), .text(status)]),
            ])
        }
        return rows[0].affected == 1
    }

    /// Changes a tenant at once, for requests too: whoever keeps its credentials looks again. Throws `.checkViolation`
    /// for a value that can't be taken.
    package func change(slug: String, _ change: Change) async throws {
        _ = try await owning { transaction in
            try await transaction.batch([
                Statement(
                    """
                    update platform.tenant set plan = coalesce($2, plan), weight = coalesce($3::real, weight),
                        requests_per_second = coalesce($4::int, requests_per_second)
                    where slug = $1
                    """,
                    [
                        .text(slug), .optional(change.plan), change.weight.map(Parameter.double) ?? .null,
                        change.requestsPerSecond.map(Parameter.int) ?? .null,
                    ]),
                Statement(
                    """
                    select platform.write_audit(tenant_id, 'operator', 'tenant.changed', 'tenant:' || slug,
                        jsonb_build_object('plan', plan, 'weight', weight, 'requests_per_second', requests_per_second),
                        null, null), pg_notify('guanxi_credentials', 'tenant:' || tenant_id)
                    from platform.tenant where slug = $1
                    """, [.text(slug)]),
            ])
        }
    }

    private static func audit(
        _ tenant: TenantID, _ action: String, _ subject: String, roles: [String] = []
    ) -> Statement {
        Statement(
            """
            select platform.write_audit($1, 'operator', $2, $3, jsonb_build_object('roles', $4::text[]), null, null)
            """, [tenant.parameter, .text(action), .text(subject), .array(roles)])
    }

    /// Row security binds the owner too; the directory works as the role that may see all tenants.
    private func owning<Result: Sendable>(
        _ body: @escaping @Sendable (Transaction) async throws -> Result
    ) async throws -> Result {
        try await database.withoutTenant { transaction in
            _ = try await transaction.query(Statement("set local role guanxi_across"))
            return try await body(transaction)
        }
    }
}

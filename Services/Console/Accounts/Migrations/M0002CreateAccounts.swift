import Database

enum M0002CreateAccounts {
    /// The accounts themselves lie in `platform`, where signing in finds them. Here the service gets its way to them:
    /// its tenant's rows alone, by row security, and no hash of a key or a session.
    static let migration = Migration(
        "M0002CreateAccounts",
        """
        grant select, update (name, locale, time_zone, default_country, default_currency) on platform.tenant
            to guanxi_accounts;
        grant select, insert, update, delete on platform.app_user, platform.role, platform.totp to guanxi_accounts;
        grant select (tenant_id, id, name, roles, user_id, requests_per_second, addresses, expires_at, revoked_at,
            created_at), insert, update (revoked_at) on platform.api_key to guanxi_accounts;
        grant select (tenant_id, id, user_id, expires_at, created_at, address, agent), delete on platform.session
            to guanxi_accounts;
        grant select (tenant_id, id, kind, user_id, created_by, created_at, expires_at), insert, delete
            on platform.user_token to guanxi_accounts;
        grant select (tenant_id, user_id, used_at), insert, delete on platform.recovery_code to guanxi_accounts;
        grant select on platform.audit_entry, platform.audit_head to guanxi_accounts;
        grant execute on function platform.append_audit(text, text, text, jsonb, text, text),
            platform.audit_digest(bytea, platform.audit_entry), platform.find_token(text, text),
            platform.use_token(text, text, bytea, text, text, text) to guanxi_accounts;
        """)
}

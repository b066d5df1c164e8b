import Database

extension PlatformSchema {
    /// Invitations and resets, second factors, the audit trail, and signing in with all of them.
    ///
    /// The service `accounts` gets its privileges on these tables in its own migrations; every other service reaches
    /// them through the functions here and no other way.
    package static let accounts = Migration(
        "M0004CreateAccounts",
        #"""
        alter table platform.app_user drop constraint app_user_status_check;
        -- Who is invited has no password yet, and so can't sign in.
        alter table platform.app_user add constraint app_user_status_check
            check (status in ('invited', 'active', 'disabled'));
        alter table platform.app_user add column last_sign_in_at timestamptz;
        alter table platform.session add column address text;
        alter table platform.session add column agent text;
        create index on platform.session (tenant_id, user_id, created_at);
        create index on platform.api_key (tenant_id, created_at, id);

        -- What lets somebody set a password once: an invitation, or a reset. A newer one takes the place of the older.
        create table platform.user_token (
            tenant_id bigint not null references platform.tenant on delete cascade,
            id text not null,
            kind text not null check (kind in ('invitation', 'reset')),
            user_id uuid not null,
            secret_hash bytea not null,
            created_by text not null,
            created_at timestamptz not null default now(),
            expires_at timestamptz not null,
            primary key (tenant_id, id),
            unique (tenant_id, user_id, kind),
            foreign key (tenant_id, user_id) references platform.app_user on delete cascade
        );
        create unique index on platform.user_token (id);
        comment on index platform.user_token_id_idx is 'Tokens are looked up before the tenant is known.';
        select platform.secure_table('platform.user_token', '');

        -- The secret is sealed with a key that the database does not have. Steps up to last_step are used up.
        create table platform.totp (
            tenant_id bigint not null references platform.tenant on delete cascade,
            user_id uuid not null,
            secret bytea not null,
            last_step bigint not null default -1,
            created_at timestamptz not null default now(),
            confirmed_at timestamptz,
            primary key (tenant_id, user_id),
            foreign key (tenant_id, user_id) references platform.app_user on delete cascade
        );
        select platform.secure_table('platform.totp', '');

        create table platform.recovery_code (
            tenant_id bigint not null references platform.tenant on delete cascade,
            user_id uuid not null,
            hash bytea not null,
            used_at timestamptz,
            primary key (tenant_id, user_id, hash),
            foreign key (tenant_id, user_id) references platform.app_user on delete cascade
        );
        select platform.secure_table('platform.recovery_code', '');

        -- The audit trail: each entry's digest covers the one before it, and the head says which is the last. Nothing
        -- was ever written to the table that stood here before.
        drop table platform.audit_entry;
        create table platform.audit_entry (
            tenant_id bigint not null,
            sequence bigint not null,
            at timestamptz not null,
            actor text not null,
            action text not null,
            subject text not null,
            request_id text,
            address text,
            detail jsonb not null,
            digest bytea not null,
            primary key (tenant_id, sequence)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('platform.audit_entry');
        create index on platform.audit_entry (tenant_id, at, sequence);
        create index on platform.audit_entry (tenant_id, actor, sequence);
        create index on platform.audit_entry (tenant_id, action, sequence);
        create index on platform.audit_entry (tenant_id, subject, sequence);

        create table platform.audit_head (
            tenant_id bigint primary key references platform.tenant on delete cascade,
            sequence bigint not null,
            digest bytea not null
        );
        select platform.secure_table('platform.audit_head', '');

        grant select, insert, update, delete on platform.user_token, platform.totp, platform.recovery_code
            to guanxi_across;
        -- Entries are added and read, never changed.
        grant select, insert on platform.audit_entry to guanxi_across;
        grant select, insert, update on platform.audit_head to guanxi_across;

        -- The tenant's number is no part of it: the trail of a tenant that moves to another installation holds there.
        create function platform.audit_digest(previous bytea, e platform.audit_entry) returns bytea
        language sql stable set search_path = pg_catalog, pg_temp as $body$
            select sha256(coalesce(previous, ''::bytea) || convert_to(jsonb_build_array(e.sequence,
                extract(epoch from e.at), e.actor, e.action, e.subject, e.request_id, e.address, e.detail)::text, 'UTF8'))
        $body$;

        -- Adds an entry. The head's row is the lock: a tenant's entries come one after another.
        create function platform.write_audit(tenant bigint, by_actor text, what text, about text, details jsonb,
            request text, client text) returns void
        language plpgsql set search_path = pg_catalog, pg_temp as $body$
        declare
            head platform.audit_head;
            entry platform.audit_entry;
        begin
            insert into platform.audit_head (tenant_id, sequence, digest) values (tenant, 0, ''::bytea)
            on conflict do nothing;
            select * into head from platform.audit_head h where h.tenant_id = tenant for update;
            entry.tenant_id := tenant;
            entry.sequence := head.sequence + 1;
            entry.at := clock_timestamp();
            entry.actor := by_actor;
            entry.action := what;
            entry.subject := about;
            entry.request_id := request;
            entry.address := client;
            entry.detail := coalesce(details, '{}');
            entry.digest := platform.audit_digest(head.digest, entry);
            insert into platform.audit_entry select entry.*;
            update platform.audit_head h set sequence = entry.sequence, digest = entry.digest
            where h.tenant_id = tenant;
        end $body$;

        -- The same for the tenant set for this transaction.
        create function platform.append_audit(by_actor text, what text, about text, details jsonb, request text,
            client text) returns void
        language sql volatile security definer set search_path = pg_catalog, pg_temp as $body$
            select platform.write_audit(nullif(current_setting('app.tenant_id', true), '')::bigint, by_actor, what,
                about, details, request, client)
        $body$;

        drop function platform.find_user(text, text);
        create function platform.find_user(wanted_slug text, wanted_email text)
        returns table (tenant_id bigint, id uuid, password_hash text, locked_until timestamptz, status text,
            totp_secret bytea, totp_last_step bigint)
        language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
            select u.tenant_id, u.id, u.password_hash, u.locked_until, t.status, o.secret, o.last_step
            from platform.tenant t join platform.app_user u using (tenant_id)
            left join platform.totp o
                on o.tenant_id = u.tenant_id and o.user_id = u.id and o.confirmed_at is not null
            where t.slug = wanted_slug and u.email = lower(wanted_email) and u.status = 'active'
        $body$;

        -- Counts a wrong password or code: from the fifth on, each doubles the wait, up to an hour.
        drop function platform.note_sign_in(bigint, uuid, boolean);
        create function platform.refuse_sign_in(tenant bigint, wanted uuid, reason text, client text) returns void
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            refused platform.app_user;
        begin
            update platform.app_user u set
                failed_attempts = u.failed_attempts + 1,
                locked_until = case when u.failed_attempts >= 4
                    then now() + least(interval '1 hour', interval '1 second' * power(2, least(u.failed_attempts, 12)))
                    end
            where u.tenant_id = tenant and u.id = wanted returning u.* into refused;
            if not found then return; end if;
            perform platform.write_audit(tenant, 'anonymous', 'session.refused', 'user:' || wanted,
                jsonb_build_object('reason', reason, 'failed_attempts', refused.failed_attempts), null, client);
            if refused.locked_until is not null then
                perform platform.write_audit(tenant, 'anonymous', 'user.locked', 'user:' || wanted,
                    jsonb_build_object('until', refused.locked_until), null, client);
            end if;
        end $body$;

        -- Opens a session for whoever has proved their password; null when that is not enough. What was proved besides
        -- is used up here: a step of the one-time code, or a recovery code.
        drop function platform.open_session(bigint, text, bytea, uuid, interval);
        create function platform.open_session(tenant bigint, session_id text, hash bytea, wanted_user uuid,
            lifetime interval, step bigint, recovery bytea, client text, browser text) returns timestamptz
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            factor text := 'none';
            until timestamptz := now() + lifetime;
        begin
            perform 1 from platform.app_user u
            where u.tenant_id = tenant and u.id = wanted_user and u.status = 'active'
            and (u.locked_until is null or u.locked_until <= now()) for update;
            if not found then return null; end if;
            if exists (select 1 from platform.totp o
                where o.tenant_id = tenant and o.user_id = wanted_user and o.confirmed_at is not null)
            then
                factor := case when step is not null then 'totp' else 'recovery_code' end;
                if step is not null then
                    update platform.totp o set last_step = step
                    where o.tenant_id = tenant and o.user_id = wanted_user and o.last_step < step;
                else
                    update platform.recovery_code c set used_at = now()
                    where c.tenant_id = tenant and c.user_id = wanted_user and c.hash = recovery and c.used_at is null;
                end if;
                if not found then return null; end if;
            end if;
            update platform.app_user u set failed_attempts = 0, locked_until = null, last_sign_in_at = now()
            where u.tenant_id = tenant and u.id = wanted_user;
            delete from platform.session s
            where s.tenant_id = tenant and s.user_id = wanted_user and s.expires_at < now();
            insert into platform.session (tenant_id, id, secret_hash, user_id, expires_at, address, agent)
            values (tenant, session_id, hash, wanted_user, until, client, browser);
            perform platform.write_audit(tenant, 'user:' || wanted_user, 'session.opened', 'session:' || session_id,
                jsonb_build_object('second_factor', factor), null, client);
            return until;
        end $body$;

        drop function platform.close_session(text);
        create function platform.close_session(session_id text, client text) returns void
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            closed platform.session;
        begin
            delete from platform.session s where s.id = session_id returning s.* into closed;
            if not found then return; end if;
            perform pg_notify('guanxi_credentials', 'session:' || session_id);
            perform platform.write_audit(closed.tenant_id, 'user:' || closed.user_id, 'session.closed',
                'session:' || session_id, null, null, client);
        end $body$;

        -- Whose a living token is. Its secret is compared by the caller before anything costly is done, and again when
        -- the token is used.
        create function platform.find_token(wanted_kind text, wanted text)
        returns table (secret_hash bytea, tenant_id bigint)
        language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
            select k.secret_hash, k.tenant_id
            from platform.user_token k join platform.tenant t using (tenant_id)
            where k.kind = wanted_kind and k.id = wanted and k.expires_at > now() and t.status = 'active'
        $body$;

        -- Uses a token up: the invited user becomes active, a forgotten password is replaced and all sessions end. No
        -- row when the token is not there any more.
        create function platform.use_token(wanted_kind text, wanted text, hash bytea, new_hash text, new_name text,
            client text) returns table (slug text, user_id uuid, email text)
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        #variable_conflict use_column
        declare
            used platform.user_token;
        begin
            delete from platform.user_token k
            where k.kind = wanted_kind and k.id = wanted and k.secret_hash = hash and k.expires_at > now()
            returning k.* into used;
            if not found then return; end if;
            update platform.app_user u set
                password_hash = new_hash, name = coalesce(new_name, u.name), status = 'active', failed_attempts = 0,
                locked_until = null
            where u.tenant_id = used.tenant_id and u.id = used.user_id
            and u.status = case wanted_kind when 'invitation' then 'invited' else 'active' end;
            if not found then return; end if;
            delete from platform.session s where s.tenant_id = used.tenant_id and s.user_id = used.user_id;
            perform pg_notify('guanxi_credentials', 'user:' || used.user_id);
            perform platform.write_audit(used.tenant_id, 'user:' || used.user_id,
                case wanted_kind when 'invitation' then 'invitation.accepted' else 'password.reset' end,
                'user:' || used.user_id, null, null, client);
            return query select t.slug, u.id, u.email from platform.app_user u join platform.tenant t using (tenant_id)
                where u.tenant_id = used.tenant_id and u.id = used.user_id;
        end $body$;

        alter function platform.append_audit(text, text, text, jsonb, text, text) owner to guanxi_across;
        alter function platform.find_user(text, text) owner to guanxi_across;
        alter function platform.refuse_sign_in(bigint, uuid, text, text) owner to guanxi_across;
        alter function platform.open_session(bigint, text, bytea, uuid, interval, bigint, bytea, text, text)
            owner to guanxi_across;
        alter function platform.close_session(text, text) owner to guanxi_across;
        alter function platform.find_token(text, text) owner to guanxi_across;
        alter function platform.use_token(text, text, bytea, text, text, text) owner to guanxi_across;
        revoke all on all functions in schema platform from public;
        grant execute on function platform.audit_digest(bytea, platform.audit_entry),
            platform.write_audit(bigint, text, text, text, jsonb, text, text) to guanxi_across;
        grant execute on function platform.find_user(text, text),
            platform.refuse_sign_in(bigint, uuid, text, text),
            platform.open_session(bigint, text, bytea, uuid, interval, bigint, bytea, text, text),
            platform.close_session(text, text) to guanxi_service;
        """#)
}

import Database
import Foundation

/// The schema that all tenants and services share: who exists, who may sign in, and how tables are kept apart.
package enum PlatformSchema {
    /// What only a superuser can do, once per server and database: roles, privileges on the database, extensions.
    ///
    /// Safe to run again. `services` are the schemas' names; each gets the role `guanxi_<name>`.
    package static func bootstrap(services: [String]) -> String {
        let roles = services.map { service in
            """
            if not exists (select 1 from pg_roles where rolname = 'guanxi_\(service)') then
                create role guanxi_\(service) login;
            end if;
            grant guanxi_service to guanxi_\(service);
            """
        }
        return """
            do $$ begin
                perform pg_advisory_xact_lock(hashtextextended('guanxi.bootstrap', 0));
                if not exists (select 1 from pg_roles where rolname = 'guanxi_owner') then
                    create role guanxi_owner login;
                end if;
                -- Owns the few functions that must see several tenants; nobody signs in as it.
                if not exists (select 1 from pg_roles where rolname = 'guanxi_across') then
                    create role guanxi_across nologin bypassrls;
                end if;
                if not exists (select 1 from pg_roles where rolname = 'guanxi_service') then
                    create role guanxi_service nologin;
                end if;
                grant guanxi_across to guanxi_owner;
                -- For `guanxi doctor`: how long others' transactions last.
                grant pg_read_all_stats to guanxi_owner;
                -- A tenant's rows go from one partition to another as they are: no trigger may fire, no reference be
                -- looked up again (deploy/decisions/0014).
                grant set on parameter session_replication_role to guanxi_owner;
                \(roles.joined(separator: "\n"))
                execute format('revoke all on database %I from public', current_database());
                execute format('grant connect, create, temporary on database %I to guanxi_owner', current_database());
                execute format('grant connect on database %I to guanxi_service', current_database());
            end $$;
            revoke create on schema public from public;
            create extension if not exists pg_trgm with schema public;
            """
    }

    /// The platform's own history.
    package static let migrations: [Migration] = [
        Migration(
            "M0001CreatePlatform",
            #"""
            create schema platform;
            grant usage on schema platform to guanxi_service, guanxi_across;
            grant create on schema platform to guanxi_across;

            -- The tenant set for this transaction; null, and so equal to nothing, when there is none.
            create function platform.current_tenant() returns bigint
            language sql stable parallel safe set search_path = pg_catalog as $body$
                select nullif(current_setting('app.tenant_id', true), '')::bigint
            $body$;

            -- Row security for a table with tenant_id, and privileges for its schema's service.
            create function platform.secure_table(target text, privileges text) returns void
            language plpgsql set search_path = pg_catalog as $body$
            begin
                execute format('alter table %s enable row level security', target);
                execute format('alter table %s force row level security', target);
                execute format(
                    'create policy tenant_isolation on %s using (tenant_id =
                        nullif(current_setting(''app.tenant_id'', true), '''')::bigint)', target);
                if split_part(target, '.', 1) <> 'platform' then
                    execute format('grant %s on %s to guanxi_%s', privileges, target, split_part(target, '.', 1));
                end if;
            end $body$;

            -- Gives a table declared PARTITION BY LIST (tenant_id) its default partition: the pool, hashed by tenant
            -- into sixteen. A large tenant can get partitions of its own beside it.
            create function platform.partition_by_tenant(target text,
                privileges text default 'select, insert, update, delete') returns void
            language plpgsql set search_path = pg_catalog as $body$
            begin
                if exists (select 1 from pg_attribute where attrelid = target::regclass and attname = 'custom') then
                    perform platform.index_custom_values(target);
                end if;
                -- Whose rows the pool holds: everybody's, until a tenant has partitions of its own. It is defined anew
                -- by the transaction that takes such a tenant's rows out, and so spares the pool from being read through
                -- to prove the constraint. No search path is set on it: it must be inlined to prove anything.
                execute format('create function %s_pool_holds(tenant_id bigint) returns boolean
                    language sql immutable parallel safe as ''select true''', target);
                execute format('grant execute on function %s_pool_holds(bigint) to guanxi_service, guanxi_across',
                    target);
                execute format('create table %s_pool partition of %s
                    (constraint holds check (%s_pool_holds(tenant_id))) default partition by hash (tenant_id)',
                    target, target, target);
                for remainder in 0..15 loop
                    execute format(
                        'create table %s_pool_%s partition of %s_pool for values with (modulus 16, remainder %s)',
                        target, remainder, target, remainder);
                end loop;
                perform platform.secure_table(target, privileges);
            end $body$;

            -- Keeps the index of custom fields in step with a table of records, whoever writes it.
            create function platform.index_custom_values(target text) returns void
            language plpgsql set search_path = pg_catalog as $body$
            declare
                service text := split_part(target, '.', 1);
                record_type text := split_part(target, '.', 2);
            begin
                execute format('create trigger custom_added after insert on %s for each row
                    when (new.custom is not null) execute function %I.index_custom(%L)', target, service, record_type);
                execute format('create trigger custom_changed after update of custom on %s for each row
                    when (old.custom is distinct from new.custom) execute function %I.index_custom(%L)',
                    target, service, record_type);
            end $body$;

            -- Gives a table of records the words that searches find them by.
            create function platform.make_searchable(target text) returns void
            language plpgsql set search_path = pg_catalog as $body$
            begin
                execute format('alter table %s add column words tsvector', target);
                -- New entries wait in a short list, so that they go in sorted; a search reads the list too.
                execute format(
                    'create index on %s using gin (words) with (gin_pending_list_limit = 256)
                    where deleted_at is null', target);
                execute format('grant select on %s to guanxi_across', target);
            end $body$;

            -- Refuses a transaction that refers to a record which is not there: `name` has the form of a constraint's.
            create function platform.require_record(is_there boolean, name text) returns void
            language plpgsql set search_path = pg_catalog as $body$
            begin
                if is_there then return; end if;
                raise exception 'no such record' using errcode = '23503', constraint = name;
            end $body$;
            create table platform.tenant (
                tenant_id bigint generated always as identity primary key,
                slug text not null unique check (slug ~ '^[a-z][a-z0-9-]{1,62}$'),
                name text not null check (length(name) between 1 and 200),
                plan text not null default 'standard' check (plan ~ '^[a-z][a-z0-9-]{0,31}$'),
                status text not null default 'active' check (status in ('active', 'suspended', 'closing')),
                locale text not null default 'en' check (locale in ('en', 'zh-CN')),
                time_zone text not null default 'UTC',
                default_country text not null default 'US' check (default_country ~ '^[A-Z]{2}$'),
                default_currency text not null default 'USD' check (default_currency ~ '^[A-Z]{3}$'),
                placement text not null default 'pooled' check (placement in ('pooled', 'dedicated')),
                weight real not null default 1 check (weight > 0),
                requests_per_second int not null default 1000 check (requests_per_second > 0),
                erase_after timestamptz,
                created_at timestamptz not null default now()
            );
            select platform.secure_table('platform.tenant', '');

            -- What is left of a tenant that was erased: how many rows went from which table.
            create table platform.tenant_erasure (
                tenant_id bigint primary key,
                slug_digest bytea not null,
                began_at timestamptz not null default now(),
                finished_at timestamptz,
                counts jsonb not null default '{}'
            );
            select platform.secure_table('platform.tenant_erasure', '');

            create table platform.app_user (
                tenant_id bigint not null references platform.tenant on delete cascade,
                id uuid not null,
                email text not null check (email = lower(email)),
                name text not null,
                password_hash text,
                roles text[] not null,
                team_id uuid,
                status text not null default 'active' check (status in ('active', 'disabled')),
                failed_attempts int not null default 0,
                locked_until timestamptz,
                created_at timestamptz not null default now(),
                primary key (tenant_id, id),
                unique (tenant_id, email)
            );
            select platform.secure_table('platform.app_user', '');

            create table platform.role (
                tenant_id bigint not null references platform.tenant on delete cascade,
                name text not null check (name ~ '^[a-z][a-z0-9_-]{1,62}$'),
                grants jsonb not null,
                primary key (tenant_id, name)
            );
            select platform.secure_table('platform.role', '');

            create table platform.api_key (
                tenant_id bigint not null references platform.tenant on delete cascade,
                id text not null,
                secret_hash bytea not null,
                name text not null,
                roles text[] not null,
                user_id uuid,
                requests_per_second int,
                addresses text[],
                expires_at timestamptz,
                revoked_at timestamptz,
                created_at timestamptz not null default now(),
                primary key (tenant_id, id)
            );
            create unique index on platform.api_key (id);
            comment on index platform.api_key_id_idx is 'Keys are looked up before the tenant is known.';
            select platform.secure_table('platform.api_key', '');

            create table platform.session (
                tenant_id bigint not null references platform.tenant on delete cascade,
                id text not null,
                secret_hash bytea not null,
                user_id uuid not null,
                expires_at timestamptz not null,
                created_at timestamptz not null default now(),
                primary key (tenant_id, id),
                foreign key (tenant_id, user_id) references platform.app_user on delete cascade
            );
            create unique index on platform.session (id);
            select platform.secure_table('platform.session', '');

            create table platform.audit_entry (
                tenant_id bigint not null references platform.tenant on delete cascade,
                id uuid not null,
                at timestamptz not null default now(),
                actor text not null,
                action text not null,
                subject text not null,
                detail jsonb,
                primary key (tenant_id, id)
            );
            select platform.secure_table('platform.audit_entry', '');

            grant select, insert, update, delete on all tables in schema platform to guanxi_across;

            \#(customFields)
            """#),
        Migration(
            "M0003CreateSignIn",
            #"""
            -- Everything a service needs to know of the bearer of a key or a session, and the hash to check it against.
            create type platform.credential as (
                tenant_id bigint, secret_hash bytea, user_id uuid, user_name text, team_id uuid, roles text[],
                grants jsonb, requests_per_second int, key_requests_per_second int, addresses text[],
                expires_at timestamptz, status text, slug text, locale text, time_zone text, default_country text,
                default_currency text, custom_fields jsonb);

            create function platform.find_credential(kind text, wanted text) returns setof platform.credential
            language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
                select t.tenant_id, c.secret_hash, c.user_id, u.name, u.team_id, coalesce(c.roles, u.roles),
                    (select jsonb_object_agg(r.name, r.grants) from platform.role r
                        where r.tenant_id = t.tenant_id and r.name = any (coalesce(c.roles, u.roles))),
                    t.requests_per_second, c.requests_per_second, c.addresses, c.expires_at, t.status, t.slug,
                    t.locale, t.time_zone, t.default_country, t.default_currency,
                    platform.custom_fields(t.tenant_id)
                from (
                    select k.tenant_id, k.secret_hash, k.user_id, k.roles, k.requests_per_second, k.addresses,
                        k.expires_at
                    from platform.api_key k
                    where kind = 'key' and k.id = wanted and k.revoked_at is null
                    union all
                    select s.tenant_id, s.secret_hash, s.user_id, null, null, null, s.expires_at
                    from platform.session s
                    where kind = 'session' and s.id = wanted
                ) c
                join platform.tenant t using (tenant_id)
                left join platform.app_user u on u.tenant_id = c.tenant_id and u.id = c.user_id
                where (c.expires_at is null or c.expires_at > now()) and (c.user_id is null or u.status = 'active')
            $body$;

            create function platform.find_user(wanted_slug text, wanted_email text)
            returns table (tenant_id bigint, id uuid, password_hash text, locked_until timestamptz, status text)
            language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
                select u.tenant_id, u.id, u.password_hash, u.locked_until, t.status
                from platform.tenant t join platform.app_user u using (tenant_id)
                where t.slug = wanted_slug and u.email = lower(wanted_email) and u.status = 'active'
            $body$;

            -- After a wrong password: from the fifth on, each doubles the wait, up to an hour.
            create function platform.note_sign_in(tenant bigint, wanted uuid, succeeded boolean) returns void
            language sql volatile security definer set search_path = pg_catalog, pg_temp as $body$
                update platform.app_user set
                    failed_attempts = case when succeeded then 0 else failed_attempts + 1 end,
                    locked_until = case when not succeeded and failed_attempts >= 4
                        then now() + least(interval '1 hour', interval '1 second' * power(2, least(failed_attempts, 12)))
                        end
                where tenant_id = tenant and id = wanted
            $body$;

            create function platform.open_session(tenant bigint, session_id text, hash bytea, wanted_user uuid,
                lifetime interval) returns timestamptz
            language sql volatile security definer set search_path = pg_catalog, pg_temp as $body$
                insert into platform.session (tenant_id, id, secret_hash, user_id, expires_at)
                values (tenant, session_id, hash, wanted_user, now() + lifetime)
                returning expires_at
            $body$;

            create function platform.close_session(session_id text) returns void
            language sql volatile security definer set search_path = pg_catalog, pg_temp as $body$
                delete from platform.session where id = session_id;
                select pg_notify('guanxi_credentials', 'session:' || session_id);
            $body$;

            create function platform.active_tenants()
            returns table (id bigint, slug text, time_zone text, locale text, default_country text,
                default_currency text)
            language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
                select t.tenant_id, t.slug, t.time_zone, t.locale, t.default_country, t.default_currency
                from platform.tenant t where t.status = 'active' order by t.tenant_id
            $body$;

            -- Whose jobs never run again.
            create function platform.erased_tenants() returns setof bigint
            language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
                select e.tenant_id from platform.tenant_erasure e where e.began_at > now() - interval '90 days'
            $body$;

            -- What workers need to know of the tenant set for this transaction.
            create function platform.tenant_settings()
            returns table (slug text, time_zone text, locale text, default_country text, default_currency text,
                custom_fields jsonb)
            language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
                select t.slug, t.time_zone, t.locale, t.default_country, t.default_currency,
                    platform.custom_fields(t.tenant_id)
                from platform.tenant t where t.tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint
            $body$;

            alter function platform.find_credential(text, text) owner to guanxi_across;
            alter function platform.find_user(text, text) owner to guanxi_across;
            alter function platform.note_sign_in(bigint, uuid, boolean) owner to guanxi_across;
            alter function platform.open_session(bigint, text, bytea, uuid, interval) owner to guanxi_across;
            alter function platform.close_session(text) owner to guanxi_across;
            alter function platform.active_tenants() owner to guanxi_across;
            alter function platform.erased_tenants() owner to guanxi_across;
            alter function platform.tenant_settings() owner to guanxi_across;
            revoke all on all functions in schema platform from public;
            grant execute on function platform.require_record(boolean, text) to guanxi_service;
            grant execute on function platform.find_credential(text, text), platform.find_user(text, text),
                platform.note_sign_in(bigint, uuid, boolean),
                platform.open_session(bigint, text, bytea, uuid, interval), platform.close_session(text),
                platform.active_tenants(), platform.erased_tenants(), platform.tenant_settings(),
                platform.current_tenant(),
                platform.note_custom_field_indexed(text, text) to guanxi_service;
            grant execute on function platform.custom_fields(bigint) to guanxi_across;
            """#),
    ]
}

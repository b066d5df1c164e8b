import Database

enum M0003CreateMatching {
    static let migration = Migration(
        "M0003CreateMatching",
        """
        -- Under which keys a contact can be found by whoever looks for its likes.
        create table contacts.match_keys (
            tenant_id bigint not null,
            contact_id uuid not null,
            keys bigint[] not null,
            primary key (tenant_id, contact_id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.match_keys');
        -- New entries wait in a short list, so that they go in sorted; a look-up reads the list too.
        create index on contacts.match_keys using gin (keys) with (gin_pending_list_limit = 256);

        create table contacts.match_state (
            tenant_id bigint not null,
            model jsonb,
            people bigint not null,
            scanned_at timestamptz,
            wanted_at timestamptz,
            scan_started_at timestamptz,
            primary key (tenant_id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.match_state');

        create table contacts.duplicate_pair (
            tenant_id bigint not null,
            left_id uuid not null,
            right_id uuid not null,
            score double precision not null,
            through_id uuid,
            scan_id uuid not null,
            found_at timestamptz not null,
            is_dismissed boolean not null default false,
            primary key (tenant_id, left_id, right_id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.duplicate_pair');
        create index on contacts.duplicate_pair (tenant_id, score, left_id, right_id) where not is_dismissed;
        create index on contacts.duplicate_pair (tenant_id, right_id);

        -- The tenant's contacts that share keys with one, those that share most first. Row security would keep the
        -- index from being used, since the overlap of arrays is not leakproof; so this names the tenant itself.
        create function contacts.match_candidates(wanted bigint[], most int) returns table (contact_id uuid)
        language plpgsql stable security definer
        set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_indexscan = off as $body$
        begin
            return query
            select f.contact_id from (
                -- The strongest keys come first, and are asked first: thousands may share a common name, and whoever
                -- shares an address must be among those looked at.
                (select k.contact_id, k.keys from contacts.match_keys k
                where k.tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint
                and k.keys && wanted[1:3] limit 500)
                union
                (select k.contact_id, k.keys from contacts.match_keys k
                where k.tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint and k.keys && wanted
                limit 1000)) f
            order by (select count(*) from unnest(f.keys) u where u = any (wanted)) desc, f.contact_id
            limit most;
        end $body$;
        grant select on contacts.match_keys to guanxi_across;
        alter function contacts.match_candidates(bigint[], int) owner to guanxi_across;
        revoke all on function contacts.match_candidates(bigint[], int) from public;
        grant execute on function contacts.match_candidates(bigint[], int) to guanxi_contacts;
        """)
}

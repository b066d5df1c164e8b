extension PlatformSchema {
    /// Where all services read what fields a tenant added to their record types; the service `accounts` alone writes it,
    /// by the function.
    static let customFields = """
        -- Which record types there are, of all services: written when a service's tables are made.
        create table platform.record_type (
            name text primary key,
            service text not null,
            label_en text not null,
            label_zh text not null
        );
        grant select on platform.record_type to guanxi_service, guanxi_across;

        create table platform.custom_field (
            tenant_id bigint not null references platform.tenant on delete cascade,
            record_type text not null,
            name text not null,
            kind text not null,
            definition jsonb not null,
            wants_index boolean not null,
            -- Since when: a transaction that began before may write a record without its entry in the index.
            wanted_at xid8 not null default pg_current_xact_id(),
            is_indexed boolean not null default false,
            primary key (tenant_id, record_type, name)
        );
        select platform.secure_table('platform.custom_field', '');
        grant select on platform.custom_field to guanxi_service;
        grant select, insert, update, delete on platform.custom_field to guanxi_across;

        -- A tenant's fields, by record type.
        create function platform.custom_fields(tenant bigint) returns jsonb
        language sql stable set search_path = pg_catalog, pg_temp as $body$
            select jsonb_object_agg(t.record_type, t.fields) from (
                select f.record_type, jsonb_agg(f.definition
                    || jsonb_build_object('is_indexed', f.wants_index and f.is_indexed)) as fields
                from platform.custom_field f where f.tenant_id = tenant group by f.record_type
            ) t
        $body$;
        alter function platform.custom_fields(bigint) owner to guanxi_across;

        -- What holds from now on for the transaction's tenant; no definition for none.
        create function platform.define_custom_field(wanted_type text, wanted_name text, new_definition jsonb,
            wanted_index boolean) returns void
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            tenant bigint := nullif(current_setting('app.tenant_id', true), '')::bigint;
        begin
            if new_definition is null then
                delete from platform.custom_field f
                where f.tenant_id = tenant and f.record_type = wanted_type and f.name = wanted_name;
            else
                insert into platform.custom_field as f (tenant_id, record_type, name, kind, definition, wants_index)
                values (tenant, wanted_type, wanted_name, new_definition ->> 'kind', new_definition, wanted_index)
                on conflict (tenant_id, record_type, name) do update set
                    definition = excluded.definition, wants_index = excluded.wants_index,
                    wanted_at = case when excluded.wants_index and not f.wants_index then excluded.wanted_at
                        else f.wanted_at end,
                    is_indexed = f.is_indexed and f.wants_index and excluded.wants_index;
            end if;
            perform pg_notify('guanxi_credentials', 'tenant:' || tenant);
        end $body$;
        alter function platform.define_custom_field(text, text, jsonb, boolean) owner to guanxi_across;

        -- The index holds all values, also those written before it was wanted.
        create function platform.note_custom_field_indexed(wanted_type text, wanted_name text) returns void
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            tenant bigint := nullif(current_setting('app.tenant_id', true), '')::bigint;
        begin
            update platform.custom_field f set is_indexed = true
            where f.tenant_id = tenant and f.record_type = wanted_type and f.name = wanted_name and f.wants_index;
            perform pg_notify('guanxi_credentials', 'tenant:' || tenant);
        end $body$;
        alter function platform.note_custom_field_indexed(text, text) owner to guanxi_across;
        """
}

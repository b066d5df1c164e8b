import Database

/// The index of custom fields: a row for each value of a field whose tenant wants records to be found by it.
///
/// The values stand in each record's `custom`, in no order that an index of all tenants could use; so the database writes
/// them here as well, by a trigger, whoever changes a record in whatever way.
enum CustomValuesSchema {
    static let tables = """
        create table SCHEMA.custom_value (
            tenant_id bigint not null,
            record_type text not null,
            record_id uuid not null,
            field text not null,
            text_value text collate "C",
            number_value double precision,
            time_value timestamptz,
            primary key (tenant_id, record_type, record_id, field)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('SCHEMA.custom_value');
        create index on SCHEMA.custom_value (tenant_id, record_type, field, text_value, record_id)
            where text_value is not null;
        create index on SCHEMA.custom_value (tenant_id, record_type, field, number_value, record_id)
            where number_value is not null;
        create index on SCHEMA.custom_value (tenant_id, record_type, field, time_value, record_id)
            where time_value is not null;

        -- A day begins at midnight in UTC here, whatever the session of whoever writes thinks.
        create function SCHEMA.index_custom() returns trigger
        language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $body$
        begin
            if tg_op = 'UPDATE' then
                delete from SCHEMA.custom_value v where v.tenant_id = new.tenant_id and v.record_type = tg_argv[0]
                and v.record_id = new.id;
            end if;
            insert into SCHEMA.custom_value
            select new.tenant_id, f.record_type, new.id, f.name, \(columns(of: "new.custom"))
            from platform.custom_field f
            where f.tenant_id = new.tenant_id and f.record_type = tg_argv[0] and f.wants_index
            and new.custom ? f.name;
            return null;
        end $body$;

        """

    /// The value of field `f`, of `platform.custom_field`, in the column of its kind.
    private static func columns(of custom: String) -> String {
        func value(_ kinds: String, _ type: String) -> String {
            "case when f.kind in (\(kinds)) then (\(custom) ->> f.name)::\(type) end"
        }
        return [
            value("'text', 'choice', 'email', 'phone'", "text"),
            value("'integer', 'number'", "double precision"), value("'date', 'timestamp'", "timestamptz"),
        ].joined(separator: ", ")
    }

    /// Writes the values that up to `$4` records after `$3` have of one field, `$2`, and gives the last of these records.
    /// Their rows stay locked meanwhile: what somebody writes at the same time comes before or after.
    static func backfill(_ type: RecordType) -> String {
        """
        with page as (
            select r.id, r.custom from \(type.table) r
            where r.tenant_id = $1 and r.id > $3 order by r.id limit $4 for update
        ), written as (
            insert into \(type.schema).custom_value
            select $1, f.record_type, page.id, f.name, \(columns(of: "page.custom"))
            from page join platform.custom_field f
            on f.tenant_id = $1 and f.record_type = '\(type.name)' and f.name = $2 and f.wants_index
            where page.custom ? f.name
            on conflict (tenant_id, record_type, record_id, field) do update set
                text_value = excluded.text_value, number_value = excluded.number_value, time_value = excluded.time_value
        )
        select id, count(*) over () from page order by id desc limit 1
        """
    }
}

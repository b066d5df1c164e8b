import Database
import Foundation

/// The tables that stand behind every record type of a service, in its schema.
package enum RecordsSchema {
    /// The migration that makes them in `schema`.
    package static func migration(schema: String) -> Migration {
        Migration(
            "M0001CreateRecordTables",
            """
            create table SCHEMA.history (
                tenant_id bigint not null,
                record_type text not null,
                record_id uuid not null,
                version bigint not null,
                at timestamptz not null,
                actor text not null,
                request_id text not null,
                change_set uuid not null,
                operation text not null,
                -- As it was written, to the byte: the digest is over it, and nothing is ever looked up in it.
                changes json not null,
                salt bytea,
                digest bytea not null,
                primary key (tenant_id, record_type, record_id, version)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.history', 'select, insert');
            -- Both grow at their ends alone, since times and the ids of change sets rise.
            create index on SCHEMA.history (tenant_id, at);
            create index on SCHEMA.history (tenant_id, change_set);

            \(ErasureSchema.redactions)
            create table SCHEMA.history_seal (
                tenant_id bigint not null,
                number bigint not null,
                from_time timestamptz not null,
                to_time timestamptz not null,
                entries bigint not null,
                root bytea not null,
                sealed_at timestamptz not null default now(),
                primary key (tenant_id, number)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.history_seal', 'select, insert');

            create table SCHEMA.undone (
                tenant_id bigint not null,
                change_set uuid not null,
                undone_by uuid not null,
                primary key (tenant_id, change_set)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.undone');
            create index on SCHEMA.undone (tenant_id, undone_by);

            -- What merges of records of other services have to move here, as the newest event tells.
            create table SCHEMA.merge_note (
                tenant_id bigint not null,
                merge_id uuid not null,
                merged_id uuid not null,
                survivor_id uuid not null,
                version bigint not null,
                is_undone boolean not null,
                primary key (tenant_id, merge_id)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.merge_note');
            create index on SCHEMA.merge_note (tenant_id, merged_id) where not is_undone;

            create table SCHEMA.idempotency (
                tenant_id bigint not null,
                actor text not null,
                key text not null,
                digest bytea not null,
                status int not null,
                record_id uuid,
                version bigint,
                body text not null,
                created_at timestamptz not null default now(),
                primary key (tenant_id, actor, key)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.idempotency');

            create table SCHEMA.import (
                tenant_id bigint not null,
                id uuid not null,
                job_id uuid,
                record_type text not null,
                format text not null,
                options jsonb not null,
                bytes bigint not null default 0,
                chunks int not null default 0,
                position jsonb not null default '{}',
                rows_done bigint not null default 0,
                created bigint not null default 0,
                updated bigint not null default 0,
                skipped bigint not null default 0,
                failed bigint not null default 0,
                values_left_out bigint not null default 0,
                actor text not null,
                change_set uuid not null,
                unwritable text[] not null default '{}',
                created_at timestamptz not null default now(),
                primary key (tenant_id, id)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.import');

            create table SCHEMA.import_chunk (
                tenant_id bigint not null,
                import_id uuid not null,
                number int not null,
                bytes bytea not null,
                primary key (tenant_id, import_id, number)
            ) partition by list (tenant_id);
            alter table SCHEMA.import_chunk alter column bytes set storage external;
            select platform.partition_by_tenant('SCHEMA.import_chunk');

            create table SCHEMA.import_error (
                tenant_id bigint not null,
                import_id uuid not null,
                row_number bigint not null,
                column_name text not null,
                code text not null,
                message text not null,
                row_text text,
                primary key (tenant_id, import_id, row_number, column_name, code)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.import_error');

            \(CustomValuesSchema.tables)
            create table SCHEMA.saved_view (
                \(systemColumns),
                name text not null,
                record_type text not null,
                filter jsonb,
                sort text,
                fields jsonb,
                shared text not null,
                primary key (tenant_id, id)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.saved_view');
            create index on SCHEMA.saved_view (tenant_id, created_at, id) where deleted_at is null;

            -- How many requests each bearer sent on a day, in UTC, and how many of them were too many.
            create table SCHEMA.usage_day (
                tenant_id bigint not null,
                day date not null,
                actor text not null,
                requests bigint not null,
                refused bigint not null,
                primary key (tenant_id, day, actor)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.usage_day');

            create table SCHEMA.export (
                tenant_id bigint not null,
                id uuid not null,
                job_id uuid not null,
                record_type text not null,
                format text not null,
                options jsonb not null,
                reach jsonb not null,
                actor text not null,
                last_id text,
                pieces int not null default 0,
                bytes bigint not null default 0,
                records bigint not null default 0,
                finished_at timestamptz,
                created_at timestamptz not null default now(),
                primary key (tenant_id, id)
            ) partition by list (tenant_id);
            select platform.partition_by_tenant('SCHEMA.export');

            create table SCHEMA.export_piece (
                tenant_id bigint not null,
                export_id uuid not null,
                number int not null,
                bytes bytea not null,
                primary key (tenant_id, export_id, number)
            ) partition by list (tenant_id);
            alter table SCHEMA.export_piece alter column bytes set storage external;
            select platform.partition_by_tenant('SCHEMA.export_piece');

            grant select, delete on SCHEMA.idempotency, SCHEMA.import_chunk, SCHEMA.export_piece, SCHEMA.usage_day
                to guanxi_across;
            grant select, delete on SCHEMA.live_event to guanxi_across;
            grant select on SCHEMA.import, SCHEMA.job_status to guanxi_across;

            -- Those of the tenant's ten thousand newest records that have all words of the query, newest first: at most
            -- so many. Nobody has a privilege on it but its owner.
            create function SCHEMA.search_newest(searched text, query tsquery, most int) returns uuid[]
            language plpgsql stable set search_path = pg_catalog, pg_temp
            set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $body$
            declare
                found_ids uuid[];
            begin
                execute format(
                    'select array(
                        select id from (
                            select id, words from SCHEMA.%I where tenant_id = $1 and deleted_at is null
                            order by created_at desc, id desc limit 10000
                        ) newest where words @@ $2 limit $3)', searched)
                into found_ids using nullif(current_setting('app.tenant_id', true), '')::bigint, query, most;
                return found_ids;
            end $body$;
            alter function SCHEMA.search_newest(text, tsquery, int) owner to guanxi_across;
            revoke all on function SCHEMA.search_newest(text, tsquery, int) from public;

            -- The tenant's living records of a searchable table that have all words of the query, newest first. Where so
            -- many as a page shows are among the newest of all, only these: of what many have, a page is quickly found
            -- there, while the index names all of them. Row security would keep the index from being used, since a match
            -- is not leakproof; so this names the tenant itself.
            create function SCHEMA.search_ids(searched text, query tsquery, most int, page int) returns setof uuid
            language plpgsql stable security definer
            set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_indexscan = off as $body$
            declare
                newest uuid[];
            begin
                if page > 0 then
                    newest := SCHEMA.search_newest(searched, query, page);
                    if cardinality(newest) >= page then
                        return query select unnest(newest);
                        return;
                    end if;
                end if;
                return query execute format(
                    'select id from SCHEMA.%I where tenant_id = $1 and deleted_at is null and words @@ $2
                    order by id desc limit $3', searched)
                using nullif(current_setting('app.tenant_id', true), '')::bigint, query, most;
            end $body$;
            alter function SCHEMA.search_ids(text, tsquery, int, int) owner to guanxi_across;
            revoke all on function SCHEMA.search_ids(text, tsquery, int, int) from public;
            grant execute on function SCHEMA.search_ids(text, tsquery, int, int) to guanxi_SCHEMA;

            \(ErasureSchema.functions)
            -- What nobody needs any more, of every tenant: answers that were kept for a day for whoever repeats a
            -- request, and files whose import never began or is over. Gives how many rows went.
            create function SCHEMA.forget_expired() returns bigint
            language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
            declare
                gone bigint;
                total bigint := 0;
            begin
                delete from SCHEMA.idempotency where created_at < now() - interval '24 hours';
                get diagnostics total = row_count;
                delete from SCHEMA.live_event where at < now() - interval '24 hours';
                get diagnostics gone = row_count;
                total := total + gone;
                delete from SCHEMA.import_chunk c
                where c.import_id < platform.uuid_lower_bound(now() - interval '24 hours')
                and not exists (
                    select 1 from SCHEMA.import i join SCHEMA.job_status s on s.tenant_id = i.tenant_id and s.id = i.job_id
                    where i.tenant_id = c.tenant_id and i.id = c.import_id and s.state in ('waiting', 'running', 'failed'));
                get diagnostics gone = row_count;
                total := total + gone;
                -- Downloadable for a day after its end, which is a day at most after its beginning.
                delete from SCHEMA.export_piece where export_id < platform.uuid_lower_bound(now() - interval '48 hours');
                get diagnostics gone = row_count;
                total := total + gone;
                delete from SCHEMA.usage_day where day < current_date - 400;
                get diagnostics gone = row_count;
                return total + gone;
            end $body$;
            alter function SCHEMA.forget_expired() owner to guanxi_across;
            revoke all on function SCHEMA.forget_expired() from public;
            grant execute on function SCHEMA.forget_expired() to guanxi_SCHEMA;
            """.replacingOccurrences(of: "SCHEMA", with: schema))
    }

    /// The columns that every record's table begins with, for migrations: follow them with the type's own, then
    /// `recordKey`.
    package static let systemColumns = """
        tenant_id bigint not null,
            id uuid not null,
            version bigint not null default 1,
            created_at timestamptz not null,
            updated_at timestamptz not null,
            deleted_at timestamptz,
            owner_id uuid,
            team_id uuid,
            custom jsonb
        """
}

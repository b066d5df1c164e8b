import Database
import Foundation

/// The tables behind the queues, the same in each service's schema, and the platform's functions across them.
package enum JobsSchema {
    /// A service's outbox, inbox and what belongs to them, in `schema`, for the role `guanxi_<schema>`.
    ///
    /// `outbox` and `inbox` are partitioned by day of the job's id (a version 7 UUID is a time), append only, and leave
    /// by whole partitions. They and `relay_…`, which hold no tenant's data, are the exceptions to "tenant first".
    package static func migration(schema: String) -> Migration {
        Migration(
            "M0000CreateQueues",
            #"""
            create table SCHEMA.outbox (
                id uuid not null,
                tenant_id bigint not null,
                queue text not null,
                name text not null,
                payload text not null,
                priority smallint not null,
                max_attempts int not null,
                timeout_seconds int not null,
                cost real not null,
                is_tracked boolean not null,
                run_at timestamptz,
                traceparent text,
                expiry real not null default 0,
                group_id uuid,
                serial_key text,
                by_tenant boolean not null default false,
                xid xid8 not null default pg_current_xact_id(),
                created_at timestamptz not null default now(),
                primary key (id, tenant_id)
            ) partition by range (id);
            create index on SCHEMA.outbox (xid);
            comment on column SCHEMA.outbox.serial_key is 'Jobs of one key run one at a time: this one has its turn.';
            comment on column SCHEMA.outbox.by_tenant is 'An event that goes to this queue because the tenant wants it.';
            create index on SCHEMA.outbox (tenant_id, id) where by_tenant;

            create table SCHEMA.inbox (
                job_id uuid not null,
                tenant_id bigint not null,
                outcome smallint not null,
                finished_at timestamptz not null default now(),
                primary key (job_id, tenant_id)
            ) partition by range (job_id);
            comment on column SCHEMA.inbox.outcome is '1 done, 2 cancelled, 3 dead, 4 expired';

            create table SCHEMA.outbox_sent (id uuid primary key, job_ids uuid[] not null);
            create table SCHEMA.relay_position (
                is_only boolean primary key default true check (is_only),
                xid xid8 not null,
                reached_at timestamptz not null
            );
            insert into SCHEMA.relay_position (xid, reached_at) values (pg_snapshot_xmin(pg_current_snapshot()), now());
            create table SCHEMA.queue_epoch (
                queue text primary key,
                epoch bigint not null,
                is_recovered boolean not null
            );

            create table SCHEMA.scheduled_job (
                tenant_id bigint not null,
                id uuid not null,
                key text not null,
                queue text not null,
                name text not null,
                payload text not null,
                priority smallint not null,
                max_attempts int not null,
                timeout_seconds int not null,
                cost real not null,
                is_tracked boolean not null,
                run_at timestamptz not null,
                traceparent text,
                expiry real not null default 0,
                group_id uuid,
                -- As its line wants it, said to whoever schedules the job: the relay moves many at once.
                serial_key text check (octet_length(serial_key) between 1 and 500),
                primary key (tenant_id, id),
                unique (tenant_id, key)
            ) partition by list (tenant_id);

            create table SCHEMA.job_status (
                tenant_id bigint not null,
                id uuid not null,
                name text not null,
                state text not null default 'waiting'
                    check (state in ('waiting', 'running', 'done', 'failed', 'cancelled', 'dead')),
                done bigint not null default 0,
                -- How far it was when it began again after a worker's death.
                done_before bigint not null default 0,
                total bigint,
                note text,
                result jsonb,
                error jsonb,
                user_id uuid,
                created_at timestamptz not null default now(),
                started_at timestamptz,
                finished_at timestamptz,
                primary key (tenant_id, id)
            ) partition by list (tenant_id);

            -- What users are told as it happens, kept for a day for whoever was away. The transaction's id says what came
            -- after a snapshot, which no time and no sequence can.
            create table SCHEMA.live_event (
                tenant_id bigint not null,
                id uuid not null default gen_random_uuid(),
                user_id uuid not null,
                xid xid8 not null default pg_current_xact_id(),
                at timestamptz not null default now(),
                expires_at timestamptz,
                name text not null,
                data jsonb not null,
                primary key (tenant_id, id)
            ) partition by list (tenant_id);
            create index on SCHEMA.live_event (tenant_id, user_id, xid);

            create table SCHEMA.dead_job (
                tenant_id bigint not null,
                job_id uuid not null,
                queue text not null,
                name text not null,
                attempts int not null,
                crashes int not null,
                code text not null,
                error text not null,
                died_at timestamptz not null default now(),
                -- The job that an operator had it tried again as, once.
                replayed_as uuid,
                replayed_at timestamptz,
                primary key (tenant_id, job_id)
            ) partition by list (tenant_id);

            create table SCHEMA.job_unique (
                tenant_id bigint not null,
                key text not null,
                until timestamptz not null,
                primary key (tenant_id, key)
            ) partition by list (tenant_id);

            create table SCHEMA.recurring_firing (
                tenant_id bigint not null,
                name text not null,
                fire_at timestamptz not null,
                primary key (tenant_id, name, fire_at)
            ) partition by list (tenant_id);

            select platform.secure_table('SCHEMA.outbox', 'select, insert');
            select platform.secure_table('SCHEMA.inbox', 'select, insert');
            select platform.partition_by_tenant('SCHEMA.scheduled_job');
            select platform.partition_by_tenant('SCHEMA.job_status');
            select platform.partition_by_tenant('SCHEMA.dead_job');
            select platform.partition_by_tenant('SCHEMA.live_event');
            select platform.partition_by_tenant('SCHEMA.job_unique');
            select platform.partition_by_tenant('SCHEMA.recurring_firing');
            create index on SCHEMA.scheduled_job (run_at);
            grant select, insert, delete on SCHEMA.outbox_sent to guanxi_SCHEMA;
            grant select, update on SCHEMA.relay_position to guanxi_SCHEMA;
            grant select, insert, update on SCHEMA.queue_epoch to guanxi_SCHEMA;
            grant usage on schema SCHEMA to guanxi_across;
            grant select on SCHEMA.outbox, SCHEMA.inbox, SCHEMA.outbox_sent to guanxi_across;
            grant select, update, delete on SCHEMA.scheduled_job to guanxi_across;
            grant insert on SCHEMA.outbox to guanxi_across;
            grant select, update on SCHEMA.dead_job to guanxi_across;
            grant select, insert on SCHEMA.job_status to guanxi_across;

            -- Creates the day partitions of outbox and inbox, from yesterday to a week ahead.
            create function SCHEMA.ensure_partitions() returns void
            language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
            declare
                day date;
                table_name text;
            begin
                perform pg_advisory_xact_lock(hashtextextended('SCHEMA.ensure_partitions', 0));
                for day in select generate_series(current_date - 1, current_date + 7, interval '1 day')::date loop
                    foreach table_name in array array['outbox', 'inbox'] loop
                        if to_regclass(format('SCHEMA.%I', table_name || to_char(day, '_YYYYMMDD'))) is null then
                            execute format('create table SCHEMA.%I partition of SCHEMA.%I for values from (%L) to (%L)',
                                table_name || to_char(day, '_YYYYMMDD'), table_name,
                                platform.uuid_lower_bound(day), platform.uuid_lower_bound(day + 1));
                        end if;
                    end loop;
                end loop;
            end $body$;
            select SCHEMA.ensure_partitions();

            -- Drops the day partitions older than `keep` in which every job is done. Gives the days dropped.
            create function SCHEMA.drop_finished_partitions(keep interval) returns setof date
            language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $body$
            declare
                day date;
                finished date[] := '{}';
            begin
                for day in
                    select to_date(right(c.relname, 8), 'YYYYMMDD') from pg_class c
                    join pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = 'SCHEMA' and c.relname ~ '^outbox_[0-9]{8}$'
                    and to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - keep
                loop
                    if not exists (
                        select from platform.unfinished_in('SCHEMA', platform.uuid_lower_bound(day),
                            platform.uuid_lower_bound(day + 1)))
                    then
                        finished := finished || day;
                    end if;
                end loop;
                -- Nobody can enqueue from the first drop to the commit: nothing is looked through any more by then.
                foreach day in array finished loop
                    execute format('drop table SCHEMA.%I', 'outbox_' || to_char(day, 'YYYYMMDD'));
                    return next day;
                end loop;
                -- An inbox's day also knows the jobs of other services: it goes when no outbox has that day any more.
                for day in
                    select to_date(right(c.relname, 8), 'YYYYMMDD') from pg_class c
                    join pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = 'SCHEMA' and c.relname ~ '^inbox_[0-9]{8}$'
                    and to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - keep
                    and not exists (select 1 from pg_class o where o.relname = 'outbox_' || right(c.relname, 8))
                loop
                    execute format('drop table SCHEMA.%I', 'inbox_' || to_char(day, 'YYYYMMDD'));
                end loop;
            end $body$;

            -- What committed below `upto` and was not noted as sent, whosever it is: the relay sees every tenant. The notes
            -- are read once, never for each job.
            create function SCHEMA.relay_unsent(after xid8, upto xid8, maximum int)
            returns setof SCHEMA.outbox
            language plpgsql stable security definer set search_path = pg_catalog, pg_temp
            set enable_seqscan = off set enable_nestloop = off set jit = off as $body$
            declare
                first uuid;
            begin
                -- A job is noted as sent after its row was written, whenever it was made: one that stood in line brings
                -- an old id. Notes older than the first of these rows, less what clocks may differ, need not be read
                -- again each second; a note that is missed costs a push that is refused.
                select platform.uuid_lower_bound(min(o.created_at) - interval '2 seconds') into first
                from SCHEMA.outbox o where o.xid >= after and o.xid < upto;
                if first is null then return; end if;
                return query
                    select o.* from SCHEMA.outbox o
                    where o.xid >= after and o.xid < upto
                    and not exists (
                        select 1 from SCHEMA.outbox_sent s, unnest(s.job_ids) as sent (id)
                        where s.id >= first and sent.id = o.id)
                    order by o.xid, o.id
                    limit maximum;
            end $body$;

            -- Moves scheduled jobs that are due before `horizon` into the outbox, and gives them: under a fresh id, by
            -- which the next comparison finds them, where nobody tracks theirs. Those of a serial key step into its line
            -- now.
            create function SCHEMA.relay_due(horizon timestamptz, maximum int) returns setof SCHEMA.outbox
            language sql volatile security definer set search_path = pg_catalog, pg_temp as $body$
                with due as (
                    delete from SCHEMA.scheduled_job s
                    where (s.tenant_id, s.id) in (
                        select tenant_id, id from SCHEMA.scheduled_job where run_at < horizon
                        order by run_at limit maximum for update skip locked)
                    returning s.*
                ),
                renewed as (
                    select case when is_tracked then platform.lasting_id(id, true) else platform.uuid_now() end as fresh,
                        due.* from due order by run_at),
                turn as materialized (
                    select r.*, case when r.serial_key is null then 0
                        else platform.take_turn(r.tenant_id, r.queue, r.serial_key, r.fresh) end as position
                    from renewed r
                ),
                waiting as (
                    insert into platform.serial_job (id, tenant_id, queue, name, payload, priority, max_attempts,
                        timeout_seconds, cost, is_tracked, run_at, traceparent, expiry, group_id, serial_key, position)
                    select fresh, tenant_id, queue, name, payload, priority, max_attempts,
                        timeout_seconds, cost, is_tracked, run_at, traceparent, expiry, group_id, serial_key, position
                    from turn where position > 0
                )
                insert into SCHEMA.outbox (id, tenant_id, queue, name, payload, priority, max_attempts,
                    timeout_seconds, cost, is_tracked, run_at, traceparent, expiry, group_id, serial_key)
                select fresh, tenant_id, queue, name, payload, priority, max_attempts,
                    timeout_seconds, cost, is_tracked, run_at, traceparent, expiry, group_id, serial_key
                from turn where position = 0
                returning *
            $body$;
            alter function SCHEMA.relay_unsent(xid8, xid8, int) owner to guanxi_across;
            alter function SCHEMA.relay_due(timestamptz, int) owner to guanxi_across;
            revoke all on function SCHEMA.relay_unsent(xid8, xid8, int), SCHEMA.relay_due(timestamptz, int),
                SCHEMA.ensure_partitions(), SCHEMA.drop_finished_partitions(interval) from public;
            grant execute on function SCHEMA.relay_unsent(xid8, xid8, int), SCHEMA.relay_due(timestamptz, int),
                SCHEMA.ensure_partitions(), SCHEMA.drop_finished_partitions(interval) to guanxi_SCHEMA;
            """#.replacingOccurrences(of: "SCHEMA", with: schema))
    }
}

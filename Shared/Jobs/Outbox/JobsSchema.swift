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
                serial_key text,
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
            language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
            declare
                day date;
                unfinished boolean;
            begin
                for day in
                    select to_date(right(c.relname, 8), 'YYYYMMDD') from pg_class c
                    join pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = 'SCHEMA' and c.relname ~ '^outbox_[0-9]{8}$'
                    and to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - keep
                loop
                    select exists (
                        select 1 from platform.unfinished_in('SCHEMA', platform.uuid_lower_bound(day),
                            platform.uuid_lower_bound(day + 1))) into unfinished;
                    if not unfinished then
                        execute format('drop table SCHEMA.%I', 'outbox_' || to_char(day, 'YYYYMMDD'));
                        return next day;
                    end if;
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

            -- Moves scheduled jobs that are due before `horizon` into the outbox, under a fresh id, and gives them. Those
            -- of a serial key step into its line now.
            create function SCHEMA.relay_due(horizon timestamptz, maximum int) returns setof SCHEMA.outbox
            language sql volatile security definer set search_path = pg_catalog, pg_temp as $body$
                with due as (
                    delete from SCHEMA.scheduled_job s
                    where (s.tenant_id, s.id) in (
                        select tenant_id, id from SCHEMA.scheduled_job where run_at < horizon
                        order by run_at limit maximum for update skip locked)
                    returning s.*
                ),
                renewed as (select platform.uuid_now() as fresh, due.* from due order by run_at),
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

    /// What reaches across schemas, in `platform`: jobs that no inbox knows, long payloads, subscriptions to events.
    package static let platformMigration = Migration(
        "M0002CreateQueueFunctions",
        #"""
        create function platform.uuid_lower_bound(at timestamptz) returns uuid
        language sql stable set search_path = pg_catalog as $body$
            select (lpad(to_hex(greatest(0, extract(epoch from at) * 1000)::bigint), 12, '0')
                || '70008000000000000000')::uuid
        $body$;

        -- A version 7 UUID, for rows that SQL itself makes.
        create function platform.uuid_now() returns uuid
        language sql volatile set search_path = pg_catalog as $body$
            select (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
                || '7' || substr(md5(random()::text || clock_timestamp()::text), 1, 3)
                || '8' || substr(md5(random()::text), 1, 15))::uuid
        $body$;

        create table platform.subscription (
            event text not null,
            queue text not null,
            by_tenant boolean not null default false,
            primary key (event, queue)
        );
        comment on table platform.subscription is 'Which queues get a job for which event. Holds no tenant data.';

        comment on column platform.subscription.by_tenant is
            'The queue gets a job only for tenants that want it, as tenant_subscription says.';

        -- Which events a tenant wants told to a queue: `contacts.contact.created`, `contacts.*` or `*`, by whoever of
        -- the tenant's wants them. Read by the statement that writes the outbox, so a tenant without costs a look.
        create table platform.tenant_subscription (
            tenant_id bigint not null references platform.tenant on delete cascade,
            queue text not null,
            event text not null,
            subscriber uuid not null,
            primary key (tenant_id, queue, event, subscriber)
        );
        select platform.secure_table('platform.tenant_subscription', '');
        grant select on platform.tenant_subscription to guanxi_service, guanxi_across;

        -- A service subscribes its own queues, and no others.
        create function platform.subscribe(wanted_queue text, events text[], tenant_events text[] default '{}')
        returns void
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        begin
            if not platform.may_serve(wanted_queue) then
                raise exception 'queue % is not this service''s', wanted_queue using errcode = '42501';
            end if;
            delete from platform.subscription s
            where s.queue = wanted_queue and s.event <> all (events || tenant_events);
            insert into platform.subscription (event, queue, by_tenant)
            select e, wanted_queue, false from unnest(events) as e
            union all select e, wanted_queue, true from unnest(tenant_events) as e
            on conflict (event, queue) do update set by_tenant = excluded.by_tenant;
            notify guanxi_subscriptions;
        end $body$;

        create function platform.subscriptions() returns table (event text, queue text, by_tenant boolean)
        language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
            select s.event, s.queue, s.by_tenant from platform.subscription s
        $body$;

        -- Says what one subscriber of the tenant set wants told to a queue from this commit on; nothing any more where
        -- `events` is empty.
        create function platform.subscribe_tenant(wanted_queue text, wanted_subscriber uuid, events text[])
        returns void
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        begin
            if not platform.may_serve(wanted_queue) then
                raise exception 'queue % is not this service''s', wanted_queue using errcode = '42501';
            end if;
            delete from platform.tenant_subscription s
            where s.tenant_id = platform.current_tenant() and s.queue = wanted_queue
            and s.subscriber = wanted_subscriber;
            insert into platform.tenant_subscription (tenant_id, queue, event, subscriber)
            select platform.current_tenant(), wanted_queue, e, wanted_subscriber from unnest(events) as e
            on conflict do nothing;
        end $body$;

        -- True when the signed-in service owns the queue: guanxi_contacts owns contacts.*, the owner all.
        create function platform.may_serve(wanted_queue text) returns boolean
        language sql stable set search_path = pg_catalog as $body$
            select session_user = 'guanxi_' || split_part(wanted_queue, '.', 1)
                or pg_has_role(session_user, 'guanxi_owner', 'member')
        $body$;

        -- Jobs of one schema's outbox, with ids in [from_id, to_id), that no inbox of their queue's service knows.
        create function platform.unfinished_in(origin text, from_id uuid, to_id uuid)
        returns table (id uuid, tenant_id bigint)
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp
        set enable_nestloop = off set jit = off as $body$
        declare
            service text;
        begin
            for service in execute format(
                'select distinct split_part(queue, ''.'', 1) from %I.outbox where id >= %L and id < %L',
                origin, from_id, to_id)
            loop
                if to_regclass(format('%I.inbox', service)) is null then
                    return query execute format(
                        'select o.id, o.tenant_id from %I.outbox o where o.id >= %L and o.id < %L
                         and o.queue like %L', origin, from_id, to_id, service || '.%');
                else
                    return query execute format(
                        'select o.id, o.tenant_id from %I.outbox o where o.id >= %L and o.id < %L
                         and o.queue like %L and not exists (select 1 from %I.inbox i
                            where i.job_id = o.id and i.tenant_id = o.tenant_id
                            and i.job_id >= %L and i.job_id < %L)',
                        origin, from_id, to_id, service || '.%', service, from_id, to_id);
                end if;
            end loop;
        end $body$;

        -- The jobs addressed to one queue, from every service's outbox, with ids in (after_id, to_id), that its
        -- service's inbox does not know: what must run again when Redis has forgotten, and what waits for room there.
        -- One way to find them, whatever is known of the tables' sizes, which change faster than statistics: along the
        -- outbox in the order of ids, a look into the inbox for each.
        create function platform.unfinished_jobs(wanted_queue text, after_id uuid, to_id uuid, maximum int,
            only_tenant bigint default null, except_tenants bigint[] default '{}')
        returns table (id uuid, tenant_id bigint, origin text, name text, payload text, priority smallint,
            max_attempts int, timeout_seconds int, cost real, is_tracked boolean, run_at timestamptz, traceparent text,
            expiry real, group_id uuid, serial_key text)
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp
        set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
        set enable_material = off set jit = off as $body$
        declare
            parts text[] := '{}';
            schema_name text;
            consumer text := split_part(wanted_queue, '.', 1);
            tenants text := '';
        begin
            if not platform.may_serve(wanted_queue) then
                raise exception 'queue % is not this service''s', wanted_queue using errcode = '42501';
            end if;
            if only_tenant is not null then tenants := format('and o.tenant_id = %s', only_tenant); end if;
            if cardinality(except_tenants) > 0 then
                tenants := tenants || format(' and o.tenant_id <> all (%L::bigint[])', except_tenants);
            end if;
            for schema_name in
                select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where c.relname = 'outbox' and c.relkind = 'p' order by 1
            loop
                parts := parts || format(
                    '(select o.id, o.tenant_id, %L::text, o.name, o.payload, o.priority, o.max_attempts,
                        o.timeout_seconds, o.cost, o.is_tracked, o.run_at, o.traceparent, o.expiry, o.group_id, o.serial_key
                     from %I.outbox o
                     where o.id > %L and o.id < %L and o.queue = %L %s and not exists (
                        select 1 from %I.inbox i where i.job_id = o.id and i.tenant_id = o.tenant_id
                        and i.job_id > %L and i.job_id < %L)
                     order by o.id limit %s)',
                    schema_name, schema_name, after_id, to_id, wanted_queue, tenants, consumer, after_id, to_id,
                    maximum);
            end loop;
            return query execute array_to_string(parts, ' union all ') || format(' order by 1 limit %s', maximum);
        end $body$;

        -- True while an event with an id in [since, before), which the tenant set wants told to `wanted_queue`, has not
        -- been taken in there. Ids rise with the changes of one record: each waits for the commit of the one before.
        create function platform.has_earlier_event(wanted_queue text, since uuid, before uuid) returns boolean
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            schema_name text;
            is_found boolean;
        begin
            if not platform.may_serve(wanted_queue) then
                raise exception 'queue % is not this service''s', wanted_queue using errcode = '42501';
            end if;
            for schema_name in
                select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where c.relname = 'outbox' and c.relkind = 'p'
            loop
                execute format(
                    'select exists (
                        select 1 from %I.outbox o
                        where o.tenant_id = $1 and o.by_tenant and o.queue = $2 and o.id < $3 and o.id >= $4
                        and not exists (
                            select 1 from %I.inbox i where i.job_id = o.id and i.tenant_id = o.tenant_id))',
                    schema_name, split_part(wanted_queue, '.', 1))
                into is_found
                using nullif(current_setting('app.tenant_id', true), '')::bigint, wanted_queue, before, since;
                if is_found then return true; end if;
            end loop;
            return false;
        end $body$;

        -- A payload too long for Redis, for the service whose queue it waits in.
        create function platform.job_payload(origin text, job uuid, tenant bigint) returns text
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            found_queue text;
            found_payload text;
        begin
            if to_regclass(format('%I.outbox', origin)) is null then return null; end if;
            execute format('select queue, payload from %I.outbox where id = $1 and tenant_id = $2', origin)
                into found_queue, found_payload using job, tenant;
            if found_queue is null or not platform.may_serve(found_queue) then return null; end if;
            return found_payload;
        end $body$;

        alter function platform.unfinished_in(text, uuid, uuid) owner to guanxi_across;
        alter function platform.unfinished_jobs(text, uuid, uuid, int, bigint, bigint[]) owner to guanxi_across;
        alter function platform.job_payload(text, uuid, bigint) owner to guanxi_across;
        alter function platform.has_earlier_event(text, uuid, uuid) owner to guanxi_across;
        revoke all on all functions in schema platform from public;
        grant execute on function platform.uuid_lower_bound(timestamptz), platform.uuid_now(),
            platform.may_serve(text), platform.subscribe(text, text[], text[]), platform.subscriptions(),
            platform.subscribe_tenant(text, uuid, text[]),
            platform.has_earlier_event(text, uuid, uuid),
            platform.unfinished_jobs(text, uuid, uuid, int, bigint, bigint[]),
            platform.job_payload(text, uuid, bigint)
            to guanxi_service;
        grant execute on function platform.uuid_lower_bound(timestamptz), platform.uuid_now(),
            platform.may_serve(text) to guanxi_across;
        """#)
}

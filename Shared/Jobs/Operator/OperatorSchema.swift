import Database

extension JobsSchema {
    /// What operators ask PostgreSQL about queues, and what they do there: for the owner every queue, for a service its
    /// own queues alone.
    package static let operatorFunctions = Migration(
        "M0006CreateOperatorFunctions",
        #"""
        grant select, insert, update on platform.queue_setting, platform.queue_share to guanxi_across;

        -- Refuses whoever does not serve the queue.
        create function platform.require_queue(wanted_queue text) returns void
        language plpgsql stable set search_path = pg_catalog as $body$
        begin
            if platform.may_serve(wanted_queue) then return; end if;
            raise exception 'queue % is not this service''s', wanted_queue using errcode = '42501';
        end $body$;

        -- The schemas that have an outbox: every service's.
        create function platform.outboxes() returns setof name
        language sql stable set search_path = pg_catalog as $body$
            select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relname = 'outbox' and c.relkind = 'p' order by 1
        $body$;

        -- What PostgreSQL knows of a queue: the jobs that found no room in Redis, those behind another of their serial
        -- key, those whose next try was put off, and the dead that nobody replayed; each counted up to `maximum`.
        create function platform.queue_figures(wanted_queue text, maximum int,
            out backlog_tenants bigint, out backlog bigint, out in_line bigint, out put_off bigint, out dead bigint)
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            schema_name text;
            consumer text := split_part(wanted_queue, '.', 1);
            oldest uuid;
            counted bigint;
        begin
            perform platform.require_queue(wanted_queue);
            select count(*), min(b.since::text)::uuid into backlog_tenants, oldest
            from platform.job_backlog b where b.queue = wanted_queue;
            select count(*) into in_line
            from (select 1 from platform.serial_job s where s.queue = wanted_queue limit maximum) l;
            select count(*) into put_off
            from (select 1 from platform.job_retry r where r.queue = wanted_queue limit maximum) l;
            backlog := 0;
            dead := 0;
            if to_regclass(format('%I.inbox', consumer)) is null then return; end if;
            for schema_name in select platform.outboxes() loop
                if oldest is not null then
                    execute format(
                        'select count(*) from (
                            select 1 from platform.job_backlog b
                            join %I.outbox o on o.tenant_id = b.tenant_id and o.queue = b.queue and o.id > b.since
                            where b.queue = %L and o.id > %L and not exists (
                                select 1 from %I.inbox i
                                where i.job_id = o.id and i.tenant_id = o.tenant_id and i.job_id > %L)
                            and not exists (
                                select 1 from platform.job_retry r
                                where r.tenant_id = o.tenant_id and r.job_id = o.id)
                            limit %s) w',
                        schema_name, wanted_queue, oldest, consumer, oldest, maximum) into counted;
                    backlog := backlog + counted;
                end if;
            end loop;
            execute format(
                'select count(*) from (
                    select 1 from %I.dead_job where queue = $1 and replayed_at is null limit %s) d', consumer, maximum)
                into dead using wanted_queue;
        end $body$;

        -- All that PostgreSQL knows of one job, without its payload; null where nothing of it is left.
        create function platform.describe_job(wanted uuid) returns jsonb
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            schema_name text;
            consumer text;
            tenant bigint;
            story jsonb;
            part jsonb;
        begin
            for schema_name in select platform.outboxes() loop
                execute format(
                    'select to_jsonb(o) - ''payload'' - ''xid'' || jsonb_build_object(''origin'', %L::text,
                        ''payload_bytes'', octet_length(o.payload), ''is_scheduled'', false)
                     from %I.outbox o where o.id = $1', schema_name, schema_name) into story using wanted;
                exit when story is not null;
                execute format(
                    'select to_jsonb(s) - ''payload'' || jsonb_build_object(''origin'', %L::text,
                        ''payload_bytes'', octet_length(s.payload), ''is_scheduled'', true)
                     from %I.scheduled_job s where s.id = $1 limit 1', schema_name, schema_name) into story using wanted;
                exit when story is not null;
            end loop;
            if story is null then
                select to_jsonb(s) - 'payload' - 'position' || jsonb_build_object('payload_bytes', octet_length(s.payload),
                    'is_scheduled', false, 'line_ahead', 1 + (
                        select count(*) from platform.serial_job f
                        where f.tenant_id = s.tenant_id and f.queue = s.queue and f.serial_key = s.serial_key
                        and f.position < s.position)) into story
                from platform.serial_job s where s.id = wanted limit 1;
            end if;
            -- The dead are remembered longer than their outbox.
            if story is null then
                for schema_name in select platform.outboxes() loop
                    execute format(
                        'select jsonb_build_object(''id'', d.job_id, ''tenant_id'', d.tenant_id, ''queue'', d.queue,
                            ''name'', d.name, ''is_scheduled'', false)
                         from %I.dead_job d where d.job_id = $1 limit 1', schema_name) into story using wanted;
                    exit when story is not null;
                end loop;
            end if;
            if story is null or not platform.may_serve(story ->> 'queue') then return null; end if;
            consumer := split_part(story ->> 'queue', '.', 1);
            tenant := (story ->> 'tenant_id')::bigint;
            select jsonb_build_object('tenant', t.slug, 'tenant_status', t.status) into part
            from platform.tenant t where t.tenant_id = tenant;
            story := story || coalesce(part, '{}');
            select jsonb_build_object('group', jsonb_build_object('remaining', g.remaining, 'failed', g.failed,
                'completion', g.name)) into part
            from platform.job_group g where g.tenant_id = tenant and g.id = (story ->> 'group_id')::uuid;
            story := story || coalesce(part, '{}');
            select jsonb_build_object('backlog_since', b.since) into part
            from platform.job_backlog b where b.tenant_id = tenant and b.queue = story ->> 'queue';
            story := story || coalesce(part, '{}');
            select jsonb_build_object('retry', jsonb_build_object('attempts', r.attempts, 'crashes', r.crashes,
                'due', r.due)) into part
            from platform.job_retry r where r.tenant_id = tenant and r.job_id = wanted;
            story := story || coalesce(part, '{}');
            if to_regclass(format('%I.inbox', consumer)) is null then return story; end if;
            execute format(
                'select jsonb_build_object(''outcome'', i.outcome, ''finished_at'', i.finished_at)
                 from %I.inbox i where i.job_id = $1 and i.tenant_id = $2', consumer) into part using wanted, tenant;
            story := story || coalesce(part, '{}');
            execute format(
                'select jsonb_build_object(''death'', to_jsonb(d) - ''tenant_id'' - ''job_id'' - ''queue'' - ''name'')
                 from %I.dead_job d where d.job_id = $1 and d.tenant_id = $2', consumer) into part using wanted, tenant;
            story := story || coalesce(part, '{}');
            execute format(
                'select jsonb_build_object(''status'', jsonb_build_object(''state'', s.state, ''done'', s.done,
                    ''total'', s.total, ''note'', s.note, ''started_at'', s.started_at))
                 from %I.job_status s where s.id = $1 and s.tenant_id = $2', consumer) into part using wanted, tenant;
            return story || coalesce(part, '{}');
        end $body$;

        -- How many jobs of its tenant stand before a job in the queue's backlog, counted up to `maximum`.
        create function platform.backlog_place(wanted_queue text, tenant bigint, wanted uuid, maximum int) returns bigint
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            schema_name text;
            consumer text := split_part(wanted_queue, '.', 1);
            first uuid;
            counted bigint;
            place bigint := 0;
        begin
            perform platform.require_queue(wanted_queue);
            select b.since into first from platform.job_backlog b where b.queue = wanted_queue and b.tenant_id = tenant;
            if first is null then return 0; end if;
            for schema_name in select platform.outboxes() loop
                execute format(
                    'select count(*) from (
                        select 1 from %I.outbox o
                        where o.id > %L and o.id < %L and o.queue = %L and o.tenant_id = %s and not exists (
                            select 1 from %I.inbox i where i.job_id = o.id and i.tenant_id = o.tenant_id
                            and i.job_id > %L and i.job_id < %L)
                        and not exists (
                            select 1 from platform.job_retry r where r.tenant_id = o.tenant_id and r.job_id = o.id)
                        limit %s) w',
                    schema_name, first, wanted, wanted_queue, tenant, consumer, first, wanted, maximum) into counted;
                place := place + counted;
            end loop;
            return place;
        end $body$;

        -- The dead of one queue that fit every filter given; those replayed only where they are asked for.
        create function platform.dead_jobs(wanted_queue text, only_tenant bigint, only_name text, only_code text,
            since timestamptz, until timestamptz, with_replayed boolean, oldest_first boolean, maximum int)
        returns table (tenant_id bigint, job_id uuid, queue text, name text, attempts int, crashes int, code text,
            error text, died_at timestamptz, replayed_as uuid, replayed_at timestamptz)
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $body$
        begin
            perform platform.require_queue(wanted_queue);
            if to_regclass(format('%I.dead_job', split_part(wanted_queue, '.', 1))) is null then return; end if;
            return query execute format(
                'select d.tenant_id, d.job_id, d.queue, d.name, d.attempts, d.crashes, d.code, d.error, d.died_at,
                    d.replayed_as, d.replayed_at
                 from %I.dead_job d
                 where d.queue = $1 and ($2 is null or d.tenant_id = $2) and ($3 is null or d.name = $3)
                 and ($4 is null or d.code = $4) and ($5 is null or d.died_at >= $5) and ($6 is null or d.died_at < $6)
                 and ($7 or d.replayed_at is null)
                 order by d.died_at %s, d.job_id limit $8',
                split_part(wanted_queue, '.', 1), case when oldest_first then 'asc' else 'desc' end)
            using wanted_queue, only_tenant, only_name, only_code, since, until, with_replayed, maximum;
        end $body$;

        -- Enqueues a dead job anew under a fresh id, once: the inbox knows the old one. It stays in its group, which may
        -- complete again, and goes to the end of its line. Gives `replayed`, or why not: `unknown`, `replayed_already`, `payload_gone`.
        create function platform.replay_job(wanted_queue text, tenant bigint, wanted uuid, fresh uuid) returns text
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            schema_name text;
            consumer text := split_part(wanted_queue, '.', 1);
            earlier uuid;
            is_dead boolean;
            waiting_group uuid;
            copied int;
        begin
            perform platform.require_queue(wanted_queue);
            if to_regclass(format('%I.dead_job', consumer)) is null then return 'unknown'; end if;
            execute format('select true, replayed_as from %I.dead_job
                where tenant_id = $1 and job_id = $2 and queue = $3 for update', consumer)
                into is_dead, earlier using tenant, wanted, wanted_queue;
            if is_dead is null then return 'unknown'; end if;
            if earlier is not null then return 'replayed_already'; end if;
            for schema_name in select platform.outboxes() loop
                execute format(
                    'with gone as (select * from %I.outbox where id = $2 and tenant_id = $1),
                     turn as materialized (
                        select case when serial_key is null then 0
                            else platform.take_turn(tenant_id, queue, serial_key, $3) end as position
                        from gone),
                     waiting as (
                        insert into platform.serial_job (id, tenant_id, queue, name, payload, priority, max_attempts,
                            timeout_seconds, cost, is_tracked, traceparent, expiry, group_id, serial_key, position)
                        select $3, tenant_id, queue, name, payload, priority, max_attempts, timeout_seconds,
                            cost, is_tracked, traceparent, expiry, group_id, serial_key, position
                        from gone, turn where position > 0),
                     written as (
                        insert into %I.outbox (id, tenant_id, queue, name, payload, priority, max_attempts,
                            timeout_seconds, cost, is_tracked, traceparent, expiry, group_id, by_tenant, serial_key)
                        select $3, tenant_id, queue, name, payload, priority, max_attempts, timeout_seconds,
                            cost, is_tracked, traceparent, expiry, group_id, by_tenant, serial_key
                        from gone, turn where position = 0)
                     select group_id from gone', schema_name, schema_name)
                    into waiting_group using tenant, wanted, fresh;
                get diagnostics copied = row_count;
                exit when copied > 0;
            end loop;
            if copied is distinct from 1 then return 'payload_gone'; end if;
            execute format('update %I.dead_job set replayed_as = $3, replayed_at = now()
                where tenant_id = $1 and job_id = $2', consumer) using tenant, wanted, fresh;
            execute format(
                'insert into %I.job_status (tenant_id, id, name, total, note, user_id)
                 select tenant_id, $3, name, total, note, user_id from %I.job_status where tenant_id = $1 and id = $2',
                consumer, consumer) using tenant, wanted, fresh;
            update platform.job_group g set failed = greatest(0, g.failed - 1)
            where g.tenant_id = tenant and g.id = waiting_group;
            return 'replayed';
        end $body$;

        -- Withdraws a job that lies too far ahead for Redis, or makes it due now. False where it is not scheduled.
        create function platform.change_scheduled(wanted_queue text, tenant bigint, wanted uuid, withdrawn boolean)
        returns boolean
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            schema_name text;
            waiting_group uuid;
            changed int;
        begin
            perform platform.require_queue(wanted_queue);
            for schema_name in select platform.outboxes() loop
                execute format(
                    case when withdrawn
                        then 'delete from %I.scheduled_job where tenant_id = $1 and id = $2 and queue = $3
                            returning group_id'
                        else 'update %I.scheduled_job set run_at = now() where tenant_id = $1 and id = $2
                            and queue = $3 returning group_id' end, schema_name)
                    into waiting_group using tenant, wanted, wanted_queue;
                get diagnostics changed = row_count;
                exit when changed > 0;
            end loop;
            if withdrawn and waiting_group is not null then
                update platform.job_group g set failed = g.failed + 1 where g.tenant_id = tenant and g.id = waiting_group;
            end if;
            return coalesce(changed, 0) > 0;
        end $body$;

        create function platform.set_queue_paused(wanted_queue text, paused boolean) returns void
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
        begin
            perform platform.require_queue(wanted_queue);
            insert into platform.queue_setting (queue, is_paused) values (wanted_queue, paused)
            on conflict (queue) do update set is_paused = excluded.is_paused;
        end $body$;

        create function platform.set_queue_share(tenant bigint, wanted_queue text, weight double precision, cap int,
            rate double precision, burst double precision) returns void
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
        begin
            perform platform.require_queue(wanted_queue);
            insert into platform.queue_share as s (tenant_id, queue, weight, cap, rate, burst)
            values (tenant, wanted_queue, set_queue_share.weight, set_queue_share.cap, set_queue_share.rate,
                set_queue_share.burst)
            on conflict (tenant_id, queue) do update set weight = excluded.weight, cap = excluded.cap,
                rate = excluded.rate, burst = excluded.burst;
        end $body$;

        -- Slugs and states of tenants, by number or slug: what operators call those whose jobs they see.
        create function platform.name_tenants(wanted bigint[], wanted_slug text)
        returns table (tenant_id bigint, slug text, status text)
        language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
            select t.tenant_id, t.slug, t.status from platform.tenant t
            where t.tenant_id = any (wanted) or t.slug = wanted_slug
        $body$;

        alter function platform.queue_figures(text, int) owner to guanxi_across;
        alter function platform.describe_job(uuid) owner to guanxi_across;
        alter function platform.backlog_place(text, bigint, uuid, int) owner to guanxi_across;
        alter function platform.dead_jobs(text, bigint, text, text, timestamptz, timestamptz, boolean, boolean, int)
            owner to guanxi_across;
        alter function platform.replay_job(text, bigint, uuid, uuid) owner to guanxi_across;
        alter function platform.change_scheduled(text, bigint, uuid, boolean) owner to guanxi_across;
        alter function platform.set_queue_paused(text, boolean) owner to guanxi_across;
        alter function platform.set_queue_share(bigint, text, double precision, int, double precision, double precision)
            owner to guanxi_across;
        alter function platform.name_tenants(bigint[], text) owner to guanxi_across;
        revoke all on all functions in schema platform from public;
        grant execute on function platform.require_queue(text), platform.outboxes() to guanxi_across;
        grant execute on function platform.queue_figures(text, int), platform.describe_job(uuid),
            platform.backlog_place(text, bigint, uuid, int),
            platform.dead_jobs(text, bigint, text, text, timestamptz, timestamptz, boolean, boolean, int),
            platform.replay_job(text, bigint, uuid, uuid), platform.change_scheduled(text, bigint, uuid, boolean),
            platform.set_queue_paused(text, boolean),
            platform.set_queue_share(bigint, text, double precision, int, double precision, double precision),
            platform.name_tenants(bigint[], text) to guanxi_service;
        """#)
}

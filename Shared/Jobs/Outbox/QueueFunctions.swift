import Database

extension JobsSchema {
    /// What reaches across schemas, in `platform`: jobs that no inbox knows, long payloads, subscriptions to events.
    package static let queueFunctions = Migration(
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

        -- The id that a job goes on with: its own, or a fresh one where the day of its own may be gone before it is done.
        -- Who tracks a job knows it by its id, so that one is kept for as long as can be.
        create function platform.lasting_id(id uuid, is_tracked boolean) returns uuid
        language sql volatile set search_path = pg_catalog as $body$
            select case
                when id < platform.uuid_lower_bound(now() - interval '7 days')
                    or (not is_tracked and id < platform.uuid_lower_bound(now() - interval '1 day'))
                then platform.uuid_now() else id end
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

        -- The jobs addressed to one queue, from every service's outbox, with ids in (after_id, to_id], that its
        -- service's inbox does not know and of which no try was put off: what must run again when Redis has forgotten,
        -- and what waits for room there.
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
                     where o.id > %L and o.id <= %L and o.queue = %L %s and not exists (
                        select 1 from %I.inbox i where i.job_id = o.id and i.tenant_id = o.tenant_id
                        and i.job_id > %L and i.job_id <= %L)
                     and not exists (
                        select 1 from platform.job_retry r where r.tenant_id = o.tenant_id and r.job_id = o.id)
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
            platform.job_payload(text, uuid, bigint), platform.lasting_id(uuid, boolean)
            to guanxi_service;
        grant execute on function platform.uuid_lower_bound(timestamptz), platform.uuid_now(),
            platform.may_serve(text), platform.lasting_id(uuid, boolean) to guanxi_across;
        """#)
}

import Database

extension JobsSchema {
    /// What the platform knows of queues beyond their jobs: which tenants have a backlog, what each may do, which queues
    /// are paused, and how many members of a group are outstanding.
    package static let queueTables = Migration(
        "M0005CreateQueueTables",
        #"""
        create table platform.job_backlog (
            tenant_id bigint not null references platform.tenant on delete cascade,
            queue text not null,
            since uuid not null,
            primary key (tenant_id, queue)
        );
        comment on table platform.job_backlog is
            'From this id on jobs of the tenant for the queue may not be in Redis: its window there was full.';
        select platform.secure_table('platform.job_backlog', '');
        grant select, insert, update, delete on platform.job_backlog to guanxi_across;

        create table platform.queue_share (
            tenant_id bigint not null references platform.tenant on delete cascade,
            queue text not null,
            weight double precision not null default 1 check (weight > 0 and weight <= 1000),
            cap int not null default 0 check (cap >= 0),
            rate double precision not null default 0 check (rate >= 0),
            burst double precision not null default 0 check (burst >= 0),
            primary key (tenant_id, queue)
        );
        comment on table platform.queue_share is
            'What a tenant may do in a queue, or by * in each: share of running time, jobs at once, starts per second.';
        select platform.secure_table('platform.queue_share', '');
        grant select on platform.queue_share to guanxi_across;

        create table platform.queue_setting (
            queue text primary key,
            is_paused boolean not null default false
        );
        comment on table platform.queue_setting is 'What operators have set of a queue. Holds no tenant data.';
        grant select on platform.queue_setting to guanxi_across;

        create table platform.job_group (
            tenant_id bigint not null references platform.tenant on delete cascade,
            id uuid not null,
            remaining int not null,
            failed int not null default 0,
            -- The completion: enqueued by whichever member ends last.
            job_id uuid not null,
            queue text not null,
            name text not null,
            payload text not null,
            priority smallint not null,
            max_attempts int not null,
            timeout_seconds int not null,
            cost real not null,
            is_tracked boolean not null,
            traceparent text,
            run_at timestamptz,
            expiry real not null,
            serial_key text check (octet_length(serial_key) between 1 and 500),
            next_group uuid,
            created_at timestamptz not null default now(),
            primary key (tenant_id, id)
        );
        select platform.secure_table('platform.job_group', '');
        grant select, insert, update, delete on platform.job_group to guanxi_service, guanxi_across;

        create table platform.serial_line (
            tenant_id bigint not null references platform.tenant on delete cascade,
            queue text not null,
            serial_key text not null check (octet_length(serial_key) between 1 and 500),
            job_id uuid not null,
            -- How many have stood behind it since the line began: the next one's position.
            last bigint not null default 0,
            primary key (tenant_id, queue, serial_key),
            unique (tenant_id, job_id)
        );
        comment on table platform.serial_line is 'Whose turn it is among the jobs of one key, which run one at a time.';

        create table platform.serial_job (
            tenant_id bigint not null references platform.tenant on delete cascade,
            queue text not null,
            serial_key text not null,
            position bigint not null,
            id uuid not null,
            name text not null,
            payload text not null,
            priority smallint not null,
            max_attempts int not null,
            timeout_seconds int not null,
            cost real not null,
            is_tracked boolean not null,
            run_at timestamptz,
            traceparent text,
            expiry real not null,
            group_id uuid,
            created_at timestamptz not null default now(),
            primary key (tenant_id, queue, serial_key, position),
            unique (tenant_id, id)
        );
        create index on platform.serial_job (queue);
        comment on table platform.serial_job is 'Jobs behind another of their key, in the order of their commits.';
        select platform.secure_table('platform.serial_line', '');
        select platform.secure_table('platform.serial_job', '');
        grant select, insert, update, delete on platform.serial_line, platform.serial_job
            to guanxi_service, guanxi_across;

        -- Takes a place in a key's line for a job: 0, its turn, where nobody has it, or the position behind the others.
        -- The line stays locked until the transaction ends, so that positions are in the order of commits.
        create function platform.take_turn(tenant bigint, wanted_queue text, wanted_key text, job uuid) returns bigint
        language sql volatile set search_path = pg_catalog, pg_temp as $body$
            insert into platform.serial_line as l (tenant_id, queue, serial_key, job_id)
            values (tenant, wanted_queue, wanted_key, job)
            on conflict (tenant_id, queue, serial_key) do update set last = l.last + 1
            returning l.last
        $body$;

        -- Ends a job's turn, or takes it out of the line before its turn came. Gives the next of its key, which is
        -- written into the consumer's outbox; nothing where none waits, or the turn is another's.
        create function platform.end_turn(tenant bigint, job uuid, consumer text) returns setof platform.serial_job
        language plpgsql volatile set search_path = pg_catalog, pg_temp as $body$
        declare
            line platform.serial_line;
            successor platform.serial_job;
        begin
            select s.* into successor from platform.serial_job s where s.tenant_id = tenant and s.id = job;
            if found then
                select l.* into line from platform.serial_line l
                where l.tenant_id = tenant and l.queue = successor.queue and l.serial_key = successor.serial_key
                for update;
                if line.job_id <> job then
                    delete from platform.serial_job s where s.tenant_id = tenant and s.id = job;
                    return;
                end if;
            else
                select l.* into line from platform.serial_line l where l.tenant_id = tenant and l.job_id = job for update;
                if not found then return; end if;
            end if;
            delete from platform.serial_job s
            where s.tenant_id = tenant and s.queue = line.queue and s.serial_key = line.serial_key and s.position = (
                select min(f.position) from platform.serial_job f
                where f.tenant_id = tenant and f.queue = line.queue and f.serial_key = line.serial_key)
            returning s.* into successor;
            if not found then
                delete from platform.serial_line l
                where l.tenant_id = tenant and l.queue = line.queue and l.serial_key = line.serial_key;
                return;
            end if;
            successor.id := platform.lasting_id(successor.id, successor.is_tracked);
            update platform.serial_line l set job_id = successor.id
            where l.tenant_id = tenant and l.queue = line.queue and l.serial_key = line.serial_key;
            execute format(
                'insert into %I.outbox (id, tenant_id, queue, name, payload, priority, max_attempts, timeout_seconds,
                    cost, is_tracked, run_at, traceparent, expiry, group_id, serial_key)
                 select ($1).id, ($1).tenant_id, ($1).queue, ($1).name, ($1).payload, ($1).priority, ($1).max_attempts,
                    ($1).timeout_seconds, ($1).cost, ($1).is_tracked, ($1).run_at, ($1).traceparent, ($1).expiry,
                    ($1).group_id, ($1).serial_key', consumer) using successor;
            return next successor;
        end $body$;

        -- Notes from which id on each tenant's jobs found no room. The row is locked also where it stays as it is:
        -- whoever empties the backlog at the same time is waited for.
        create function platform.note_backlog(wanted_queue text, tenants bigint[], since uuid[]) returns void
        language sql volatile security definer set search_path = pg_catalog, pg_temp as $body$
            insert into platform.job_backlog as b (tenant_id, queue, since)
            select t, wanted_queue, s from unnest(tenants, since) as n (t, s)
            where exists (select 1 from platform.tenant k where k.tenant_id = t)
            order by t
            on conflict (tenant_id, queue) do update set since = excluded.since where b.since > excluded.since
        $body$;

        create function platform.backlog_tenants(wanted_queue text) returns table (tenant_id bigint)
        language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
            select b.tenant_id from platform.job_backlog b
            where b.queue = wanted_queue and platform.may_serve(wanted_queue) order by b.since
        $body$;

        -- Where a tenant's backlog begins, locked; nothing where there is none, or another worker is at it.
        create function platform.lock_backlog(wanted_queue text, tenant bigint) returns uuid
        language sql volatile security definer set search_path = pg_catalog, pg_temp as $body$
            select b.since from platform.job_backlog b
            where b.queue = wanted_queue and b.tenant_id = tenant and platform.may_serve(wanted_queue)
            for update skip locked
        $body$;

        -- Moves the beginning of a tenant's backlog, or ends it.
        create function platform.move_backlog(wanted_queue text, tenant bigint, reached uuid) returns void
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
        begin
            if not platform.may_serve(wanted_queue) then
                raise exception 'queue % is not this service''s', wanted_queue using errcode = '42501';
            end if;
            if reached is null then
                delete from platform.job_backlog b where b.queue = wanted_queue and b.tenant_id = tenant;
            else
                update platform.job_backlog b set since = reached
                where b.queue = wanted_queue and b.tenant_id = tenant and b.since < reached;
            end if;
        end $body$;

        -- The shares in one queue: the queue's own before those for all, before the tenant's weight everywhere; and
        -- nothing at all for a tenant that is not active.
        create function platform.queue_shares(wanted_queue text)
        returns table (tenant_id bigint, weight double precision, cap int, rate double precision,
            burst double precision, is_held boolean)
        language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
            select t.tenant_id, coalesce(s.weight, t.weight), coalesce(s.cap, 0), coalesce(s.rate, 0), coalesce(s.burst, 0),
                t.status <> 'active'
            from platform.tenant t left join lateral (
                select q.* from platform.queue_share q
                where q.tenant_id = t.tenant_id and q.queue in (wanted_queue, '*') order by q.queue = '*' limit 1) s on true
            where s.tenant_id is not null or t.status <> 'active' or t.weight <> 1
            union all
            -- What still comes of a tenant that is gone is held too, until it is forgotten.
            select e, 1, 0, 0, 0, true from platform.erased_tenants() e
            where not exists (select from platform.tenant t where t.tenant_id = e)
        $body$;

        -- What each tenant pays for: metrics tell tenants apart by it.
        create function platform.tenant_plans() returns table (tenant_id bigint, plan text)
        language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
            select t.tenant_id, t.plan from platform.tenant t
        $body$;

        create function platform.is_queue_paused(wanted_queue text) returns boolean
        language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
            select coalesce((select s.is_paused from platform.queue_setting s where s.queue = wanted_queue), false)
        $body$;

        -- Counts one member of a group as ended well. Gives the completion once, to the last, and the group is gone. What
        -- the completion may wait counts from now: before, it could not begin.
        create function platform.end_in_group(tenant bigint, wanted uuid)
        returns table (id uuid, tenant_id bigint, queue text, name text, payload text, priority smallint,
            max_attempts int, timeout_seconds int, cost real, is_tracked boolean, traceparent text, run_at timestamptz,
            expiry real, serial_key text, group_id uuid)
        language sql volatile set search_path = pg_catalog, pg_temp as $body$
            update platform.job_group g set remaining = g.remaining - 1 where g.tenant_id = tenant and g.id = wanted;
            delete from platform.job_group g
            where g.tenant_id = tenant and g.id = wanted and g.remaining <= 0
            returning platform.lasting_id(g.job_id, g.is_tracked), g.tenant_id, g.queue, g.name, g.payload, g.priority,
                g.max_attempts, g.timeout_seconds, g.cost, g.is_tracked, g.traceparent,
                case when g.expiry > 0 then greatest(g.run_at, now()) else g.run_at end, g.expiry, g.serial_key,
                g.next_group
        $body$;

        create function platform.fail_in_group(tenant bigint, wanted uuid) returns void
        language sql volatile set search_path = pg_catalog, pg_temp as $body$
            update platform.job_group g set failed = g.failed + 1 where g.tenant_id = tenant and g.id = wanted
        $body$;

        alter function platform.note_backlog(text, bigint[], uuid[]) owner to guanxi_across;
        alter function platform.backlog_tenants(text) owner to guanxi_across;
        alter function platform.lock_backlog(text, bigint) owner to guanxi_across;
        alter function platform.move_backlog(text, bigint, uuid) owner to guanxi_across;
        alter function platform.queue_shares(text) owner to guanxi_across;
        alter function platform.tenant_plans() owner to guanxi_across;
        alter function platform.is_queue_paused(text) owner to guanxi_across;
        revoke all on all functions in schema platform from public;
        grant execute on function platform.note_backlog(text, bigint[], uuid[]), platform.backlog_tenants(text),
            platform.lock_backlog(text, bigint), platform.move_backlog(text, bigint, uuid),
            platform.queue_shares(text), platform.tenant_plans(), platform.is_queue_paused(text), platform.end_in_group(bigint, uuid),
            platform.fail_in_group(bigint, uuid), platform.end_turn(bigint, uuid, text) to guanxi_service;
        grant execute on function platform.take_turn(bigint, text, text, uuid) to guanxi_service, guanxi_across;
        """#)
}

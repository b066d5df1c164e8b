import Database

extension JobsSchema {
    /// Where jobs that failed wait for a try that is a while off, and what workers and operators ask of it.
    package static let retryTables = Migration(
        "M0008CreateJobRetries",
        #"""
        create table platform.job_retry (
            tenant_id bigint not null references platform.tenant on delete cascade,
            job_id uuid not null,
            queue text not null,
            name text not null,
            -- The schema whose outbox holds the job.
            origin text not null,
            attempts smallint not null,
            crashes smallint not null,
            runs_alone boolean not null,
            due timestamptz not null,
            primary key (tenant_id, job_id)
        );
        create index on platform.job_retry (queue, due);
        comment on table platform.job_retry is
            'Failed jobs whose next try is a while off: Redis does not hold them, its window is for what can run.';
        select platform.secure_table('platform.job_retry', '');
        grant select, insert, update, delete on platform.job_retry to guanxi_service, guanxi_across;

        -- The tries of one queue that are due before `horizon`, the first ones first, locked until the transaction ends;
        -- those of jobs that are over meanwhile are forgotten. None only where there is none.
        create function platform.due_retries(wanted_queue text, horizon timestamptz, maximum int)
        returns table (id uuid, tenant_id bigint, origin text, name text, payload text, priority smallint,
            max_attempts int, timeout_seconds int, cost real, is_tracked boolean, run_at timestamptz, traceparent text,
            expiry real, group_id uuid, serial_key text, attempts smallint, crashes smallint, runs_alone boolean,
            wait double precision)
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
        set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $body$
        declare
            near platform.job_retry[];
            schema_name text;
            given boolean := false;
        begin
            perform platform.require_queue(wanted_queue);
            while not given loop
                near := array(
                    select r from platform.job_retry r where r.queue = wanted_queue and r.due < horizon
                    order by r.due limit maximum for update skip locked);
                exit when cardinality(near) = 0;
                for schema_name in select distinct n.origin from unnest(near) n loop
                    execute format(
                        'delete from platform.job_retry r using unnest($1) n
                         where n.origin = %L and r.tenant_id = n.tenant_id and r.job_id = n.job_id and (
                            exists (select from %I.inbox i where i.job_id = n.job_id and i.tenant_id = n.tenant_id)
                            or not exists (
                                select from %I.outbox o where o.id = n.job_id and o.tenant_id = n.tenant_id))',
                        schema_name, split_part(wanted_queue, '.', 1), schema_name) using near;
                    return query execute format(
                        'select o.id, o.tenant_id, n.origin, o.name, o.payload, o.priority, o.max_attempts,
                            o.timeout_seconds, o.cost, o.is_tracked, o.run_at, o.traceparent, o.expiry, o.group_id,
                            o.serial_key, n.attempts, n.crashes, n.runs_alone,
                            extract(epoch from n.due - now())::double precision
                         from unnest($1) n
                         join platform.job_retry r on r.tenant_id = n.tenant_id and r.job_id = n.job_id
                         join %I.outbox o on o.id = n.job_id and o.tenant_id = n.tenant_id
                         where n.origin = %L', schema_name, schema_name) using near;
                    given := given or found;
                end loop;
            end loop;
        end $body$;

        -- Says what became of tries that `due_retries` gave: Redis has them now, and they are forgotten here, or they are
        -- looked at again after so many seconds.
        create function platform.end_retries(
            wanted_queue text, tenants bigint[], jobs uuid[], again double precision[])
        returns void
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
        begin
            perform platform.require_queue(wanted_queue);
            delete from platform.job_retry r using unnest(tenants, jobs, again) as n (tenant, job, again)
            where n.again is null and r.tenant_id = n.tenant and r.job_id = n.job and r.queue = wanted_queue;
            update platform.job_retry r set due = now() + make_interval(secs => n.again)
            from unnest(tenants, jobs, again) as n (tenant, job, again)
            where n.again is not null and r.tenant_id = n.tenant and r.job_id = n.job and r.queue = wanted_queue;
        end $body$;

        -- Makes a try due now. False where the job waits for none here.
        create function platform.hasten_retry(wanted_queue text, tenant bigint, wanted uuid) returns boolean
        language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
        begin
            perform platform.require_queue(wanted_queue);
            update platform.job_retry r set due = now()
            where r.tenant_id = tenant and r.job_id = wanted and r.queue = wanted_queue;
            return found;
        end $body$;

        -- The tries of one queue that are a while off, the first ones first.
        create function platform.waiting_retries(wanted_queue text, only_tenant bigint, only_name text, maximum int)
        returns table (tenant_id bigint, job_id uuid, name text, attempts smallint, crashes smallint, due timestamptz)
        language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $body$
        begin
            perform platform.require_queue(wanted_queue);
            return query
                select r.tenant_id, r.job_id, r.name, r.attempts, r.crashes, r.due from platform.job_retry r
                where r.queue = wanted_queue and (only_tenant is null or r.tenant_id = only_tenant)
                and (only_name is null or r.name = only_name)
                order by r.due limit maximum;
        end $body$;

        alter function platform.due_retries(text, timestamptz, int) owner to guanxi_across;
        alter function platform.end_retries(text, bigint[], uuid[], double precision[]) owner to guanxi_across;
        alter function platform.hasten_retry(text, bigint, uuid) owner to guanxi_across;
        alter function platform.waiting_retries(text, bigint, text, int) owner to guanxi_across;
        revoke all on all functions in schema platform from public;
        grant execute on function platform.due_retries(text, timestamptz, int),
            platform.end_retries(text, bigint[], uuid[], double precision[]),
            platform.hasten_retry(text, bigint, uuid), platform.waiting_retries(text, bigint, text, int)
            to guanxi_service;
        """#)
}

-- The session settings of Guanxi's connections, given to the roles of its services: for connections through PgBouncer,
-- which does not pass them on. As a superuser, after the first `guanxi migrate`; safe to repeat. Connections without
-- PgBouncer send the same values themselves.
do $$
declare
    service name;
    setting text[];
begin
    for service in
        select r.rolname from pg_roles r
        join pg_auth_members m on m.member = r.oid
        join pg_roles g on g.oid = m.roleid
        where g.rolname = 'guanxi_service'
    loop
        foreach setting slice 1 in array array[
            ['statement_timeout', '30s'],
            -- A worker that stopped must not hold its locks, and its claim on a job, for ever.
            ['idle_in_transaction_session_timeout', '20s'],
            ['TimeZone', 'UTC'],
            ['DateStyle', 'ISO, YMD'],
            ['IntervalStyle', 'iso_8601'],
            ['bytea_output', 'hex'],
            ['extra_float_digits', '1'],
            ['jit', 'off'],
            ['plan_cache_mode', 'force_generic_plan'],
            ['max_parallel_workers_per_gather', '0'],
            ['enable_seqscan', 'off']
        ] loop
            execute format('alter role %I set %I = %L', service, setting[1], setting[2]);
        end loop;
    end loop;
end $$;

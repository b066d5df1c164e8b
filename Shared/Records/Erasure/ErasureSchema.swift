/// The SQL of taking a person's values out of what is only ever added to: the history and the outbox.
enum ErasureSchema {
    /// Under what the history keeps an erasure's own entries.
    static let recordType = "erasure"

    /// What a batch of redactions comes to, over all its rows.
    static let root = "encode(sha256(string_agg(digest, ''::bytea order by record_type, record_id, version)), 'hex')"

    static let redactions = """
        -- Which entries of the history an erasure took a person's values from, with a digest of what is left of each.
        create table SCHEMA.history_redaction (
            tenant_id bigint not null,
            record_type text not null,
            record_id uuid not null,
            version bigint not null,
            erasure_id uuid not null,
            batch bigint not null,
            at timestamptz not null default clock_timestamp(),
            digest bytea not null,
            primary key (tenant_id, record_type, record_id, version, erasure_id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('SCHEMA.history_redaction', 'select');
        create index on SCHEMA.history_redaction (tenant_id, erasure_id, batch);
        grant select, insert, update on SCHEMA.history to guanxi_across;
        grant select, insert on SCHEMA.history_redaction to guanxi_across;
        """

    static let functions = """
        -- Puts pseudonyms, by field, in place of what the records' entries say of these fields, and writes down what it
        -- did: rows of history_redaction, and an entry of the erasure's own that covers them. Gives how many entries.
        create function SCHEMA.redact_history(erasure uuid, who text, request text, redacted_type text, ids uuid[],
            pseudonyms jsonb) returns bigint
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            tenant bigint := nullif(current_setting('app.tenant_id', true), '')::bigint;
            this_batch bigint;
            redacted bigint;
            batch_root text;
        begin
            select coalesce(max(h.version), 0) + 1 into this_batch from SCHEMA.history h
            where h.tenant_id = tenant and h.record_type = '\(recordType)' and h.record_id = erasure;
            with emptied as (
                update SCHEMA.history h set salt = null, changes = (
                    select jsonb_object_agg(c.key, case when pseudonyms ? c.key then jsonb_build_object(
                        'from', case jsonb_typeof(c.value -> 'from') when 'null' then 'null' else pseudonyms -> c.key end,
                        'to', case jsonb_typeof(c.value -> 'to') when 'null' then 'null' else pseudonyms -> c.key end)
                        else c.value end)
                    from jsonb_each(h.changes::jsonb) c)::json
                where h.tenant_id = tenant and h.record_type = redacted_type and h.record_id = any (ids)
                and h.changes::jsonb ?| array(select jsonb_object_keys(pseudonyms))
                and not exists (
                    select 1 from SCHEMA.history_redaction r where r.tenant_id = tenant
                    and r.record_type = h.record_type and r.record_id = h.record_id and r.version = h.version
                    and r.erasure_id = erasure)
                returning h.*
            ), noted as (
                insert into SCHEMA.history_redaction (tenant_id, record_type, record_id, version, erasure_id, batch, digest)
                select e.tenant_id, e.record_type, e.record_id, e.version, erasure, this_batch,
                    \(HistoryChain.redactedDigest(erasure: "erasure"))
                from emptied e
                returning record_type, record_id, version, digest
            )
            select count(*), \(root) into redacted, batch_root from noted;
            if redacted > 0 then
                insert into SCHEMA.history (tenant_id, record_type, record_id, version, at, actor, request_id,
                    change_set, operation, changes, salt, digest)
                select e.*, \(HistoryChain.digest(previous: """
            (select p.digest from SCHEMA.history p where p.tenant_id = e.tenant_id
                and p.record_type = e.record_type and p.record_id = e.record_id and p.version = e.version - 1)
            """))
                from (
                    select tenant, '\(recordType)', erasure, this_batch, clock_timestamp(), who, request, erasure,
                        'redact', json_build_object('redacted', json_build_object('from', null, 'to', redacted),
                            'root', json_build_object('from', null, 'to', batch_root)), uuid_send(gen_random_uuid())
                ) e (tenant_id, record_type, record_id, version, at, actor, request_id, change_set, operation, changes,
                    salt);
            end if;
            return redacted;
        end $body$;

        -- Empties the payloads of jobs that are done and speak of somebody. Gives how many, and how many such jobs are
        -- still to run; those named `spared` count for neither.
        create function SCHEMA.redact_payloads(patterns text[], spared text, out redacted bigint, out waiting bigint)
        language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
        declare
            tenant bigint := nullif(current_setting('app.tenant_id', true), '')::bigint;
            job record;
            is_done boolean;
        begin
            redacted := 0;
            waiting := 0;
            for job in
                select o.id, split_part(o.queue, '.', 1) as service from SCHEMA.outbox o
                where o.tenant_id = tenant and o.name <> spared and lower(o.payload) like any (patterns)
            loop
                is_done := false;
                if to_regclass(format('%I.inbox', job.service)) is not null then
                    execute format('select exists (select 1 from %I.inbox where job_id = $1 and tenant_id = $2)',
                        job.service) into is_done using job.id, tenant;
                end if;
                if is_done then
                    update SCHEMA.outbox set payload = '{}' where id = job.id and tenant_id = tenant;
                    redacted := redacted + 1;
                else
                    waiting := waiting + 1;
                end if;
            end loop;
        end $body$;

        grant update on SCHEMA.outbox to guanxi_across;
        alter function SCHEMA.redact_history(uuid, text, text, text, uuid[], jsonb) owner to guanxi_across;
        alter function SCHEMA.redact_payloads(text[], text) owner to guanxi_across;
        revoke all on function SCHEMA.redact_history(uuid, text, text, text, uuid[], jsonb) from public;
        revoke all on function SCHEMA.redact_payloads(text[], text) from public;
        grant execute on function SCHEMA.redact_history(uuid, text, text, text, uuid[], jsonb) to guanxi_SCHEMA;
        grant execute on function SCHEMA.redact_payloads(text[], text) to guanxi_SCHEMA;

        """
}

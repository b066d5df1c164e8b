import Database

enum M0002CreateFacts {
    static let migration = Migration(
        "M0002CreateFacts",
        """
        create table analytics.fact (
            tenant_id bigint not null,
            kind text not null,
            id uuid not null,
            version bigint not null,
            contact_id uuid,
            at timestamptz not null,
            state text not null,
            amount bigint,
            currency text,
            measure float8,
            first_written_by xid8 not null default pg_current_xact_id(),
            primary key (tenant_id, kind, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('analytics.fact');
        create index on analytics.fact (tenant_id, contact_id) where kind <> 'contact';

        create table analytics.rollup_daily (
            tenant_id bigint not null,
            day date not null,
            metric text not null,
            currency text not null,
            count bigint not null,
            amount bigint not null,
            primary key (tenant_id, day, metric, currency)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('analytics.rollup_daily');

        create table analytics.customer (
            tenant_id bigint not null,
            contact_id uuid not null,
            sequence bigint not null,
            primary key (tenant_id, contact_id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('analytics.customer');
        """)
}

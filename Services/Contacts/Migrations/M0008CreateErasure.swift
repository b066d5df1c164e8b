import Database

enum M0008CreateErasure {
    static let migration = Migration(
        "M0008CreateErasure",
        """
        create table contacts.erasure (
            tenant_id bigint not null,
            id uuid not null,
            contact_id uuid not null,
            contacts uuid[] not null,
            job_id uuid not null,
            actor text not null,
            reason text not null,
            requested_at timestamptz not null,
            -- What the person is known by, until all services have reported.
            traces jsonb,
            services text[],
            finished_at timestamptz,
            certificate jsonb,
            signature bytea,
            public_key bytea,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.erasure');
        create unique index on contacts.erasure (tenant_id, contact_id);

        create table contacts.erasure_report (
            tenant_id bigint not null,
            erasure_id uuid not null,
            service text not null,
            reported_at timestamptz not null,
            report jsonb not null,
            primary key (tenant_id, erasure_id, service),
            foreign key (tenant_id, erasure_id) references contacts.erasure
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.erasure_report');
        """)
}

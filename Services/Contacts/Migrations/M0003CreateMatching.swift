import Database

enum M0003CreateMatching {
    static let migration = Migration(
        "M0003CreateMatching",
        """
        -- Under which keys a contact can be found by whoever looks for its likes: some rows a contact, so that a look
        -- is a few steps down one tree, whatever the planner believes.
        create table contacts.match_key (
            tenant_id bigint not null,
            key bigint not null,
            contact_id uuid not null,
            primary key (tenant_id, key, contact_id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.match_key');
        create index on contacts.match_key (tenant_id, contact_id);

        create table contacts.match_state (
            tenant_id bigint not null,
            model jsonb,
            people bigint not null,
            scanned_at timestamptz,
            wanted_at timestamptz,
            scan_started_at timestamptz,
            primary key (tenant_id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.match_state');

        create table contacts.duplicate_pair (
            tenant_id bigint not null,
            left_id uuid not null,
            right_id uuid not null,
            score double precision not null,
            through_id uuid,
            scan_id uuid not null,
            found_at timestamptz not null,
            is_dismissed boolean not null default false,
            primary key (tenant_id, left_id, right_id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.duplicate_pair');
        create index on contacts.duplicate_pair (tenant_id, score, left_id, right_id) where not is_dismissed;
        create index on contacts.duplicate_pair (tenant_id, right_id);
        """)
}

import Database
import Records

enum M0006CreateTimeline {
    static let migration = Migration(
        "M0006CreateTimeline",
        """
        create table contacts.call_line (
            \(RecordsSchema.systemColumns),
            extension text not null,
            user_id uuid,
            name text,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.call_line');
        create unique index on contacts.call_line (tenant_id, extension) where deleted_at is null;
        create index on contacts.call_line (tenant_id, created_at, id) where deleted_at is null;

        create table contacts.call (
            \(RecordsSchema.systemColumns),
            call_id text not null,
            direction text,
            state text,
            caller text,
            callee text,
            number text,
            contact_id uuid,
            user_id uuid,
            agent_state text,
            agent_at timestamptz,
            ringing_at timestamptz,
            answered_at timestamptz,
            ended_at timestamptz,
            missed_at timestamptz,
            duration_seconds bigint,
            told_seconds bigint,
            activity_id uuid,
            primary key (tenant_id, id),
            foreign key (tenant_id, contact_id) references contacts.contact,
            foreign key (tenant_id, activity_id) references contacts.activity
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.call');
        create unique index on contacts.call (tenant_id, call_id) where deleted_at is null;
        create index on contacts.call (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.call (tenant_id, contact_id) where deleted_at is null and contact_id is not null;

        -- What passed between a customer and us, all services together: the newest version of each moment of a record.
        create table contacts.timeline_entry (
            tenant_id bigint not null,
            -- Of a record's first moment the record's own.
            id uuid not null,
            contact_id uuid,
            at timestamptz not null,
            kind text not null,
            service text not null,
            record_type text not null,
            record_id uuid not null,
            version bigint not null,
            title text,
            detail jsonb,
            owner_id uuid,
            team_id uuid,
            is_open boolean not null,
            is_deleted boolean not null,
            -- It is not so, or no longer: kept so that an older telling does not bring it back.
            is_void boolean not null,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.timeline_entry');
        create index on contacts.timeline_entry (tenant_id, contact_id, at desc, id desc) where not is_void;
        create index on contacts.timeline_entry (tenant_id, contact_id) where is_open;
        create index on contacts.timeline_entry (tenant_id, record_id) where id <> record_id;
        """)
}

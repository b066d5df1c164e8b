import Database
import Records

enum M0004CreatePlanner {
    static let migration = Migration(
        "M0004CreatePlanner",
        """
        create table contacts.relationship (
            \(RecordsSchema.systemColumns),
            contact_id uuid not null,
            kind text not null,
            other_contact_id uuid,
            organization_id uuid,
            since date,
            note text,
            primary key (tenant_id, id),
            foreign key (tenant_id, contact_id) references contacts.contact,
            foreign key (tenant_id, other_contact_id) references contacts.contact,
            foreign key (tenant_id, organization_id) references contacts.organization
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.relationship');
        create index on contacts.relationship (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.relationship (tenant_id, contact_id) where deleted_at is null;
        create index on contacts.relationship (tenant_id, other_contact_id)
            where deleted_at is null and other_contact_id is not null;

        create table contacts.task (
            \(RecordsSchema.systemColumns),
            subject text not null,
            note text,
            due_at timestamptz,
            priority text,
            assignee_id uuid,
            contact_id uuid,
            linked_type text,
            linked_id uuid,
            is_done boolean,
            done_at timestamptz,
            primary key (tenant_id, id),
            foreign key (tenant_id, contact_id) references contacts.contact
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.task');
        select platform.make_searchable('contacts.task');
        create index on contacts.task (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.task (tenant_id, assignee_id, due_at) where deleted_at is null;
        create index on contacts.task (tenant_id, contact_id) where deleted_at is null and contact_id is not null;

        create table contacts.appointment (
            \(RecordsSchema.systemColumns),
            subject text not null,
            starts_at timestamptz not null,
            ends_at timestamptz,
            place text,
            contact_id uuid,
            attendees jsonb,
            reminders jsonb,
            status text,
            outcome text,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, contact_id) references contacts.contact
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.appointment');
        select platform.make_searchable('contacts.appointment');
        create index on contacts.appointment (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.appointment (tenant_id, starts_at) where deleted_at is null;
        create index on contacts.appointment (tenant_id, contact_id) where deleted_at is null and contact_id is not null;
        create unique index on contacts.appointment (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table contacts.notification (
            \(RecordsSchema.systemColumns),
            user_id uuid,
            kind text not null,
            subject text not null,
            record_type text,
            record_id uuid,
            at timestamptz not null,
            is_read boolean,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.notification');
        create index on contacts.notification (tenant_id, user_id, at) where deleted_at is null;
        create index on contacts.notification (tenant_id, record_id) where deleted_at is null;
        """)
}

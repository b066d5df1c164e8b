import Database
import Records

enum M0005CreateCustomerCare {
    static let migration = Migration(
        "M0005CreateCustomerCare",
        """
        alter table contacts.contact
            add column channel_preference jsonb,
            add column lifecycle_stage text default 'prospect',
            add column lifecycle_group text default 'trial';
        -- Lists go through it, newest first: what they are often filtered by stands in it.
        create index on contacts.contact (tenant_id, created_at, id)
            include (industry, region, likelihood_to_recommend, do_not_contact, lifecycle_stage)
            where deleted_at is null;
        alter table contacts.task add column channel text, add column purpose text;
        alter table contacts.activity add column purpose text;

        create table contacts.segment (
            \(RecordsSchema.systemColumns),
            name text not null,
            description text,
            kind text not null,
            filter jsonb,
            member_count bigint,
            refreshed_at timestamptz,
            state text,
            broken_because text,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.segment');
        select platform.make_searchable('contacts.segment');
        create index on contacts.segment (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.segment (tenant_id, name) where deleted_at is null;

        -- A row per stay: a contact that left and came back has two.
        create table contacts.segment_member (
            tenant_id bigint not null,
            segment_id uuid not null,
            contact_id uuid not null,
            joined_at timestamptz not null,
            joined_why text not null,
            joined_by text not null,
            segment_version bigint,
            merge_id uuid,
            left_at timestamptz,
            left_why text,
            left_by text,
            primary key (tenant_id, segment_id, contact_id, joined_at),
            foreign key (tenant_id, segment_id) references contacts.segment,
            foreign key (tenant_id, contact_id) references contacts.contact
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.segment_member');
        create unique index on contacts.segment_member (tenant_id, segment_id, contact_id) where left_at is null;
        create index on contacts.segment_member (tenant_id, contact_id, joined_at, segment_id);
        create index on contacts.segment_member (tenant_id, merge_id) where merge_id is not null;

        create table contacts.consent (
            \(RecordsSchema.systemColumns),
            contact_id uuid not null,
            channel text not null,
            purpose text not null,
            state text not null,
            at timestamptz not null,
            expires_at timestamptz,
            evidence text,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, contact_id) references contacts.contact
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.consent');
        create index on contacts.consent (tenant_id, at, id) where deleted_at is null;
        create index on contacts.consent (tenant_id, contact_id, channel, purpose, at) where deleted_at is null;
        create unique index on contacts.consent (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table contacts.loyalty_program (
            \(RecordsSchema.systemColumns),
            name text not null,
            status text,
            tiers jsonb,
            expiry_months bigint,
            source text,
            external_id text,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.loyalty_program');
        select platform.make_searchable('contacts.loyalty_program');
        create index on contacts.loyalty_program (tenant_id, created_at, id) where deleted_at is null;
        create unique index on contacts.loyalty_program (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table contacts.loyalty_account (
            \(RecordsSchema.systemColumns),
            contact_id uuid not null,
            program_id uuid not null,
            balance bigint not null default 0 check (balance >= 0),
            earned_12_months bigint not null default 0,
            tier text,
            superseded_by uuid,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, contact_id) references contacts.contact,
            foreign key (tenant_id, program_id) references contacts.loyalty_program,
            foreign key (tenant_id, superseded_by) references contacts.loyalty_account
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.loyalty_account');
        create index on contacts.loyalty_account (tenant_id, created_at, id) where deleted_at is null;
        create unique index on contacts.loyalty_account (tenant_id, contact_id, program_id)
            where deleted_at is null and superseded_by is null;
        create index on contacts.loyalty_account (tenant_id, program_id, id);
        create unique index on contacts.loyalty_account (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        -- What an entry adds and nobody has used yet is its own lot: remaining.
        create table contacts.loyalty_entry (
            \(RecordsSchema.systemColumns),
            account_id uuid not null,
            kind text not null,
            points bigint not null,
            balance_after bigint not null check (balance_after >= 0),
            at timestamptz not null,
            expires_at timestamptz,
            remaining bigint not null check (remaining >= 0),
            reason text,
            reference text,
            reverses_id uuid,
            lots jsonb,
            primary key (tenant_id, id),
            foreign key (tenant_id, account_id) references contacts.loyalty_account,
            foreign key (tenant_id, reverses_id) references contacts.loyalty_entry
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.loyalty_entry');
        create index on contacts.loyalty_entry (tenant_id, at, id) where deleted_at is null;
        create index on contacts.loyalty_entry (tenant_id, account_id, at, id);
        create index on contacts.loyalty_entry (tenant_id, account_id, at, id) where remaining > 0;
        create index on contacts.loyalty_entry (tenant_id, expires_at) where remaining > 0 and expires_at is not null;
        create unique index on contacts.loyalty_entry (tenant_id, account_id, reference) where reference is not null;
        create unique index on contacts.loyalty_entry (tenant_id, reverses_id) where reverses_id is not null;

        create table contacts.playbook (
            \(RecordsSchema.systemColumns),
            name text not null,
            stage text not null,
            status text,
            position bigint,
            actions jsonb,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.playbook');
        select platform.make_searchable('contacts.playbook');
        create index on contacts.playbook (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.playbook (tenant_id, stage, position) where deleted_at is null;

        create table contacts.lifecycle_change (
            tenant_id bigint not null,
            id uuid not null,
            contact_id uuid not null,
            from_stage text,
            to_stage text not null,
            sequence bigint not null,
            rule text not null,
            figures jsonb not null,
            computed_at timestamptz not null,
            at timestamptz not null,
            primary key (tenant_id, id),
            foreign key (tenant_id, contact_id) references contacts.contact
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.lifecycle_change');
        create unique index on contacts.lifecycle_change (tenant_id, contact_id, sequence);

        create table contacts.playbook_run (
            tenant_id bigint not null,
            change_id uuid not null,
            playbook_id uuid not null,
            playbook_version bigint not null,
            at timestamptz not null,
            actions jsonb not null,
            primary key (tenant_id, change_id, playbook_id),
            foreign key (tenant_id, change_id) references contacts.lifecycle_change,
            foreign key (tenant_id, playbook_id) references contacts.playbook
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.playbook_run');
        """)
}

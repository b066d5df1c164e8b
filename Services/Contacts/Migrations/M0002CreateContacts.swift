import Database
import Records

enum M0002CreateContacts {
    static let migration = Migration(
        "M0002CreateContacts",
        """
        create table contacts.organization (
            \(RecordsSchema.systemColumns),
            name text not null,
            domains jsonb,
            industry text,
            size bigint,
            parent_id uuid,
            party_type text,
            website text,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, parent_id) references contacts.organization
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.organization');
        select platform.make_searchable('contacts.organization');
        create index on contacts.organization (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.organization (tenant_id, lower(name)) where deleted_at is null;
        create unique index on contacts.organization (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table contacts.contact (
            \(RecordsSchema.systemColumns),
            given_name text,
            family_name text,
            display_name text,
            birth_date date,
            job_title text,
            industry text,
            occupation text,
            region text,
            organization_id uuid,
            emails jsonb,
            phones jsonb,
            socials jsonb,
            addresses jsonb,
            identifiers jsonb,
            needs jsonb,
            risk_attitude text,
            likelihood_to_repurchase bigint,
            likelihood_to_recommend bigint,
            do_not_contact boolean,
            quality_score bigint,
            merged_into uuid,
            merge_id uuid,
            erased_at timestamptz,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, organization_id) references contacts.organization,
            foreign key (tenant_id, merged_into) references contacts.contact
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.contact');
        select platform.make_searchable('contacts.contact');
        create index on contacts.contact (tenant_id, organization_id) where deleted_at is null and organization_id is not null;
        create index on contacts.contact (tenant_id, family_name) where deleted_at is null;
        create unique index on contacts.contact (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table contacts.activity (
            \(RecordsSchema.systemColumns),
            contact_id uuid not null,
            kind text not null,
            direction text,
            subject text,
            body text,
            occurred_at timestamptz not null,
            duration_seconds bigint,
            outcome text,
            note text,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, contact_id) references contacts.contact
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.activity');
        select platform.make_searchable('contacts.activity');
        create index on contacts.activity (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.activity (tenant_id, contact_id, occurred_at) where deleted_at is null;
        create unique index on contacts.activity (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table contacts.customer_summary (
            tenant_id bigint not null,
            contact_id uuid not null,
            sequence bigint not null,
            summary jsonb not null,
            primary key (tenant_id, contact_id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.customer_summary');
        """)
}

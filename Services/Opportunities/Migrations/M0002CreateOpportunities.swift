import Database
import Records

enum M0002CreateOpportunities {
    static let migration = Migration(
        "M0002CreateOpportunities",
        """
        create table opportunities.lead (
            \(RecordsSchema.systemColumns),
            given_name text,
            family_name text,
            company text,
            email text,
            phone text,
            score bigint,
            status text,
            notes text,
            conversion text,
            deal_name text,
            deal_amount_amount bigint,
            deal_amount_currency text,
            contact_id uuid,
            organization_id uuid,
            opportunity_id uuid,
            source text,
            external_id text,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('opportunities.lead');
        select platform.make_searchable('opportunities.lead');
        create index on opportunities.lead (tenant_id, contact_id) where deleted_at is null and contact_id is not null;
        create index on opportunities.lead (tenant_id, created_at, id) where deleted_at is null;
        create unique index on opportunities.lead (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table opportunities.pipeline (
            \(RecordsSchema.systemColumns),
            name text not null,
            is_default boolean,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('opportunities.pipeline');

        create table opportunities.stage (
            \(RecordsSchema.systemColumns),
            pipeline_id uuid not null,
            name text not null,
            position bigint not null,
            probability bigint,
            kind text,
            rotting_days bigint,
            primary key (tenant_id, id),
            foreign key (tenant_id, pipeline_id) references opportunities.pipeline
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('opportunities.stage');
        create index on opportunities.stage (tenant_id, pipeline_id, position) where deleted_at is null;

        create table opportunities.opportunity (
            \(RecordsSchema.systemColumns),
            name text not null,
            contact_id uuid,
            organization_id uuid,
            pipeline_id uuid,
            stage_id uuid,
            amount_amount bigint,
            amount_currency text,
            expected_close date,
            competitors jsonb,
            loss_reason text,
            next_step text,
            status text,
            probability bigint,
            closed_at timestamptz,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, pipeline_id) references opportunities.pipeline,
            foreign key (tenant_id, stage_id) references opportunities.stage
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('opportunities.opportunity');
        select platform.make_searchable('opportunities.opportunity');
        create index on opportunities.opportunity (tenant_id, created_at, id) where deleted_at is null;
        create index on opportunities.opportunity (tenant_id, contact_id) where deleted_at is null;
        create index on opportunities.opportunity (tenant_id, stage_id) where deleted_at is null;
        create unique index on opportunities.opportunity (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table opportunities.stage_stay (
            tenant_id bigint not null,
            opportunity_id uuid not null,
            version bigint not null,
            stage_id uuid not null,
            entered_at timestamptz not null,
            left_at timestamptz,
            primary key (tenant_id, opportunity_id, version),
            foreign key (tenant_id, opportunity_id) references opportunities.opportunity,
            foreign key (tenant_id, stage_id) references opportunities.stage
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('opportunities.stage_stay');

        create table opportunities.sales_order (
            \(RecordsSchema.systemColumns),
            number text,
            contact_id uuid not null,
            opportunity_id uuid,
            currency text not null,
            placed_at timestamptz not null,
            is_cancelled boolean,
            lines jsonb,
            total_amount bigint not null,
            total_currency text not null,
            tax_amount bigint not null,
            tax_currency text not null,
            paid_amount bigint not null,
            paid_currency text not null,
            status text not null,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, opportunity_id) references opportunities.opportunity
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('opportunities.sales_order');
        select platform.make_searchable('opportunities.sales_order');
        create index on opportunities.sales_order (tenant_id, created_at, id) where deleted_at is null;
        create index on opportunities.sales_order (tenant_id, contact_id) where deleted_at is null;
        create unique index on opportunities.sales_order (tenant_id, number) where deleted_at is null;
        create unique index on opportunities.sales_order (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table opportunities.payment (
            \(RecordsSchema.systemColumns),
            order_id uuid not null,
            amount_amount bigint not null,
            amount_currency text not null,
            received_at timestamptz not null,
            method text,
            reference text,
            contact_id uuid,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, order_id) references opportunities.sales_order
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('opportunities.payment');
        create index on opportunities.payment (tenant_id, contact_id) where deleted_at is null;
        create index on opportunities.payment (tenant_id, created_at, id) where deleted_at is null;
        create index on opportunities.payment (tenant_id, order_id) where deleted_at is null;
        create unique index on opportunities.payment (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;
        """)
}

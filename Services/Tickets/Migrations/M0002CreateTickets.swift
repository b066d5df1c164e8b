import Database
import Records

enum M0002CreateTickets {
    static let migration = Migration(
        "M0002CreateTickets",
        """
        create table tickets.team (
            \(RecordsSchema.systemColumns),
            name text not null,
            skills jsonb,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('tickets.team');

        create table tickets.calendar (
            \(RecordsSchema.systemColumns),
            name text not null,
            time_zone text not null,
            hours jsonb,
            holidays jsonb,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('tickets.calendar');

        create table tickets.sla_policy (
            \(RecordsSchema.systemColumns),
            name text not null,
            is_default boolean,
            calendar_id uuid,
            escalation_team_id uuid,
            targets jsonb,
            primary key (tenant_id, id),
            foreign key (tenant_id, calendar_id) references tickets.calendar,
            foreign key (tenant_id, escalation_team_id) references tickets.team
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('tickets.sla_policy');

        create table tickets.ticket (
            \(RecordsSchema.systemColumns),
            subject text not null,
            description text,
            contact_id uuid,
            organization_id uuid,
            channel text,
            kind text,
            priority text,
            status text,
            sla_policy_id uuid,
            tags jsonb,
            first_response_due timestamptz,
            resolution_due timestamptz,
            resolution_left float8,
            first_responded_at timestamptz,
            solved_at timestamptz,
            escalations bigint not null default 0,
            source text,
            external_id text,
            primary key (tenant_id, id),
            foreign key (tenant_id, team_id) references tickets.team,
            foreign key (tenant_id, sla_policy_id) references tickets.sla_policy
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('tickets.ticket');
        select platform.make_searchable('tickets.ticket');
        create index on tickets.ticket (tenant_id, created_at, id) where deleted_at is null;
        create index on tickets.ticket (tenant_id, contact_id) where deleted_at is null;
        create unique index on tickets.ticket (tenant_id, external_id, source) nulls not distinct
            where deleted_at is null and external_id is not null;

        create table tickets.ticket_comment (
            \(RecordsSchema.systemColumns),
            ticket_id uuid not null,
            body text not null,
            author text,
            visibility text,
            primary key (tenant_id, id),
            foreign key (tenant_id, ticket_id) references tickets.ticket
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('tickets.ticket_comment');
        create index on tickets.ticket_comment (tenant_id, ticket_id, created_at) where deleted_at is null;

        create table tickets.survey_response (
            \(RecordsSchema.systemColumns),
            ticket_id uuid not null,
            answers jsonb not null,
            csat bigint,
            nps bigint,
            comment text,
            contact_id uuid,
            gap float8,
            primary key (tenant_id, id),
            foreign key (tenant_id, ticket_id) references tickets.ticket
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('tickets.survey_response');
        create index on tickets.survey_response (tenant_id, contact_id) where deleted_at is null;
        create index on tickets.survey_response (tenant_id, created_at, id) where deleted_at is null;
        """)
}

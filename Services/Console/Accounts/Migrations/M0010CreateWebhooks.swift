import Database
import Records

enum M0010CreateWebhooks {
    static let migration = Migration(
        "M0010CreateWebhooks",
        """
        create table accounts.webhook (
            \(RecordsSchema.systemColumns),
            url text not null,
            description text,
            events jsonb not null,
            ordered text not null,
            status text not null,
            disabled_reason text,
            consecutive_failures bigint not null,
            failing_since timestamptz,
            last_success_at timestamptz,
            rest_until timestamptz,
            taken_until uuid,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('accounts.webhook');
        create index on accounts.webhook (tenant_id, created_at, id) where deleted_at is null;
        comment on column accounts.webhook.rest_until is 'A receiver that fails again and again is left alone until then.';

        comment on column accounts.webhook.taken_until is
            'All events before this one have been taken in, save those of transactions open for longer than a minute.';

        -- Not in the record: what signs is in no history, list or export.
        create table accounts.webhook_secret (
            tenant_id bigint not null,
            webhook_id uuid not null,
            id uuid not null,
            secret text not null,
            expires_at timestamptz,
            primary key (tenant_id, webhook_id, id),
            foreign key (tenant_id, webhook_id) references accounts.webhook deferrable initially deferred
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('accounts.webhook_secret');

        create table accounts.webhook_delivery (
            tenant_id bigint not null,
            id uuid not null,
            webhook_id uuid not null,
            event text not null,
            event_id uuid not null,
            part int not null,
            record_id uuid,
            record_version bigint not null,
            body text not null,
            state text not null default 'waiting' check (state in ('waiting', 'delivered', 'failed')),
            run int not null default 1,
            attempts int not null default 0,
            last_status int,
            last_error text,
            created_at timestamptz not null default now(),
            next_attempt_at timestamptz default now(),
            finished_at timestamptz,
            primary key (tenant_id, id),
            foreign key (tenant_id, webhook_id) references accounts.webhook
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('accounts.webhook_delivery');
        create index on accounts.webhook_delivery (tenant_id, webhook_id, id);
        create index on accounts.webhook_delivery (tenant_id, webhook_id, record_id, record_version, event_id, part)
            where state = 'waiting' and record_id is not null;
        comment on column accounts.webhook_delivery.run is 'Which of its jobs may send it: the newest.';

        create table accounts.webhook_attempt (
            tenant_id bigint not null,
            delivery_id uuid not null,
            id uuid not null,
            at timestamptz not null,
            duration_ms int not null,
            status int,
            error_code text,
            error_message text,
            response text,
            primary key (tenant_id, delivery_id, id),
            foreign key (tenant_id, delivery_id) references accounts.webhook_delivery on delete cascade
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('accounts.webhook_attempt');
        """)
}

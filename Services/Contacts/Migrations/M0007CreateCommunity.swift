import Database
import Records

enum M0007CreateCommunity {
    static let migration = Migration(
        "M0007CreateCommunity",
        """
        create table contacts.community_topic (
            \(RecordsSchema.systemColumns),
            title text not null,
            body text,
            tags jsonb,
            contact_id uuid,
            author_id uuid,
            answer_within_hours bigint,
            is_closed boolean,
            accepted_post_id uuid,
            posts bigint not null default 0,
            answered_at timestamptz,
            ticket_requested_at timestamptz,
            ticket_id uuid,
            primary key (tenant_id, id),
            foreign key (tenant_id, contact_id) references contacts.contact
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.community_topic');
        select platform.make_searchable('contacts.community_topic');
        create index on contacts.community_topic (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.community_topic (tenant_id, contact_id)
            where deleted_at is null and contact_id is not null;

        create table contacts.community_post (
            \(RecordsSchema.systemColumns),
            topic_id uuid not null,
            body text not null,
            contact_id uuid,
            author_id uuid,
            votes bigint not null default 0,
            is_accepted boolean,
            primary key (tenant_id, id),
            foreign key (tenant_id, topic_id) references contacts.community_topic,
            foreign key (tenant_id, contact_id) references contacts.contact
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.community_post');
        select platform.make_searchable('contacts.community_post');
        create index on contacts.community_post (tenant_id, created_at, id) where deleted_at is null;
        create index on contacts.community_post (tenant_id, topic_id, created_at) where deleted_at is null;
        create index on contacts.community_post (tenant_id, contact_id)
            where deleted_at is null and contact_id is not null;

        -- One voice per voter and post.
        create table contacts.community_vote (
            tenant_id bigint not null,
            post_id uuid not null,
            voter text not null,
            value smallint not null check (value in (-1, 1)),
            voted_at timestamptz not null default now(),
            primary key (tenant_id, post_id, voter),
            foreign key (tenant_id, post_id) references contacts.community_post
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('contacts.community_vote');
        """)
}

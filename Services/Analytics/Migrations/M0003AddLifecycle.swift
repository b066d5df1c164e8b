import Database

enum M0003AddLifecycle {
    static let migration = Migration(
        "M0003AddLifecycle",
        """
        alter table analytics.customer add column stage text, add column review_at timestamptz;
        create index on analytics.customer (tenant_id, contact_id) where review_at is not null;
        """)
}

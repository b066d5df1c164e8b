import Database
import Records

enum M0011CreateCustomFields {
    static let migration = Migration(
        "M0011CreateCustomFields",
        """
        create table accounts.custom_field (
            \(RecordsSchema.systemColumns),
            record_type text not null,
            name text not null,
            kind text not null,
            label_en text not null,
            label_zh text not null,
            description text,
            choices jsonb,
            is_required boolean not null,
            is_indexed boolean not null,
            primary key (tenant_id, id)
        ) partition by list (tenant_id);
        select platform.partition_by_tenant('accounts.custom_field');
        create unique index on accounts.custom_field (tenant_id, record_type, name) where deleted_at is null;
        create index on accounts.custom_field (tenant_id, record_type, id) where deleted_at is null;
        create index on accounts.custom_field (tenant_id, created_at, id) where deleted_at is null;
        grant execute on function platform.define_custom_field(text, text, jsonb, boolean) to guanxi_accounts;
        """)
}

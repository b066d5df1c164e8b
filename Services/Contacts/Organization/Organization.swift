import Records

/// A company we deal with.
enum Organization {
    static let type = RecordType(
        "organization", plural: "organizations", schema: "contacts", label: Label("Organization", "公司"),
        fields: [
            Field("name", .text(max: 200), Label("Name", "名称")).required().sortable().searchable(),
            Field("domains", .tags(max: 20), Label("Domains", "域名")).byDefault([]),
            Field("industry", .text(max: 80), Label("Industry", "行业")),
            Field("size", .integer(min: 0, max: 10_000_000), Label("Employees", "员工数")).sortable(),
            Field("parent_id", .reference("organization"), Label("Parent organization", "上级公司")),
            Field("party_type", .choice(["end_customer", "distributor", "partner"]), Label("Kind of party", "客户类型"))
                .byDefault("end_customer"),
            Field("website", .text(max: 300), Label("Website", "网站")),
        ] + RecordType.origin)
}

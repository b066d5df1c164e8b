import Contracts
import Database
import Foundation
import Records

/// A person or company that may become a customer.
enum Lead {
    static let type = RecordType(
        "lead", plural: "leads", schema: "opportunities", label: Label("Lead", "线索"),
        fields: [
            Field("given_name", .text(max: 100), Label("Given name", "名")).searchable(),
            Field("family_name", .text(max: 100), Label("Family name", "姓")).sortable().searchable(),
            Field("company", .text(max: 200), Label("Company", "公司")).sortable().searchable(),
            Field("email", .email, Label("E-mail", "邮箱")).searchable(),
            Field("phone", .phone, Label("Telephone", "电话")),
            Field("score", .integer(min: 0, max: 100), Label("Score", "评分")).sortable(),
            Field("status", .choice(["new", "working", "qualified", "disqualified"]), Label("Status", "状态")).byDefault(
                "new"),
            Field("notes", .text(max: 5_000, multiline: true), Label("Notes", "备注")),
            Field("conversion", .choice(["none", "running", "done"]), Label("Conversion", "转化")).readOnly().byDefault(
                "none"),
            Field("deal_name", .text(max: 200), Label("Name of the deal", "商机名称")).readOnly(),
            Field("deal_amount", .money, Label("Amount of the deal", "商机金额")).readOnly(),
            Field("contact_id", .foreignID, Label("Contact", "联系人")).of("contact").readOnly(),
            Field("organization_id", .foreignID, Label("Organization", "公司")).readOnly(),
            Field("opportunity_id", .foreignID, Label("Opportunity", "商机")).readOnly(),
        ] + RecordType.personalOrigin)
}

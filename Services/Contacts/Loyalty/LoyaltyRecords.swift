import Database
import Foundation
import Records

/// How loyalty is rewarded: what tiers there are, and how long points last.
enum LoyaltyProgram {
    static let type = RecordType(
        "loyalty_program", plural: "loyalty_programs", schema: "contacts", label: Label("Loyalty programme", "会员计划"),
        fields: [
            Field("name", .text(max: 200), Label("Name", "名称")).required().searchable(),
            Field("status", .choice(["active", "paused", "closed"]), Label("Status", "状态")).byDefault("active"),
            Field("tiers", .list(tier, max: 20), Label("Tiers", "等级")).byDefault([]),
            Field("expiry_months", .integer(min: 1, max: 240), Label("Points last, in months", "积分有效月数")),
        ] + RecordType.origin)

    /// `threshold` is in points earned within twelve months.
    private static let tier = [
        Field("name", .text(max: 60), Label("Name", "名称")).required(),
        Field("threshold", .integer(min: 0, max: 1_000_000_000), Label("From points", "所需积分")).required(),
    ]

    static func tiers(_ json: JSONValue?) -> [(name: String, threshold: Int)] {
        (json?.array ?? []).compactMap { tier in
            guard let name = tier["name"]?.text, let threshold = tier["threshold"]?.int else { return nil }
            return (name, threshold)
        }
    }
}

/// A customer's points in a programme: one account each. Its figures follow from its entries.
enum LoyaltyAccount {
    static let type = RecordType(
        "loyalty_account", plural: "loyalty_accounts", schema: "contacts", label: Label("Loyalty account", "会员账户"),
        fields: [
            Field("contact_id", .reference("contact"), Label("Contact", "联系人")).required().immutable(),
            Field("program_id", .reference("loyalty_program"), Label("Programme", "会员计划")).required().immutable(),
            Field("balance", .integer(min: 0, max: .max), Label("Balance", "积分余额")).derived().byDefault(0),
            Field("earned_12_months", .integer(min: .min, max: .max), Label("Earned in twelve months", "近十二个月积分"))
                .derived().byDefault(0),
            Field("tier", .text(max: 60), Label("Tier", "等级")).derived(),
            Field("superseded_by", .reference("loyalty_account"), Label("Superseded by", "已由此账户取代")).readOnly(),
        ] + RecordType.origin,
        rules: RecordRules(check: check))

    /// A merge may give a contact two accounts of one programme: the one that came with it earns no more, and what it
    /// holds can still be spent. Taking the merge back makes it whole again.
    private static func check(_ draft: inout Draft, _ transaction: TenantTransaction) async throws {
        guard !draft.isCreation, draft.changes("contact_id") else { return }
        let rows = try await transaction.query(
            """
            select id from contacts.loyalty_account
            where tenant_id = $1 and contact_id = $2 and program_id = $3 and id <> $4 and deleted_at is null
            and superseded_by is null
            """,
            [
                transaction.tenant.parameter, .optional(draft["contact_id"]), .optional(draft["program_id"]),
                .uuid(draft.record.id),
            ])
        draft["superseded_by"] = rows.isEmpty ? nil : rows.text(0, 0)
    }
}

/// One line of an account's ledger: it stays as it is. Posted by the account's own endpoint.
enum LoyaltyEntry {
    static let type = RecordType(
        "loyalty_entry", plural: "loyalty_entries", schema: "contacts", label: Label("Loyalty entry", "积分记录"),
        fields: [
            Field("account_id", .reference("loyalty_account"), Label("Account", "会员账户")).required().immutable(),
            Field("kind", .choice(["earn", "spend", "expire", "adjust"]), Label("Kind", "类型")).required().immutable(),
            // Less than nothing for what goes out.
            Field("points", .integer(min: -largest, max: largest), Label("Points", "积分")).required().immutable(),
            Field("balance_after", .integer(min: 0, max: .max), Label("Balance afterwards", "变动后余额")).readOnly(),
            Field("at", .timestamp, Label("When", "时间")).immutable().sortable(),
            Field("expires_at", .timestamp, Label("Expires", "到期时间")).readOnly(),
            Field("remaining", .integer(min: 0, max: .max), Label("Not used yet", "剩余积分")).derived(),
            Field("reason", .text(max: 500), Label("Reason", "原因")).immutable(),
            Field("reference", .text(max: 200), Label("Reference", "参考号")).immutable(),
            Field("reverses_id", .reference("loyalty_entry"), Label("Takes back", "冲销记录")).readOnly(),
            Field("lots", .list(lot, max: 1_000_000), Label("Taken from", "扣减批次")).readOnly(),
        ], operations: [], defaultSort: "-at")

    static let largest = 1_000_000_000

    private static let lot = [
        Field("entry_id", .foreignID, Label("Entry", "记录")).required(),
        Field("points", .integer(min: 1, max: largest), Label("Points", "积分")).required(),
    ]
}

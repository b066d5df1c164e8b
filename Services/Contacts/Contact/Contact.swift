import Contracts
import Database
import Foundation
import Jobs
import Matching
import Records

/// A person we know.
enum Contact {
    static let type = RecordType(
        "contact", plural: "contacts", schema: "contacts", label: Label("Contact", "联系人"),
        fields: [
            Field("given_name", .text(max: 100), Label("Given name", "名")).sortable().searchable(),
            Field("family_name", .text(max: 100), Label("Family name", "姓")).sortable().searchable(),
            Field("display_name", .text(max: 200), Label("Display name", "显示名")).sortable().searchable(),
            Field("birth_date", .date, Label("Birth date", "出生日期")).sortable().personal(),
            Field("job_title", .text(max: 120), Label("Job title", "职位")),
            Field("industry", .text(max: 80), Label("Industry", "行业")).covered(),
            Field("occupation", .text(max: 80), Label("Occupation", "职业")),
            Field("region", .text(max: 80), Label("Region", "地区")).covered(),
            Field("organization_id", .reference("organization"), Label("Organization", "公司")).personal(),
            Field("emails", .list(channel(.email), max: 20), Label("E-mail", "邮箱")).byDefault([]).searchable(),
            Field("phones", .list(channel(.phone), max: 20), Label("Telephone", "电话")).byDefault([]).searchable(),
            Field("socials", .list(channel(.text(max: 200)), max: 20), Label("Social handles", "社交账号")).byDefault([]),
            Field("addresses", .list(address, max: 10), Label("Addresses", "地址")).byDefault([]),
            Field("identifiers", .list(identifier, max: 10), Label("Identifiers", "证件号码")).byDefault([]),
            Field("needs", .tags(max: 50), Label("Needs", "需求")).byDefault([]),
            Field("risk_attitude", .choice(["cautious", "balanced", "bold"]), Label("Attitude to risk", "风险态度"))
                .personal(),
            Field("likelihood_to_repurchase", .integer(min: 0, max: 10), Label("Likelihood to repurchase", "再购意愿")),
            Field("likelihood_to_recommend", .integer(min: 0, max: 10), Label("Likelihood to recommend", "推荐意愿"))
                .covered(),
            Field("do_not_contact", .boolean, Label("Do not contact", "请勿联系")).byDefault(false).covered(),
            Field("channel_preference", .list(preferredChannel, max: 6), Label("Preferred channels", "首选渠道")).byDefault(
                []),
            Field(
                "lifecycle_stage", .choice(LifecycleStage.allCases.map(\.rawValue)), Label("Lifecycle stage", "生命周期阶段")
            )
            .derived().byDefault("prospect").covered(),
            Field(
                "lifecycle_group", .choice(LifecycleGroup.allCases.map(\.rawValue)), Label("Lifecycle group", "生命周期大类")
            )
            .derived().byDefault("trial"),
            Field("quality_score", .integer(min: 0, max: 100), Label("Quality of the record", "资料质量")).readOnly()
                .sortable(),
            Field("merged_into", .reference("contact"), Label("Merged into", "已合并至")).readOnly(),
            Field("merge_id", .foreignID, Label("Merge", "合并")).readOnly(),
            Field("erased_at", .timestamp, Label("Erased", "已抹除")).readOnly(),
        ] + RecordType.personalOrigin,
        title: "display_name", format: ContactCard.format,
        rules: RecordRules(prepare: prepare, effects: effects, likeness: DuplicateRules.likeness))

    private static func channel(_ kind: FieldKind) -> [Field] {
        [
            Field("value", kind, Label("Value", "值")).required(),
            Field("kind", .choice(["work", "home", "mobile", "other"]), Label("Kind", "类型")).byDefault("work"),
            Field("primary", .boolean, Label("Primary", "首选")).byDefault(false),
            Field("verified", .boolean, Label("Verified", "已验证")).byDefault(false),
        ]
    }

    /// In the order in which the person would rather be reached.
    private static let preferredChannel = [
        Field("channel", .choice(ContactChannel.allCases.map(\.rawValue)), Label("Channel", "渠道")).required()
    ]

    /// Numbers that others know the person by.
    private static let identifier = [
        Field("value", .text(max: 60), Label("Value", "值")).required(),
        Field("kind", .choice(["national", "tax", "passport", "customer", "other"]), Label("Kind", "类型")).byDefault(
            "other"),
    ]

    private static let address = [
        Field("kind", .choice(["work", "home", "other"]), Label("Kind", "类型")).byDefault("home"),
        Field("house_number", .text(max: 30), Label("House number", "门牌号")),
        Field("street", .text(max: 300), Label("Street", "街道")),
        Field("additional", .text(max: 300), Label("Second line", "地址第二行")),
        Field("city", .text(max: 120), Label("City", "城市")),
        Field("region", .text(max: 120), Label("Region", "省")),
        Field("postal_code", .text(max: 20), Label("Postal code", "邮编")),
        Field("country", .country, Label("Country", "国家")),
    ]

    /// A contact has a name or a way to reach it; the display name follows from the names unless it was given.
    private static func prepare(_ draft: inout Draft) throws {
        let gaveDisplayName = draft["display_name"] != nil && (draft.isCreation || draft.changes("display_name"))
        let namesChanged = draft.isCreation || draft.changes("given_name") || draft.changes("family_name")
        if !gaveDisplayName && namesChanged {
            draft["display_name"] = displayName(given: draft["given_name"], family: draft["family_name"])
        }
        if draft["display_name"] == nil {
            draft["display_name"] =
                firstValue(draft.record.json("emails")) ?? firstValue(draft.record.json("phones"))
                ?? draft["external_id"]
        }
        // An empty record stays possible: a call from an unknown number begins as one.
        if draft["display_name"] == nil { draft["display_name"] = "—" }
        draft["quality_score"] = String(quality(draft.record))
    }

    /// Chinese names begin with the family and have no space.
    static func displayName(given: String?, family: String?) -> String? {
        let parts = [given, family].compactMap { $0 }
        if parts.isEmpty { return nil }
        let isHan = parts.allSatisfy { $0.unicodeScalars.allSatisfy { $0.properties.isIdeographic } }
        return isHan ? [family, given].compactMap { $0 }.joined() : parts.joined(separator: " ")
    }

    private static func firstValue(_ list: JSONValue?) -> String? {
        let entries = list?.array ?? []
        let entry = entries.first { $0["primary"]?.bool == true } ?? entries.first
        return entry?["value"]?.text
    }

    /// Completeness, in percent of what one would want to know of a customer.
    private static func quality(_ record: Record) -> Int {
        let wanted = ["given_name", "family_name", "birth_date", "occupation", "industry", "region"]
        let lists = ["emails", "phones", "addresses"]
        let known =
            wanted.filter { record.text($0) != nil }.count
            + lists.filter { (record.text($0) ?? "[]") != "[]" }.count
        return known * 100 / (wanted.count + lists.count)
    }

    private static func effects(_ change: Change) -> Effects {
        let fact = Fact(
            id: change.after.id, version: change.after.version, contact: change.after.id, at: change.after.createdAt,
            state: change.after.deletedAt == nil ? "active" : "deleted")
        var events: [any Event] = [
            change.kind == .create ? ContactCreated(facts: [fact]) : ContactUpdated(facts: [fact])
        ]
        if change.kind == .update, change.changes("merge_id") {
            let (id, version) = (change.after.id, change.after.version)
            if let merge = change.after.uuid("merge_id"), let survivor = change.after.uuid("merged_into") {
                events.append(ContactMerged(merge: merge, merged: id, survivor: survivor, version: version))
            } else if let merge = change.before?.uuid("merge_id"), let survivor = change.before?.uuid("merged_into") {
                events.append(ContactUnmerged(merge: merge, merged: id, survivor: survivor, version: version))
            }
        }
        if change.changes("do_not_contact"), change.kind != .create || change.after.bool("do_not_contact") {
            let block = ContactBlock(
                contact: change.after.id, version: change.after.version, isBlocked: change.after.bool("do_not_contact"))
            events.append(ConsentChanged(blocks: [block]))
        }
        if change.kind != .update || MatchProfile.identifyingFields.contains(where: { change.changes($0) }) {
            events.append(ContactIdentified(contacts: [change.after.id]))
        }
        events += CustomerStoriesTold.of(lifecycleStory(change)) as [any Event]
        return Effects(events: events)
    }

    /// A new stage in the customer's life stands on its timeline.
    private static func lifecycleStory(_ change: Change) -> CustomerStory? {
        // Everybody begins as a prospect: nothing to tell.
        if change.kind == .create { return nil }
        let (old, new) = (change.before?.text("lifecycle_stage"), change.after.text("lifecycle_stage"))
        guard let new, old != new else { return nil }
        let (id, version) = (change.after.id, change.after.version)
        return CustomerStory(
            record: id, type: type.name, service: type.schema, version: version, contact: id,
            owner: change.after.uuid("owner_id"), team: change.after.uuid("team_id"), isDeleted: false,
            moments: [
                Moment(
                    "lifecycle", key: "lifecycle:\(version)", at: change.now, title: new,
                    detail: ["stage": new, "from": old])
            ])
    }
}

import Contracts
import Database
import Foundation
import Records

/// One interaction with a customer: it stands as it was once it is an hour old.
enum Activity {
    static let type = RecordType(
        "activity", plural: "activities", schema: "contacts", label: Label("Activity", "互动"),
        fields: [
            Field("contact_id", .reference("contact"), Label("Contact", "联系人")).required().immutable(),
            Field(
                "kind", .choice(["call", "email", "meeting", "note", "web_visit", "social_message", "community_post"]),
                Label("Kind", "类型")
            ).required(),
            Field("direction", .choice(["inbound", "outbound", "internal"]), Label("Direction", "方向")).byDefault(
                "outbound"),
            Field("purpose", .choice(ContactPurpose.allCases.map(\.rawValue)), Label("Purpose", "目的")),
            Field("subject", .text(max: 300), Label("Subject", "主题")).searchable(),
            Field("body", .text(max: 20_000, multiline: true), Label("Body", "内容")),
            Field("occurred_at", .timestamp, Label("When", "时间")).sortable(),
            Field("duration_seconds", .integer(min: 0, max: 864_000), Label("Duration in seconds", "时长（秒）")),
            Field("outcome", .text(max: 200), Label("Outcome", "结果")),
            Field("note", .text(max: 5_000, multiline: true), Label("Author's note", "备注")),
        ] + RecordType.origin,
        rules: RecordRules(prepare: prepare, effects: effects))

    private static func prepare(_ draft: inout Draft) throws {
        if draft["occurred_at"] == nil { draft["occurred_at"] = Timestamp.sqlText(draft.now) }
        // What happened is kept as it was; what is only planned must ask for permission first, as tasks do.
        if draft["direction"] == "outbound", ["marketing", "survey"].contains(draft["purpose"]),
            draft.isCreation || draft.changes("occurred_at") || draft.changes("purpose"),
            let when = draft.record.time("occurred_at"), when > draft.now.addingTimeInterval(300)
        {
            throw Problem(
                409, "not_yet_happened", "Plan it as a task with channel and purpose: that asks for permission.",
                fields: [FieldError("/occurred_at", "not_yet_happened", "An activity has happened.")])
        }
        guard let before = draft.before, draft.now.timeIntervalSince(before.createdAt) > 3600 else { return }
        // Whose it is never changes by hand; after a merge it follows its contact.
        let fixed = type.fields.map(\.name).filter { !["note", "contact_id"].contains($0) && draft.changes($0) }
        if !fixed.isEmpty {
            throw Problem(
                409, "immutable", "An activity can't be changed once it is an hour old, but for its note.",
                fields: fixed.map { FieldError("/\($0)", "immutable", "It can't be changed any more.") })
        }
    }

    private static func effects(_ change: Change) -> Effects {
        Effects(events: [
            ActivityLogged(facts: [
                Fact(
                    id: change.after.id, version: change.after.version, contact: change.after.uuid("contact_id"),
                    at: change.after.time("occurred_at") ?? change.after.createdAt,
                    state: change.after.deletedAt == nil ? "logged" : "deleted")
            ])
        ])
    }
}

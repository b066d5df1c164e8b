import Contracts
import Database
import Foundation
import Records

/// Something to be done.
enum PlannedTask {
    static let type = RecordType(
        "task", plural: "tasks", schema: "contacts", label: Label("Task", "任务"),
        fields: [
            Field("subject", .text(max: 300), Label("Subject", "主题")).required().searchable(),
            Field("note", .text(max: 5_000, multiline: true), Label("Note", "备注")),
            Field("due_at", .timestamp, Label("Due", "截止时间")).sortable(),
            Field("priority", .choice(["low", "normal", "high", "urgent"]), Label("Priority", "优先级")).byDefault(
                "normal"),
            Field("assignee_id", .foreignID, Label("Assignee", "负责人")),
            Field("contact_id", .reference("contact"), Label("Contact", "联系人")),
            Field("linked_type", .text(max: 60), Label("Kind of linked record", "关联类型")).impersonal(),
            Field("linked_id", .foreignID, Label("Linked record", "关联记录")).ofAny(),
            Field("channel", .choice(ContactChannel.allCases.map(\.rawValue)), Label("Contact by", "联系渠道")),
            Field("purpose", .choice(ContactPurpose.allCases.map(\.rawValue)), Label("Purpose of the contact", "联系目的")),
            Field("is_done", .boolean, Label("Done", "已完成")).byDefault(false),
            Field("done_at", .timestamp, Label("Done at", "完成时间")).readOnly().sortable(),
        ],
        rules: RecordRules(prepare: prepare, check: check, effects: { PlanChanged.of($0, .task) }))

    private static func prepare(_ draft: inout Draft) throws {
        if (draft["linked_type"] == nil) != (draft["linked_id"] == nil) {
            throw FieldError("/linked_id", "both_or_none", "linked_type and linked_id belong together.")
        }
        let isDone = draft.record.bool("is_done")
        if !isDone {
            draft["done_at"] = nil
        } else if draft["done_at"] == nil {
            draft["done_at"] = Timestamp.sqlText(draft.now)
        }
    }

    /// A task to reach a customer is made only where the customer may be reached so.
    private static func check(_ draft: inout Draft, _ transaction: TenantTransaction) async throws {
        let decisive = ["channel", "purpose", "contact_id"]
        guard draft.isCreation || decisive.contains(where: { draft.changes($0) }), !draft.record.bool("is_done"),
            let contact = draft.record.uuid("contact_id"),
            let channel = draft["channel"].flatMap(ContactChannel.init(rawValue:)),
            let purpose = draft["purpose"].flatMap(ContactPurpose.init(rawValue:))
        else { return }
        try await ContactPermissions.require(
            purpose, by: channel, of: contact, at: max(draft.now, draft.record.time("due_at") ?? draft.now),
            in: transaction)
    }
}

import Database
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
            Field("is_done", .boolean, Label("Done", "已完成")).byDefault(false),
            Field("done_at", .timestamp, Label("Done at", "完成时间")).readOnly().sortable(),
        ],
        rules: RecordRules(prepare: prepare, effects: { PlanChanged.of($0, .task) }))

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
}

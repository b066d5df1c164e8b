import Contracts
import Foundation
import Jobs
import Records

/// What is done when a contact enters a stage of its lifecycle.
enum Playbook {
    static let type = RecordType(
        "playbook", plural: "playbooks", schema: "contacts", label: Label("Playbook", "跟进方案"),
        fields: [
            Field("name", .text(max: 200), Label("Name", "名称")).required().searchable(),
            Field("stage", .choice(LifecycleStage.allCases.map(\.rawValue)), Label("On entering", "进入阶段")).required(),
            Field("status", .choice(["active", "paused"]), Label("Status", "状态")).byDefault("active"),
            Field("position", .integer(min: 0, max: 1_000_000), Label("Order", "顺序")).byDefault(0),
            Field("actions", .list(action, max: 20), Label("Actions", "动作")).byDefault([]),
        ])

    /// A task and a notification go to the contact's owner; a task with channel and purpose, and an enrolment, only where
    /// the contact may be reached so.
    private static let action = [
        Field("kind", .choice(["create_task", "notify_owner", "enrol_in_campaign"]), Label("Kind", "类型")).required(),
        Field("title", .text(max: 300), Label("Title", "标题")),
        Field("due_days", .integer(min: 0, max: 3_650), Label("Due in days", "几天内完成")),
        Field("priority", .choice(["low", "normal", "high", "urgent"]), Label("Priority", "优先级")),
        Field("channel", .choice(ContactChannel.allCases.map(\.rawValue)), Label("Channel", "渠道")),
        Field("purpose", .choice(ContactPurpose.allCases.map(\.rawValue)), Label("Purpose", "目的")),
        Field("campaign_id", .foreignID, Label("Campaign", "营销活动")),
    ]
}

/// A contact has entered a stage: its playbooks are due.
struct RunPlaybooksJob: Job {
    static let name = "contacts.run-playbooks"
    let change: UUID
    let contact: UUID
}

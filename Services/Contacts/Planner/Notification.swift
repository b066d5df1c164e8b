import Database
import Jobs
import Records

/// Something that a person is to see: a reminder, an alert. Made by jobs; a person marks it as read.
enum Notification {
    static let type = RecordType(
        "notification", plural: "notifications", schema: "contacts", label: Label("Notification", "通知"),
        fields: [
            Field("user_id", .foreignID, Label("User", "用户")).immutable(),
            Field("kind", .choice(["reminder", "alert", "mention"]), Label("Kind", "类型")).required().immutable(),
            Field("subject", .text(max: 300), Label("Subject", "主题")).required().immutable(),
            Field("record_type", .text(max: 60), Label("Kind of record", "记录类型")).immutable().impersonal(),
            Field("record_id", .foreignID, Label("Record", "记录")).immutable().ofAny(),
            Field("at", .timestamp, Label("When", "时间")).required().immutable().sortable(),
            Field("is_read", .boolean, Label("Read", "已读")).byDefault(false),
        ], operations: [.update, .delete], defaultSort: "-at", rules: RecordRules(after: after))

    /// Its user's streams are told at once.
    private static func after(_ change: Change, _ transaction: TenantTransaction, _ outbox: Outbox) async throws {
        guard change.kind == .create, let user = change.after.uuid("user_id") else { return }
        let json = String(decoding: change.after.json(type), as: UTF8.self)
        outbox.tell(user, "notification", json: json, in: transaction)
    }
}

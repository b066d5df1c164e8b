import Database
import Foundation
import Records
import Webhooks

/// Where a tenant wants to be told of what happens: a URL and the events it wants.
enum Webhook {
    /// What waits to be sent.
    static let queue = "accounts.webhooks"
    /// How many a tenant may have.
    static let most = 50

    static let type = RecordType(
        "webhook", plural: "webhooks", schema: "accounts", label: Label("Webhook", "网络钩子"),
        fields: [
            Field("url", .text(max: WebhookTarget.maximumLength), Label("URL", "网址")).required().documented([
                "type": "string", "pattern": #"^https://[a-z]{1,20}\.(com|net|org)(/[a-z0-9]{0,20})?$"#,
                "description": "https://, at an address of the public Internet.",
            ]),
            Field("description", .text(max: 300), Label("Description", "说明")),
            Field("events", .tags(max: 50), Label("Events", "事件")).required().documented([
                "type": "array", "minItems": 1, "maxItems": 50,
                "items": ["type": "string", "enum": .array(WebhookEvent.patterns.map { .string($0) })],
            ]),
            Field("ordered", .choice(["none", "per_record"]), Label("Order", "顺序")).byDefault("none"),
            Field("status", .choice(["active", "disabled"]), Label("Status", "状态")).byDefault("active"),
            Field("disabled_reason", .choice(["gone", "failing"]), Label("Disabled because", "停用原因")).readOnly(),
            Field("consecutive_failures", .integer(min: 0, max: .max), Label("Failures in a row", "连续失败次数"))
                .derived().byDefault(0),
            Field("failing_since", .timestamp, Label("Failing since", "开始失败时间")).derived(),
            Field("last_success_at", .timestamp, Label("Last success", "最近成功时间")).derived(),
        ],
        operations: [.create, .update, .delete], isAdministrative: true, title: "url",
        rules: RecordRules(prepare: prepare, check: check, effects: effects))

    private static func prepare(_ draft: inout Draft) throws {
        if draft["status"] == nil { draft["status"] = "active" }
        if draft["ordered"] == nil { draft["ordered"] = "none" }
        // Why it was disabled is over when it is active again.
        if draft["status"] == "active" { draft["disabled_reason"] = nil }
        if let url = draft["url"], draft.changes("url") {
            let settings = WebhookSettings.current
            do {
                draft["url"] =
                    try WebhookTarget(url, allowsHTTP: settings.allowsHTTP, policy: settings.policy).url
            } catch {
                throw FieldError("/url", error.code.rawValue, error.message)
            }
        }
        guard draft.changes("events") else { return }
        let events = events(draft.record)
        if events.isEmpty { throw FieldError("/events", "required", "Name at least one event, or * for all.") }
        for (index, event) in events.enumerated() where !WebhookEvent.patterns.contains(event) {
            throw FieldError("/events/\(index)", "unknown_event", "There is no event \(event.prefix(60)).")
        }
    }

    private static func check(_ draft: inout Draft, _ transaction: TenantTransaction) async throws {
        guard draft.isCreation else { return }
        let rows = try await transaction.query(
            "select count(*) from accounts.webhook where tenant_id = $1 and deleted_at is null",
            [transaction.tenant.parameter])
        if rows.int(0, 0)! >= most { throw Problem(409, "too_many", "There are \(most) webhooks already.") }
    }

    /// From the commit on, the tenant's events go where the webhook says; a new one has a secret to sign with.
    private static func effects(_ change: Change) -> Effects {
        let (record, tenant) = (change.after, change.tenant.parameter)
        let isActive = record.deletedAt == nil && record.text("status") == "active"
        var statements = [
            Statement(
                "select platform.subscribe_tenant($1, $2, $3::text[])",
                [.text(queue), .uuid(record.id), .array(isActive ? events(record) : [])])
        ]
        if change.kind == .create {
            statements.append(WebhookStore.keep(.random(), of: record.id, tenant: change.tenant))
        } else if change.changes("url") || (isActive && change.changes("status")) {
            // What the old address did, or did before, is not held against it.
            statements.append(
                Statement(
                    """
                    update accounts.webhook set consecutive_failures = 0, failing_since = null, rest_until = null
                    where tenant_id = $1 and id = $2
                    """, [tenant, .uuid(record.id)]))
        }
        return Effects(statements: statements)
    }

    static func events(_ record: Record) -> [String] { (record.json("events")?.array ?? []).compactMap(\.text) }
}

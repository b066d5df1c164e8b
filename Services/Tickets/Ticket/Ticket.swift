import Contracts
import Database
import Foundation
import Jobs
import Records

/// Something a customer asks of us, with the clocks that run on it.
enum Ticket {
    static let priorities = ["low", "normal", "high", "urgent"]

    static let type = RecordType(
        "ticket", plural: "tickets", schema: "tickets", label: Label("Ticket", "工单"),
        fields: [
            Field("subject", .text(max: 300), Label("Subject", "主题")).required().sortable().searchable(),
            Field("description", .text(max: 20_000, multiline: true), Label("Description", "描述")),
            Field("contact_id", .foreignID, Label("Requester", "客户")).of("contact"),
            Field("organization_id", .foreignID, Label("Organization", "公司")),
            Field(
                "channel", .choice(["email", "phone", "web", "chat", "social", "face_to_face"]), Label("Channel", "渠道")
            )
            .byDefault("web"),
            Field("kind", .choice(["question", "problem", "complaint", "request"]), Label("Kind", "类型")).byDefault(
                "question"),
            Field("priority", .choice(priorities), Label("Priority", "优先级")).byDefault("normal"),
            Field("status", .choice(["new", "open", "pending", "on_hold", "solved", "closed"]), Label("Status", "状态"))
                .byDefault("new"),
            Field("team_id", .reference("team"), Label("Team", "团队")),
            Field("sla_policy_id", .reference("sla_policy"), Label("Service level", "服务级别")),
            Field("tags", .tags(max: 50), Label("Tags", "标签")).byDefault([]).impersonal(),
            Field("first_response_due", .timestamp, Label("First response due", "首次响应期限")).derived().sortable(),
            Field("resolution_due", .timestamp, Label("Resolution due", "解决期限")).readOnly().sortable(),
            Field("resolution_left", .number(min: 0, max: 1e12), Label("Working seconds left while paused", "剩余时间"))
                .readOnly(),
            Field("first_responded_at", .timestamp, Label("First response", "首次响应")).derived(),
            Field("solved_at", .timestamp, Label("Solved", "解决时间")).readOnly().sortable(),
            Field("escalations", .integer(min: 0, max: 100), Label("Escalations", "升级次数")).readOnly().byDefault(0),
        ] + RecordType.origin,
        rules: RecordRules(check: check, effects: effects, after: after))

    /// Sets the clocks as the new status, priority and policy want them.
    private static func check(_ draft: inout Draft, _ transaction: TenantTransaction) async throws {
        // An escalation raises the priority; it must not start the clock that just ran out again.
        if !draft.isCreation && draft.changes("escalations") { return }
        let affects = ["status", "priority", "sla_policy_id"].contains { draft.changes($0) } || draft.isCreation
        guard affects else { return }
        let policy = try await AppliedPolicy.find(draft["sla_policy_id"], transaction)
        if draft["sla_policy_id"] == nil { draft["sla_policy_id"] = policy?.id }
        var previous = policy
        if let before = draft.before?.text("sla_policy_id"), before != policy?.id {
            previous = try await AppliedPolicy.find(before, transaction)
        }
        ServiceClock.set(&draft, policy, previous: previous)
    }

    private static func effects(_ change: Change) -> Effects {
        let record = change.after
        let isSolved = ["solved", "closed"].contains(record.text("status"))
        let changed = TicketChanged(facts: [
            Fact(
                id: record.id, version: record.version, contact: record.uuid("contact_id"),
                at: isSolved ? record.time("solved_at") ?? record.updatedAt : record.createdAt,
                state: record.deletedAt != nil ? "deleted" : isSolved ? "solved" : "open",
                measure: Double(record.int("escalations") ?? 0))
        ])
        return Effects(events: [changed] + (CustomerStoriesTold.of(story(change, isSolved: isSolved)) as [any Event]))
    }

    /// What of the ticket stands on its customer's timeline.
    private static func story(_ change: Change, isSolved: Bool) -> CustomerStory? {
        let record = change.after
        let (version, subject) = (record.version, record.text("subject"))
        var moments = [
            Moment(
                "ticket_opened", at: record.createdAt, title: subject,
                detail: [
                    "status": record.text("status"), "priority": record.text("priority"), "kind": record.text("kind"),
                    "resolution_due": record.time("resolution_due").map(Timestamp.rfc3339),
                ]),
            Moment(
                "ticket_solved", key: "solved", at: isSolved ? record.time("solved_at") ?? record.updatedAt : nil,
                title: subject),
        ]
        if change.kind == .update, change.changes("escalations") {
            moments.append(
                Moment("ticket_escalated", key: "escalated:\(version)", at: change.now, title: subject))
        }
        if let before = change.before, ["solved", "closed"].contains(before.text("status")), !isSolved {
            moments.append(Moment("ticket_reopened", key: "reopened:\(version)", at: change.now, title: subject))
        }
        return CustomerStory(change, type: type, isOpen: !isSolved, moments: moments)
    }

    /// Keeps the scheduled escalations where the clocks are: moved with them, withdrawn when they stop.
    private static func after(_ change: Change, _ transaction: TenantTransaction, _ outbox: Outbox) async throws {
        for clock in EscalateTicketJob.Clock.allCases {
            guard change.changes(clock.field) || change.after.deletedAt != change.before?.deletedAt else { continue }
            let key = "ticket/\(change.after.id.lowercased)/\(clock.rawValue)"
            if let due = change.after.time(clock.field), change.after.deletedAt == nil {
                let job = EscalateTicketJob(ticket: change.after.id, clock: clock, due: due)
                outbox.schedule(try PendingJob(job), key: key, at: due, in: transaction)
            } else if change.before != nil {
                outbox.unschedule(keys: [key], in: transaction)
            }
        }
    }
}

/// What is said on a ticket.
enum TicketComment {
    static let type = RecordType(
        "ticket_comment", plural: "ticket_comments", schema: "tickets", label: Label("Comment", "工单回复"),
        fields: [
            Field("ticket_id", .reference("ticket"), Label("Ticket", "工单")).required().immutable(),
            Field("body", .text(max: 20_000, multiline: true), Label("Text", "内容")).required(),
            Field("author", .choice(["agent", "customer"]), Label("Author", "作者")).byDefault("agent").immutable(),
            Field("visibility", .choice(["public", "internal"]), Label("Visibility", "可见性")).byDefault("public"),
        ], rules: RecordRules(after: after))

    /// The first public word of an agent is the first response: its clock stops.
    private static func after(_ change: Change, _ transaction: TenantTransaction, _ outbox: Outbox) async throws {
        guard change.kind == .create, change.after.text("author") == "agent",
            change.after.text("visibility") == "public",
            let ticket = change.after.text("ticket_id")
        else { return }
        transaction.later(
            Statement(
                """
                update tickets.ticket set first_responded_at = $3, first_response_due = null
                where tenant_id = $1 and id = $2 and first_responded_at is null
                """, [transaction.tenant.parameter, .text(ticket), .time(change.now)]))
        outbox.unschedule(keys: ["ticket/\(ticket)/first_response"], in: transaction)
    }
}

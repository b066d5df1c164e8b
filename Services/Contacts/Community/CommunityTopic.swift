import Contracts
import Database
import Foundation
import Jobs
import Records

/// A question put to everybody. Unanswered for long, it becomes a ticket.
enum CommunityTopic {
    static let type = RecordType(
        "community_topic", plural: "community_topics", schema: "contacts", label: Label("Community topic", "社区话题"),
        fields: [
            Field("title", .text(max: 300), Label("Title", "标题")).required().sortable().searchable(),
            Field("body", .text(max: 20_000, multiline: true), Label("Text", "内容")).searchable(),
            Field("tags", .tags(max: 20), Label("Tags", "标签")).byDefault([]),
            Field("contact_id", .reference("contact"), Label("Customer who asks", "提问客户")),
            Field("author_id", .foreignID, Label("Author", "作者")).readOnly(),
            Field("answer_within_hours", .integer(min: 1, max: 720), Label("To be answered within hours", "答复时限（小时）"))
                .byDefault(24),
            Field("is_closed", .boolean, Label("Closed", "已关闭")).byDefault(false),
            Field("accepted_post_id", .foreignID, Label("Accepted answer", "采纳的回答")).readOnly(),
            Field("posts", .integer(min: 0, max: 1_000_000), Label("Posts", "帖子数")).derived().byDefault(0),
            Field("answered_at", .timestamp, Label("First answered", "首次回答")).derived().sortable(),
            Field("ticket_requested_at", .timestamp, Label("Became a ticket", "转为工单时间")).readOnly(),
            Field("ticket_id", .foreignID, Label("Ticket", "工单")).of("ticket").readOnly(),
        ], rules: RecordRules(prepare: prepare, after: after))

    private static func prepare(_ draft: inout Draft) throws {
        if draft.isCreation { draft["author_id"] = draft.user?.lowercased }
    }

    /// When the topic is to become a ticket; nil once somebody has answered, or nobody need any more.
    static func due(_ topic: Record) -> Date? {
        guard topic.deletedAt == nil, !topic.bool("is_closed"), topic.text("accepted_post_id") == nil,
            topic.text("answered_at") == nil, topic.text("ticket_requested_at") == nil
        else { return nil }
        return topic.createdAt.addingTimeInterval(Double(topic.int("answer_within_hours") ?? 24) * 3600)
    }

    /// The job that looks moves with what decides its time.
    private static func after(_ change: Change, _ transaction: TenantTransaction, _ outbox: Outbox) async throws {
        let (before, due) = (change.before.flatMap(due), due(change.after))
        if before == due { return }
        try schedule(change.after.id, due, transaction, outbox)
    }

    /// Has the job look at `due`, or not at all.
    static func schedule(
        _ id: UUID, _ due: Date?, _ transaction: TenantTransaction, _ outbox: Outbox
    ) throws {
        let key = "community-topic/\(id.lowercased)"
        guard let due else { return outbox.unschedule(keys: [key], in: transaction) }
        outbox.schedule(
            try PendingJob(EscalateTopicJob(topic: id)), key: key, at: due, in: transaction)
    }
}

/// A topic's time to be answered is over.
struct EscalateTopicJob: Job {
    static let name = "contacts.escalate-topic"
    let topic: UUID
}

/// Makes a ticket of a topic that nobody has answered: one, whatever runs twice.
struct TopicEscalation {
    let store: RecordStore

    func run(_ job: EscalateTopicJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            // Answers lock the topic too: what is seen here holds until the commit.
            guard let topic = try await store.lock(CommunityTopic.type, job.topic, in: transaction),
                let due = CommunityTopic.due(topic)
            else { return }
            if due > Date().addingTimeInterval(1) {
                // It was given more time after this look was on its way.
                return try CommunityTopic.schedule(topic.id, due, transaction, store.outbox)
            }
            let write = try await WriteContext(job: "escalate-topic", context, transaction)
            try await store.change(
                CommunityTopic.type, topic, setting: ["ticket_requested_at": [Timestamp.sqlText(Date())]], write,
                in: transaction)
            let ticket = OpenTicketJob(
                source: OpenTicketJob.community, key: topic.id.lowercased, subject: topic.text("title") ?? "—",
                description: topic.text("body"), contact: topic.uuid("contact_id"), kind: "question", channel: "web")
            store.outbox.enqueue(
                [try PendingJob(ticket, traceparent: context.traceparent)], in: transaction)
        }
    }

    /// Notes which ticket a topic has become.
    func link(_ job: LinkTopicTicketJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            guard
                let topic = try await store.lock(
                    CommunityTopic.type, job.topic, includingDeleted: true, in: transaction)
            else { return }
            let write = try await WriteContext(job: "link-topic-ticket", context, transaction)
            try await store.change(
                CommunityTopic.type, topic, setting: ["ticket_id": [job.ticket.lowercased]], write, in: transaction)
        }
    }
}

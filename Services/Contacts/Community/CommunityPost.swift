import Database
import Foundation
import Jobs
import Records

/// What somebody writes on a topic.
enum CommunityPost {
    static let type = RecordType(
        "community_post", plural: "community_posts", schema: "contacts", label: Label("Community post", "社区帖子"),
        fields: [
            Field("topic_id", .reference("community_topic"), Label("Topic", "话题")).required().immutable(),
            Field("body", .text(max: 20_000, multiline: true), Label("Text", "内容")).required().searchable(),
            Field("contact_id", .reference("contact"), Label("Customer who writes", "发帖客户")),
            Field("author_id", .foreignID, Label("Author", "作者")).readOnly(),
            Field("votes", .integer(min: -1_000_000, max: 1_000_000), Label("Votes", "票数")).derived().byDefault(0),
            Field("is_accepted", .boolean, Label("Accepted answer", "已采纳")).derived().byDefault(false),
        ], rules: RecordRules(prepare: prepare, check: check, after: after))

    private static func prepare(_ draft: inout Draft) throws {
        if draft.isCreation { draft["author_id"] = draft.user?.lowercased }
    }

    /// Locks the topic, so that posts of one topic count one after the other; a closed one takes none.
    private static func check(_ draft: inout Draft, _ transaction: TenantTransaction) async throws {
        guard draft.isCreation else { return }
        let rows = try await transaction.query(
            """
            select is_closed from contacts.community_topic
            where tenant_id = $1 and id = $2 and deleted_at is null for update
            """, [transaction.tenant.parameter, .optional(draft["topic_id"])])
        guard rows.count == 1 else {
            throw Problem(
                409, "no_such_record", "The topic does not exist.",
                fields: [FieldError("/topic_id", "no_such_record", "There is no such topic.")])
        }
        if rows.bool(0, 0) == true { throw Problem(409, "closed", "The topic is closed.") }
    }

    /// The topic's count and first answer follow from its posts. Whoever asks does not answer.
    private static func after(_ change: Change, _ transaction: TenantTransaction, _ outbox: Outbox) async throws {
        guard change.kind != .update, let topic = change.after.text("topic_id") else { return }
        if change.kind == .delete && change.after.bool("is_accepted") {
            throw Problem(409, "accepted", "This is the accepted answer: take that back first.")
        }
        let results = try await transaction.batch([
            Statement(
                "select 1 from contacts.community_topic where tenant_id = $1 and id = $2 for update",
                [transaction.tenant.parameter, .text(topic)]),
            Statement(
                """
                update contacts.community_topic t
                set posts = p.count, answered_at = p.answered_at
                from (
                    select count(p.id) as count, min(p.created_at) filter (
                        where p.id is not null
                        and (coalesce(p.contact_id, p.author_id) = coalesce(q.contact_id, q.author_id)) is not true
                    ) as answered_at
                    from contacts.community_topic q
                    left join contacts.community_post p
                        on p.tenant_id = $1 and p.topic_id = q.id and p.deleted_at is null
                    where q.tenant_id = $1 and q.id = $2
                ) p
                where t.tenant_id = $1 and t.id = $2
                returning \(CommunityTopic.type.selectList.split(separator: ", ").map { "t.\($0)" }.joined(separator: ", "))
                """, [transaction.tenant.parameter, .text(topic)]),
        ])
        guard results[1].count == 1 else { return }
        let record = Record(results[1], 0, type: CommunityTopic.type)
        try CommunityTopic.schedule(record.id, CommunityTopic.due(record), transaction, outbox)
    }
}

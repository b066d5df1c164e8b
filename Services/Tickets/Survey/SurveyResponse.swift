import Contracts
import Database
import Foundation
import Jobs
import Records

/// What a customer expected and what they got: satisfaction is performance minus expectation.
///
/// (Kotler: satisfaction is the pleasure or disappointment from comparing perceived performance with expectations.)
enum SurveyResponse {
    static let type = RecordType(
        "survey_response", plural: "survey_responses", schema: "tickets", label: Label("Survey response", "满意度回访"),
        fields: [
            Field("ticket_id", .reference("ticket"), Label("Ticket", "工单")).required().immutable(),
            Field("answers", .list(answer, max: 50), Label("Answers", "回答")).required().impersonal(),
            Field("csat", .integer(min: 1, max: 5), Label("CSAT", "满意度")),
            Field("nps", .integer(min: 0, max: 10), Label("Would recommend", "推荐意愿")),
            Field("comment", .text(max: 5_000, multiline: true), Label("Comment", "意见")),
            Field("contact_id", .foreignID, Label("Contact", "联系人")).of("contact").readOnly(),
            Field("gap", .number(min: -9, max: 9), Label("Gap", "满意度差距")).readOnly().sortable(),
        ],
        rules: RecordRules(prepare: prepare, check: check, effects: effects))

    private static let answer = [
        Field("item", .text(max: 200), Label("Item", "项目")).required(),
        Field("driver", .choice(["basics", "support", "recovery", "personalisation"]), Label("Driver", "驱动因素"))
            .byDefault("support"),
        Field("expectation", .integer(min: 1, max: 10), Label("Expectation", "期望")).required(),
        Field("performance", .integer(min: 1, max: 10), Label("Performance", "实际")).required(),
    ]

    private static func prepare(_ draft: inout Draft) throws {
        let answers = draft.record.json("answers")?.array ?? []
        guard !answers.isEmpty else {
            draft["gap"] = nil
            return
        }
        let gaps = answers.map { ($0["performance"]?.int ?? 0) - ($0["expectation"]?.int ?? 0) }
        draft["gap"] = "\(Double(gaps.reduce(0, +)) / Double(gaps.count))"
    }

    private static func check(_ draft: inout Draft, _ transaction: TenantTransaction) async throws {
        guard draft.isCreation || draft.changes("ticket_id") else { return }
        let rows = try await transaction.query(
            "select contact_id from tickets.ticket where tenant_id = $1 and id = $2 and deleted_at is null",
            [transaction.tenant.parameter, .optional(draft["ticket_id"])])
        guard rows.count == 1 else {
            throw Problem(
                409, "no_such_record", "The ticket does not exist.",
                fields: [FieldError("/ticket_id", "no_such_record", "There is no such ticket.")])
        }
        draft["contact_id"] = rows.text(0, 0)
    }

    private static func effects(_ change: Change) -> Effects {
        // Answers that were taken back count no longer.
        let gap = change.after.double("gap")
        if gap == nil && change.before?.double("gap") == nil { return Effects() }
        let answered = SurveyAnswered(facts: [
            Fact(
                id: change.after.id, version: change.after.version, contact: change.after.uuid("contact_id"),
                at: change.after.createdAt,
                state: change.after.deletedAt == nil && gap != nil ? "answered" : "deleted",
                measure: gap)
        ])
        let moment = Moment(
            "survey", at: change.after.createdAt,
            detail: [
                "gap": gap.map { "\($0)" }, "csat": change.after.text("csat"), "nps": change.after.text("nps"),
                "ticket_id": change.after.text("ticket_id"),
            ])
        let story = CustomerStory(change, type: type, moments: [moment])
        return Effects(events: [answered] + (CustomerStoriesTold.of(story) as [any Event]))
    }
}

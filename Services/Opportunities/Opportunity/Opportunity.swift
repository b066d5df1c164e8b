import Contracts
import Database
import Foundation
import Jobs
import Records

/// A deal: its stage says how far it is, and its history how long each stage took.
enum Opportunity {
    static let type = RecordType(
        "opportunity", plural: "opportunities", schema: "opportunities", label: Label("Opportunity", "商机"),
        fields: [
            Field("name", .text(max: 200), Label("Name", "名称")).required().sortable().searchable(),
            Field("contact_id", .foreignID, Label("Contact", "联系人")).of("contact"),
            Field("organization_id", .foreignID, Label("Organization", "公司")),
            Field("pipeline_id", .reference("pipeline"), Label("Pipeline", "销售管道")),
            Field("stage_id", .reference("stage"), Label("Stage", "阶段")),
            Field("amount", .money, Label("Amount", "金额")).sortable(),
            Field("expected_close", .date, Label("Expected close", "预计成交日")).sortable(),
            Field("competitors", .tags(max: 20), Label("Competitors", "竞争对手")).byDefault([]).impersonal(),
            Field("loss_reason", .text(max: 300), Label("Reason for the loss", "丢单原因")),
            Field("next_step", .text(max: 300), Label("Next step", "下一步")),
            Field("status", .choice(["open", "won", "lost"]), Label("Status", "状态")).readOnly().byDefault("open"),
            Field("probability", .integer(min: 0, max: 100), Label("Probability", "成交概率")).readOnly(),
            Field("closed_at", .timestamp, Label("Closed", "关闭时间")).readOnly().sortable(),
        ] + RecordType.origin,
        rules: RecordRules(check: check, effects: effects, after: after))

    /// The stage decides status and probability. Without one, a deal begins at the first of the default pipeline.
    private static func check(_ draft: inout Draft, _ transaction: TenantTransaction) async throws {
        guard draft.isCreation || draft.changes("stage_id") || draft.changes("pipeline_id") else { return }
        let tenant = transaction.tenant.parameter
        let rows: Rows
        if let stage = draft["stage_id"] {
            rows = try await transaction.query(
                """
                select id, pipeline_id, kind, probability from opportunities.stage
                where tenant_id = $1 and id = $2 and deleted_at is null
                """, [tenant, .text(stage)])
            guard rows.count == 1 else { throw noStage("/stage_id") }
        } else {
            rows = try await firstStage(of: draft["pipeline_id"], transaction)
            guard rows.count == 1 else { throw noStage("/pipeline_id") }
        }
        let pipeline = rows.text(0, 1)
        if let wanted = draft["pipeline_id"], wanted != pipeline {
            throw Problem(
                409, "other_pipeline", "The stage belongs to another pipeline.",
                fields: [FieldError("/stage_id", "other_pipeline", "This stage belongs to another pipeline.")])
        }
        draft["stage_id"] = rows.text(0, 0)
        draft["pipeline_id"] = pipeline
        draft["status"] = rows.text(0, 2)
        draft["probability"] = rows.text(0, 3)
        if draft["status"] == "open" {
            draft["closed_at"] = nil
        } else if draft["closed_at"] == nil {
            draft["closed_at"] = Timestamp.sqlText(draft.now)
        }
    }

    private static func firstStage(of pipeline: String?, _ transaction: TenantTransaction) async throws -> Rows {
        try await transaction.query(
            """
            select s.id, s.pipeline_id, s.kind, s.probability from opportunities.stage s
            join opportunities.pipeline p on p.tenant_id = s.tenant_id and p.id = s.pipeline_id
            where s.tenant_id = $1 and s.deleted_at is null and p.deleted_at is null
            and ($2::uuid is null or s.pipeline_id = $2)
            order by p.is_default desc, p.created_at, s.position, s.id limit 1
            """, [transaction.tenant.parameter, .optional(pipeline)])
    }

    /// True when a deal that names no stage has one to begin at.
    static func hasFirstStage(_ transaction: TenantTransaction) async throws -> Bool {
        !(try await firstStage(of: nil, transaction)).isEmpty
    }

    static func noStage(_ pointer: String) -> Problem {
        Problem(
            409, "no_stage", "There is no stage for the deal: make a pipeline with stages first.",
            fields: [FieldError(pointer, "no_such_record", "There is no such record with a stage.")])
    }

    private static func effects(_ change: Change) -> Effects {
        let record = change.after
        let money = record.money("amount")
        let status = record.text("status") ?? "open"
        let changed = OpportunityChanged(facts: [
            Fact(
                id: record.id, version: record.version, contact: record.uuid("contact_id"),
                at: status == "open" ? record.createdAt : record.time("closed_at") ?? record.updatedAt,
                state: record.deletedAt == nil ? status : "deleted", amount: money?.amount,
                currency: money?.currency)
        ])
        return Effects(events: [changed] + (CustomerStoriesTold.of(story(change)) as [any Event]))
    }

    /// What of the deal stands on its customer's timeline.
    private static func story(_ change: Change) -> CustomerStory? {
        let record = change.after
        let (status, money, name) = (record.text("status") ?? "open", record.money("amount"), record.text("name"))
        func moment(_ kind: String, key: String = "", at: Date?, _ detail: [String: String?] = [:]) -> Moment {
            Moment(
                kind, key: key, at: at, title: name, amount: money?.amount, currency: money?.currency, detail: detail)
        }
        let closed = record.time("closed_at") ?? record.updatedAt
        var moments = [
            moment(
                "deal_created", at: record.createdAt,
                ["status": status, "expected_close": record.text("expected_close")]),
            moment("deal_won", key: "won", at: status == "won" ? closed : nil),
            moment(
                "deal_lost", key: "lost", at: status == "lost" ? closed : nil, ["reason": record.text("loss_reason")]),
        ]
        if change.kind == .update, change.changes("stage_id") {
            moments.append(
                moment(
                    "deal_stage", key: "stage:\(record.version)", at: change.now,
                    ["stage_id": record.text("stage_id"), "from": change.before?.text("stage_id")]))
        }
        return CustomerStory(change, type: type, isOpen: status == "open", moments: moments)
    }

    /// One row per stay in a stage.
    private static func after(_ change: Change, _ transaction: TenantTransaction, _ outbox: Outbox) async throws {
        guard change.changes("stage_id"), let stage = change.after.text("stage_id") else { return }
        let tenant = transaction.tenant.parameter
        transaction.later(
            Statement(
                """
                update opportunities.stage_stay set left_at = $3
                where tenant_id = $1 and opportunity_id = $2 and left_at is null
                """, [tenant, .uuid(change.after.id), .time(change.now)]))
        transaction.later(
            Statement(
                """
                insert into opportunities.stage_stay (tenant_id, opportunity_id, version, stage_id, entered_at)
                values ($1, $2, $3, $4, $5)
                """, [tenant, .uuid(change.after.id), .int(change.after.version), .text(stage), .time(change.now)]))
    }
}

import Contracts
import Database
import Foundation
import Jobs
import Records

/// Lets contacts enter the stages that analytics found, once for each change, says so on their timelines, and starts their
/// playbooks.
struct LifecycleStore {
    let store: RecordStore

    /// Takes summaries that are newer than all before, in the order of contacts. A stage that is the present one already
    /// changes nothing.
    func enter(_ summaries: [CustomerSummary], _ context: JobContext, _ transaction: TenantTransaction) async throws {
        let known = summaries.filter { $0.stage != nil }
        if known.isEmpty { return }
        let rows = try await transaction.query(
            """
            select id, lifecycle_stage, deleted_at is null from contacts.contact
            where tenant_id = $1 and id = any($2::uuid[]) order by id for update
            """, [transaction.tenant.parameter, .array(known.map(\.contact.lowercased))])
        let stages = Dictionary(known.map { ($0.contact, $0) }, uniquingKeysWith: { first, _ in first })
        let now = Date()
        var changes: [UUID] = []
        for row in 0..<rows.count {
            let contact = rows.uuid(row, 0)!
            guard let summary = stages[contact], let assessment = summary.stage,
                rows.text(row, 1) != assessment.stage.rawValue
            else { continue }
            let change = UUID.v7(at: now)
            changes.append(change)
            transaction.later(
                Statement(
                    """
                    update contacts.contact set lifecycle_stage = $3, lifecycle_group = $4
                    where tenant_id = $1 and id = $2
                    """,
                    [
                        transaction.tenant.parameter, .uuid(contact), .text(assessment.stage.rawValue),
                        .text(assessment.stage.group.rawValue),
                    ]))
            transaction.later(
                Statement(
                    """
                    insert into contacts.lifecycle_change
                        (tenant_id, id, contact_id, from_stage, to_stage, sequence, rule, figures, computed_at, at)
                    values ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10)
                    """,
                    [
                        transaction.tenant.parameter, .uuid(change), .uuid(contact), .optional(rows.text(row, 1)),
                        .text(assessment.stage.rawValue), .int(summary.sequence), .text(assessment.rule),
                        .text(Self.figures(assessment).encoded), .time(summary.computedAt), .time(now),
                    ]))
            // Nobody runs after whoever is no longer here.
            guard rows.bool(row, 2) == true else { continue }
            let job = RunPlaybooksJob(change: change, contact: contact)
            store.outbox.enqueue([try PendingJob(job, traceparent: context.traceparent)], in: transaction)
        }
        if !changes.isEmpty { transaction.later(TimelineStore.copy(.lifecycleChange, changes, transaction)) }
    }

    private static func figures(_ assessment: StageAssessment) -> JSONValue {
        .object(assessment.figures.mapValues { .number("\($0)") })
    }
}

import Contracts
import Foundation
import Jobs
import Records

/// Records of this service that stand on timelines, one moment each, read from their own table.
enum TimelineSource: String, CaseIterable, Codable, Sendable {
    case activity, appointment, task
    case lifecycleChange = "lifecycle_change"

    /// What follows tenant, id and contact in the columns of `timeline_entry`, of the row `r`.
    var select: String {
        switch self {
        case .activity:
            """
            r.occurred_at, r.kind, 'contacts', 'activity', r.id, r.version, r.subject,
            jsonb_strip_nulls(jsonb_build_object('direction', r.direction, 'duration_seconds', r.duration_seconds,
                'outcome', r.outcome)),
            r.owner_id, r.team_id, false, r.deleted_at is not null, false
            """
        case .appointment:
            """
            r.starts_at, 'appointment', 'contacts', 'appointment', r.id, r.version, r.subject,
            jsonb_strip_nulls(jsonb_build_object('status', r.status, 'place', r.place, 'outcome', r.outcome)),
            r.owner_id, r.team_id, false, r.deleted_at is not null, r.contact_id is null
            """
        case .task:
            """
            coalesce(r.done_at, 'epoch'), 'task_done', 'contacts', 'task', r.id, r.version, r.subject, '{}'::jsonb,
            r.owner_id, r.team_id, false, r.deleted_at is not null, r.done_at is null or r.contact_id is null
            """
        case .lifecycleChange:
            // It is the contact's own, and follows it into a merge and out again.
            """
            r.at, 'lifecycle', 'contacts', 'contact', r.contact_id, 1, r.to_stage,
            jsonb_strip_nulls(jsonb_build_object('from', r.from_stage, 'to', r.to_stage, 'rule', r.rule)),
            null::uuid, null::uuid, false, false, false
            """
        }
    }
}

/// Appointments or tasks have changed that concern a contact.
struct PlanChanged: Event {
    static let name = "contacts.plan.changed"
    let source: TimelineSource
    let ids: [UUID]

    static func coalesced(_ events: [PlanChanged]) -> [PlanChanged] {
        Dictionary(grouping: events, by: \.source).sorted { $0.key.rawValue < $1.key.rawValue }.flatMap { source, own in
            let all = own.flatMap(\.ids)
            return stride(from: 0, to: all.count, by: 250).map {
                PlanChanged(source: source, ids: Array(all[$0..<min($0 + 250, all.count)]))
            }
        }
    }

    /// What a change of an appointment or a task tells; nothing where no contact is or was concerned.
    static func of(_ change: Change, _ source: TimelineSource) -> Effects {
        guard change.after.uuid("contact_id") != nil || change.before?.uuid("contact_id") != nil else {
            return Effects()
        }
        return Effects(events: [PlanChanged(source: source, ids: [change.after.id])])
    }
}

/// Puts on the timelines what the tenant had before they were kept.
struct BackfillTimelineJob: Job {
    static let name = "contacts.backfill-timeline"
    static let options = JobOptions.long
}

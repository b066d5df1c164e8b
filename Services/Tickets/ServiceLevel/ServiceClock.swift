import Database
import Foundation
import Records

/// A policy as it applies to a ticket: its calendar and its targets.
struct AppliedPolicy: Sendable {
    let id: String
    let calendar: WorkingCalendar
    let escalationTeam: String?
    /// Working seconds by priority.
    let firstResponse: [String: TimeInterval]
    let resolution: [String: TimeInterval]

    /// The policy with this id, or the default one; nil when there is none.
    static func find(_ id: String?, _ transaction: TenantTransaction) async throws -> AppliedPolicy? {
        let rows = try await transaction.query(
            """
            select p.id, p.escalation_team_id, p.targets::text, c.time_zone, c.hours::text, c.holidays::text
            from tickets.sla_policy p
            left join tickets.calendar c on c.tenant_id = p.tenant_id and c.id = p.calendar_id and c.deleted_at is null
            where p.tenant_id = $1 and p.deleted_at is null and (p.id = $2 or ($2::uuid is null and p.is_default))
            order by p.created_at limit 1
            """, [transaction.tenant.parameter, .optional(id)])
        if rows.isEmpty { return nil }
        var calendar = WorkingCalendar.always
        if let zone = rows.text(0, 3) {
            calendar = try WorkingCalendarRecord.calendar(
                timeZone: zone, hours: try rows.text(0, 4).map { try JSONParser.parse($0.utf8) },
                holidays: try rows.text(0, 5).map { try JSONParser.parse($0.utf8) })
        }
        var firstResponse: [String: TimeInterval] = [:]
        var resolution: [String: TimeInterval] = [:]
        for target in try JSONParser.parse((rows.text(0, 2) ?? "[]").utf8).array ?? [] {
            guard let priority = target["priority"]?.text else { continue }
            firstResponse[priority] = target["first_response_seconds"]?.int.map(TimeInterval.init)
            resolution[priority] = target["resolution_seconds"]?.int.map(TimeInterval.init)
        }
        return AppliedPolicy(
            id: rows.text(0, 0)!, calendar: calendar, escalationTeam: rows.text(0, 1), firstResponse: firstResponse,
            resolution: resolution)
    }
}

/// When a ticket's clocks run out. Pure: from the draft, the policy and the draft's time alone.
enum ServiceClock {
    /// Statuses in which we wait for the customer: the resolution clock stands still.
    private static let paused: Set<String> = ["pending", "on_hold"]
    private static let over: Set<String> = ["solved", "closed"]

    /// Sets the clocks of `draft` by `policy`; `previous` is the policy that set them before.
    ///
    /// A new or reopened ticket starts them. Another priority or policy moves them by what the target changed: what has
    /// been used stays used, pauses stay paused, and a clock that has run out is not started again.
    static func set(_ draft: inout Draft, _ policy: AppliedPolicy?, previous: AppliedPolicy?) {
        let status = draft["status"] ?? "new"
        let wasOver = draft.before.map { over.contains($0.text("status") ?? "") } ?? false
        if over.contains(status) {
            if !wasOver { draft["solved_at"] = Timestamp.sqlText(draft.now) }
            draft["first_response_due"] = nil
            draft["resolution_due"] = nil
            draft["resolution_left"] = nil
            return
        }
        draft["solved_at"] = nil
        guard let policy else { return }
        let priority = draft["priority"] ?? "normal"
        let isNew = draft.isCreation || wasOver
        let isMoved = draft.changes("priority") || draft.changes("sla_policy_id")
        let wasPaused = draft.before.map { paused.contains($0.text("status") ?? "") } ?? false
        if isNew || isMoved {
            let before = draft.before?.text("priority") ?? "normal"
            func due(_ field: String, _ targets: (AppliedPolicy) -> [String: TimeInterval]) -> String? {
                let target = targets(policy)[priority]
                let earlier = isNew ? nil : previous.flatMap { targets($0)[before] }
                return moved(draft, field, policy, target, previous, earlier, isNew: isNew).map(Timestamp.sqlText)
            }
            if draft["first_responded_at"] == nil {
                draft["first_response_due"] = due("first_response_due", \.firstResponse)
            }
            if wasPaused && !isNew, let left = draft.record.double("resolution_left") {
                let difference = (policy.resolution[priority] ?? 0) - (previous?.resolution[before] ?? 0)
                draft["resolution_left"] = policy.resolution[priority] == nil ? nil : "\(max(0, left + difference))"
            } else {
                draft["resolution_due"] = due("resolution_due", \.resolution)
            }
        }
        let isPaused = paused.contains(status)
        if isPaused && !wasPaused, let due = draft.record.time("resolution_due") {
            draft["resolution_left"] = "\(policy.calendar.seconds(from: draft.now, to: due))"
            draft["resolution_due"] = nil
        } else if !isPaused && wasPaused, let left = draft.record.double("resolution_left") {
            draft["resolution_due"] = policy.calendar.date(after: left, from: draft.now).map(Timestamp.sqlText)
            draft["resolution_left"] = nil
        }
    }

    /// Where a clock ends under `target`, when it ended where `field` says under `earlier`.
    private static func moved(
        _ draft: Draft, _ field: String, _ policy: AppliedPolicy, _ target: TimeInterval?, _ previous: AppliedPolicy?,
        _ earlier: TimeInterval?, isNew: Bool
    ) -> Date? {
        guard let target else { return nil }
        if isNew { return policy.calendar.date(after: target, from: draft.now) }
        // There was no such target until now: what has passed since the ticket came counts.
        guard let earlier, let previous else {
            return policy.calendar.date(after: target, from: draft.record.createdAt)
        }
        guard let due = draft.record.time(field) else { return nil }
        let left =
            due > draft.now
            ? previous.calendar.seconds(from: draft.now, to: due)
            : -previous.calendar.seconds(from: due, to: draft.now)
        let remaining = target - earlier + left
        return remaining > 0 ? policy.calendar.date(after: remaining, from: draft.now) : draft.now
    }
}

import Database
import Foundation
import Records

/// People who answer tickets together.
enum Team {
    static let type = RecordType(
        "team", plural: "teams", schema: "tickets", label: Label("Team", "团队"),
        fields: [
            Field("name", .text(max: 120), Label("Name", "名称")).required().sortable(),
            Field("skills", .tags(max: 50), Label("Skills", "技能")).byDefault([]),
        ])
}

/// A working calendar as a record.
enum WorkingCalendarRecord {
    static let type = RecordType(
        "calendar", plural: "calendars", schema: "tickets", label: Label("Calendar", "工作日历"),
        fields: [
            Field("name", .text(max: 120), Label("Name", "名称")).required().sortable(),
            Field("time_zone", .choice(TimeZone.knownTimeZoneIdentifiers.sorted() + ["UTC"]), Label("Time zone", "时区"))
                .required(),
            Field("hours", .list(slot, max: 50), Label("Working hours", "工作时间")).byDefault([]),
            Field(
                "holidays", .list([Field("day", .date, Label("Day", "日期")).required()], max: 400),
                Label("Holidays", "节假日")
            )
            .byDefault([]),
        ], rules: RecordRules(prepare: prepare))

    private static func prepare(_ draft: inout Draft) throws {
        _ = try calendar(
            timeZone: draft["time_zone"] ?? "UTC", hours: draft.record.json("hours"),
            holidays: draft.record.json("holidays"))
    }

    private static let slot = [
        Field("weekday", .integer(min: 1, max: 7), Label("Weekday, 1 is Monday", "星期")).required(),
        Field("from_minute", .integer(min: 0, max: 1439), Label("From, in minutes of the day", "开始")).required(),
        Field("to_minute", .integer(min: 1, max: 1440), Label("To, in minutes of the day", "结束")).required(),
    ]

    /// The record as a value to compute with. Throws where slots are empty or overlap.
    static func calendar(timeZone: String, hours: JSONValue?, holidays: JSONValue?) throws -> WorkingCalendar {
        var slots: [Int: [WorkingCalendar.Slot]] = [:]
        for (index, entry) in (hours?.array ?? []).enumerated() {
            guard let day = entry["weekday"]?.int, let from = entry["from_minute"]?.int,
                let to = entry["to_minute"]?.int,
                from < to
            else {
                throw Problem(
                    409, "empty_slot", "A slot ends after it begins.",
                    fields: [FieldError("/hours/\(index)", "empty_slot", "The end must lie after the beginning.")])
            }
            if slots[day, default: []].contains(where: { $0.from < to && from < $0.to }) {
                throw Problem(
                    409, "overlapping_slots", "Slots of one day do not overlap.",
                    fields: [FieldError("/hours/\(index)", "overlapping_slots", "It overlaps an earlier slot.")])
            }
            slots[day, default: []].append(WorkingCalendar.Slot(from: from, to: to))
        }
        for day in slots.keys { slots[day]!.sort { $0.from < $1.from } }
        let daysOff = (holidays?.array ?? []).compactMap { $0["day"]?.text }
        return WorkingCalendar(
            timeZone: TimeZone(identifier: timeZone) ?? .gmt, slots: slots, holidays: Set(daysOff))
    }
}

/// What is promised: how soon a ticket is answered and solved, by priority, in working time.
enum ServiceLevelPolicy {
    static let type = RecordType(
        "sla_policy", plural: "sla_policies", schema: "tickets", label: Label("Service level", "服务级别"),
        fields: [
            Field("name", .text(max: 120), Label("Name", "名称")).required().sortable(),
            Field("is_default", .boolean, Label("Default", "默认")).byDefault(false),
            Field("calendar_id", .reference("calendar"), Label("Calendar", "工作日历")),
            Field("escalation_team_id", .reference("team"), Label("Escalates to", "升级团队")),
            Field("targets", .list(target, max: 4), Label("Targets", "目标")).byDefault([]),
        ])

    private static let target = [
        Field("priority", .choice(Ticket.priorities), Label("Priority", "优先级")).required(),
        Field(
            "first_response_seconds", .integer(min: 1, max: 31_536_000),
            Label("First response, working seconds", "首次响应")),
        Field("resolution_seconds", .integer(min: 1, max: 31_536_000), Label("Resolution, working seconds", "解决时限")),
    ]
}

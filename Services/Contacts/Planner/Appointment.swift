import Database
import Foundation
import Jobs
import Records

/// A planned meeting or call, with its reminders.
enum Appointment {
    static let type = RecordType(
        "appointment", plural: "appointments", schema: "contacts", label: Label("Appointment", "预约"),
        fields: [
            Field("subject", .text(max: 300), Label("Subject", "主题")).required().searchable(),
            Field("starts_at", .timestamp, Label("Starts", "开始")).required().sortable(),
            Field("ends_at", .timestamp, Label("Ends", "结束")).sortable(),
            Field("place", .text(max: 300), Label("Place", "地点")),
            Field("contact_id", .reference("contact"), Label("Contact", "联系人")),
            Field("attendees", .list(attendee, max: 100), Label("Attendees", "参加者")).byDefault([]),
            Field("reminders", .list(reminder, max: 10), Label("Reminders", "提醒")).byDefault([]),
            Field("status", .choice(["planned", "held", "cancelled", "no_show"]), Label("Status", "状态")).byDefault(
                "planned"),
            Field("outcome", .text(max: 1_000, multiline: true), Label("Outcome", "结果")),
        ] + RecordType.origin,
        rules: RecordRules(prepare: prepare, effects: { PlanChanged.of($0, .appointment) }, after: after))

    private static let attendee = [
        Field("name", .text(max: 200), Label("Name", "姓名")),
        Field("email", .email, Label("E-mail", "邮箱")),
        Field("user_id", .foreignID, Label("User", "用户")),
    ]

    private static let reminder = [
        Field("minutes_before", .integer(min: 0, max: 40_320), Label("Minutes before", "提前分钟数")).required()
    ]

    private static func prepare(_ draft: inout Draft) throws {
        guard let starts = draft.record.time("starts_at") else { return }
        if let ends = draft.record.time("ends_at"), ends < starts {
            throw FieldError("/ends_at", "before_start", "It can't end before it starts.")
        }
    }

    /// Every reminder is a scheduled job: it moves with the appointment, and goes when the appointment does.
    private static func after(_ change: Change, _ transaction: TenantTransaction, _ outbox: Outbox) async throws {
        let (before, after) = (change.before.map(times) ?? [:], times(change.after))
        let gone = before.keys.filter { after[$0] == nil }
        if !gone.isEmpty { outbox.unschedule(keys: gone.map { key(change.after.id, $0) }, in: transaction) }
        for (minutes, time) in after where before[minutes] != time {
            // What is over when it is written down needs no reminder any more.
            guard time > change.now.addingTimeInterval(-60) else { continue }
            let job = RemindOfAppointmentJob(appointment: change.after.id, minutesBefore: minutes, at: time)
            outbox.schedule(
                try PendingJob(job), key: key(change.after.id, minutes), at: time, in: transaction)
        }
    }

    /// When each reminder of a living, planned appointment is due, by its minutes.
    static func times(_ record: Record) -> [Int: Date] {
        guard record.deletedAt == nil, record.text("status") == "planned", let starts = record.time("starts_at") else {
            return [:]
        }
        let minutes = (record.json("reminders")?.array ?? []).compactMap { $0["minutes_before"]?.int }
        return Dictionary(
            minutes.map { ($0, starts.addingTimeInterval(-60 * Double($0))) }, uniquingKeysWith: { first, _ in first })
    }

    private static func key(_ id: UUID, _ minutes: Int) -> String { "appointment/\(id.lowercased)/\(minutes)" }
}

/// An appointment is so many minutes away.
struct RemindOfAppointmentJob: Job {
    static let name = "contacts.remind-of-appointment"
    let appointment: UUID
    let minutesBefore: Int
    let at: Date
}

/// Puts a reminder where its people see it.
struct AppointmentReminder {
    let store: RecordStore

    func run(_ job: RemindOfAppointmentJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            guard let record = try await store.lock(Appointment.type, job.appointment, in: transaction) else { return }
            // It may have been moved or called off since the job left for Redis: only the appointment knows.
            guard let due = Appointment.times(record)[job.minutesBefore], abs(due.timeIntervalSince(job.at)) < 0.001
            else { return }
            let write = try await WriteContext(job: "remind", context, transaction)
            let attendees = (record.json("attendees")?.array ?? []).compactMap { $0["user_id"]?.text }
            let people = Set(attendees + [record.text("owner_id")].compactMap { $0 })
            for person in people.sorted().map(Optional.some) + (people.isEmpty ? [nil] : []) {
                try await store.create(
                    Notification.type,
                    [
                        "user_id": JSONValue(person), "kind": "reminder",
                        "subject": JSONValue(record.text("subject")), "record_type": "appointment",
                        "record_id": .string(record.id.lowercased), "at": .string(Timestamp.rfc3339(due)),
                    ], write, in: transaction)
            }
        }
    }
}

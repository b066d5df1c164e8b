import Database
import Foundation
import Records

/// A telephone call, as the telephone system tells of it: made and changed by `POST /v1/calls` alone.
enum Call {
    static let type = RecordType(
        "call", plural: "calls", schema: "contacts", label: Label("Call", "通话"),
        fields: [
            Field("call_id", .text(max: 200), Label("The telephone system's id", "通话编号")).readOnly().sortable(),
            Field("direction", .choice(["inbound", "outbound"]), Label("Direction", "方向")).readOnly(),
            Field("state", .choice(CallProgress.State.allCases.map(\.rawValue)), Label("State", "状态")).readOnly(),
            Field("caller", .text(max: 60), Label("Caller", "主叫")).readOnly(),
            Field("callee", .text(max: 60), Label("Callee", "被叫")).readOnly(),
            Field("number", .text(max: 60), Label("The customer's number", "客户号码")).readOnly(),
            Field("contact_id", .reference("contact"), Label("Contact", "联系人")).readOnly(),
            Field("user_id", .foreignID, Label("Agent", "坐席")).readOnly(),
            Field("agent_state", .choice(CallProgress.State.allCases.map(\.rawValue)), Label("Agent known by", "坐席来源"))
                .readOnly(),
            Field("agent_at", .timestamp, Label("Agent known since", "坐席时间")).readOnly(),
            Field("ringing_at", .timestamp, Label("Rang", "振铃时间")).readOnly().sortable(),
            Field("answered_at", .timestamp, Label("Answered", "接听时间")).readOnly(),
            Field("ended_at", .timestamp, Label("Ended", "结束时间")).readOnly(),
            Field("missed_at", .timestamp, Label("Missed", "未接时间")).readOnly(),
            Field("duration_seconds", .integer(min: 0, max: 864_000), Label("Duration in seconds", "时长（秒）")).readOnly(),
            Field("told_seconds", .integer(min: 0, max: 864_000), Label("Duration as told", "上报时长（秒）")).readOnly(),
            Field("activity_id", .reference("activity"), Label("Activity", "互动")).readOnly(),
        ], operations: [], title: "number")
}

extension CallProgress {
    /// How a call stands.
    init(_ record: Record) {
        ringingAt = record.time("ringing_at")
        answeredAt = record.time("answered_at")
        endedAt = record.time("ended_at")
        missedAt = record.time("missed_at")
        duration = record.int("told_seconds")
        if let user = record.uuid("user_id"), let at = record.time("agent_at"),
            let state = record.text("agent_state").flatMap(State.init(rawValue:))
        {
            agent = Agent(user: user, state: state, at: at)
        }
    }

    /// The record's columns.
    var values: [String: [String?]] {
        func time(_ date: Date?) -> [String?] { [date.map(Timestamp.sqlText)] }
        return [
            "state": [state.rawValue], "ringing_at": time(ringingAt), "answered_at": time(answeredAt),
            "ended_at": time(endedAt), "missed_at": time(missedAt), "duration_seconds": [length.map(String.init)],
            "told_seconds": [duration.map(String.init)], "user_id": [agent?.user.lowercased],
            "agent_state": [agent?.state.rawValue], "agent_at": time(agent?.at),
        ]
    }
}

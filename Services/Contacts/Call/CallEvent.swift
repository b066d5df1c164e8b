import Database
import Foundation
import Records
import Tenancy

/// What a telephone system's webhook says: one state of one call.
struct CallEvent: Sendable {
    let callID: String
    let state: CallProgress.State
    let direction: String
    let caller: String?
    let callee: String?
    let at: Date
    let extensionNumber: String?
    let user: UUID?
    let duration: Int?

    /// The body's members.
    static let fields = [
        Field("call_id", .text(max: 200), Label("The telephone system's id of the call", "通话编号")).required(),
        Field("state", .choice(CallProgress.State.allCases.map(\.rawValue)), Label("State", "状态")).required(),
        Field("direction", .choice(["inbound", "outbound"]), Label("Direction, inbound by default", "方向")),
        Field("caller", .text(max: 60), Label("Caller", "主叫")),
        Field("callee", .text(max: 60), Label("Callee", "被叫")),
        Field("at", .timestamp, Label("When it came to this state, now by default", "时间")),
        Field("extension", .text(max: 60), Label("The agent's extension", "分机号")),
        Field("user_id", .foreignID, Label("The agent", "坐席")),
        Field("duration_seconds", .integer(min: 0, max: 864_000), Label("Seconds spoken", "时长（秒）")),
    ]

    /// Reads a body; throws 422 with everything wrong with it.
    init(_ body: JSONValue, _ defaults: TenantDefaults, now: Date) throws(Problem) {
        guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
        let reader = FieldReader(defaults: defaults)
        var errors: [FieldError] = []
        var values: [String: String] = [:]
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            guard let field = Self.fields.first(where: { $0.name == name }) else {
                errors.append(FieldError("/\(name)", "unknown_field", "There is no such field."))
                continue
            }
            do throws(FieldError) { values[name] = try reader.read(value, as: field, at: "/\(name)")[0] } catch {
                errors.append(error)
            }
        }
        for field in Self.fields where field.isRequired && values[field.name] == nil {
            if errors.contains(where: { $0.pointer == "/\(field.name)" }) { continue }
            errors.append(FieldError("/\(field.name)", "required", "\(field.label.en) is required."))
        }
        guard errors.isEmpty, let callID = values["call_id"],
            let state = values["state"].flatMap(CallProgress.State.init(rawValue:))
        else { throw .invalid(errors) }
        self.callID = callID
        self.state = state
        direction = values["direction"] ?? "inbound"
        caller = values["caller"]
        callee = values["callee"]
        at = values["at"].flatMap(Timestamp.parse) ?? now
        extensionNumber = values["extension"]
        user = values["user_id"].flatMap(UUID.init(uuidString:))
        duration = values["duration_seconds"].flatMap { Int($0) }
    }

    /// The customer's number as it was told: who calls, or who is called.
    var customerNumber: String? { direction == "inbound" ? caller : callee }

    /// Where the agent may be found: the extension, else what stands at our end of the line.
    var lines: [String] {
        [extensionNumber, direction == "inbound" ? callee : caller].compactMap { $0 }
    }
}

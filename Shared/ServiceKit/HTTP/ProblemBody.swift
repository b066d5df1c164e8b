import Hummingbird
import Records

extension Problem {
    /// The refusal as `application/problem+json` has it.
    func body(requestID: String) -> JSONValue {
        let reason = HTTPResponse.Status(code: status).reasonPhrase
        var members: [String: JSONValue] = [
            "type": .string("urn:guanxi:problem:\(code)"),
            "title": .string(reason.isEmpty ? "Status \(status)" : reason), "status": JSONValue(status),
            "code": .string(code), "detail": .string(detail), "request_id": .string(requestID),
        ]
        if !fields.isEmpty { members["errors"] = .array(fields.map(\.json)) }
        members.merge(extra) { $1 }
        return .object(members)
    }
}

import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// The trail of everything that changed who may do what: read by administrators, written by nobody directly.
struct AuditEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [list, verify] }

    private static let schema = Schemas.object([
        "sequence": ["type": "integer"], "at": Schemas.time, "actor": ["type": "string"],
        "action": ["type": "string"], "subject": ["type": "string"], "request_id": ["type": ["string", "null"]],
        "address": ["type": ["string", "null"]], "detail": ["type": "object"], "digest": ["type": "string"],
    ])

    private var list: Endpoint {
        let word: JSONValue = ["type": "string", "minLength": 1, "maxLength": 200]
        let time: JSONValue = [
            "type": "string",
            "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9])T([01][0-9]|2[0-3]):[0-5][0-9]:00Z$",
        ]
        let documentation = EndpointDocumentation {
            $0.parameters =
                Schemas.paging + ["actor", "action", "subject"].map { RecordParameters.query($0, word) }
                + ["from", "to"].map { RecordParameters.query($0, time) }
            $0.response = Schemas.page(Self.schema)
        }
        return Endpoint(.get, "/v1/audit-entries", "The audit trail, newest first", documentation: documentation) {
            request in
            try request.allow(["limit", "cursor", "actor", "action", "subject", "from", "to"])
            _ = try Author(administering: request)
            let words = try ["actor", "action", "subject"].map { try Self.word(request, $0) }
            let times = try ["from", "to"].map { try Self.time(request, $0) }
            return try await store.page(request, of: "audit-entries", keys: 1) { after, limit in
                Statement(
                    """
                    select sequence, at, actor, action, subject, request_id, address, detail, encode(digest, 'hex')
                    from platform.audit_entry
                    where tenant_id = $1 and ($2::text is null or actor = $2) and ($3::text is null or action = $3)
                    and ($4::text is null or subject = $4) and ($5::timestamptz is null or at >= $5)
                    and ($6::timestamptz is null or at < $6) and ($7::bigint is null or sequence < $7)
                    order by sequence desc limit $8
                    """,
                    [request.context.tenant.parameter] + words.map { .optional($0) }
                        + times.map { $0.map(Parameter.time) ?? .null } + [.optional(after[0]), .int(limit)])
            } _: { rows, row in
                (Self.json(rows, row), [rows.text(row, 0)])
            }
        }
    }

    private static func word(_ request: EndpointRequest, _ name: String) throws(Problem) -> String? {
        guard let text = request.parameter(name) else { return nil }
        guard (1...200).contains(text.unicodeScalars.count) else {
            throw .badRequest("invalid_parameter", "\(name) is a text of 1 to 200 characters.")
        }
        return text
    }

    private static func time(_ request: EndpointRequest, _ name: String) throws(Problem) -> Date? {
        guard let text = request.parameter(name) else { return nil }
        guard let time = Timestamp.parse(text) else {
            throw .badRequest("invalid_parameter", "\(name) is a time, as RFC 3339 has it.")
        }
        return time
    }

    private static func json(_ rows: Rows, _ row: Int) -> JSONValue {
        [
            "sequence": JSONValue(rows.int(row, 0)!), "at": rows.timeJSON(row, 1),
            "actor": JSONValue(rows.text(row, 2)),
            "action": JSONValue(rows.text(row, 3)), "subject": JSONValue(rows.text(row, 4)),
            "request_id": JSONValue(rows.text(row, 5)), "address": JSONValue(rows.text(row, 6)),
            "detail": rows.json(row, 7), "digest": JSONValue(rows.text(row, 8)),
        ]
    }

    private var verify: Endpoint {
        Endpoint(
            .post, "/v1/audit-entries/verification",
            "Prove the audit trail by a job: its result names the first entry that does not follow from those before",
            documentation: .startsJob
        ) { request in
            try request.allow([])
            _ = try Author(administering: request)
            let job = try await AuditVerification(store: store).start(request.context)
            return EndpointResponse(started: job, for: request)
        }
    }
}

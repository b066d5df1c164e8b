import Contracts
import Database
import Foundation
import Records
import ServiceKit

/// A contact's consents, and whether it may be reached.
struct ConsentEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [list, create, contactability] }

    private static let id: JSONValue = ["type": "string", "format": "uuid"]
    private static let channel: JSONValue = [
        "type": "string", "enum": .array(ContactChannel.allCases.map { .string($0.rawValue) }),
    ]
    private static let purpose: JSONValue = [
        "type": "string", "enum": .array(ContactPurpose.allCases.map { .string($0.rawValue) }),
    ]

    // MARK: The ledger

    private var list: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [
                RecordParameters.query("limit", ["type": "integer", "minimum": 1, "maximum": 200]),
                RecordParameters.query("cursor", ["type": "string"]),
            ]
            $0.response = [
                "type": "object", "required": ["items", "next_cursor", "current"],
                "properties": [
                    "items": ["type": "array", "items": ["type": "object"]],
                    "next_cursor": ["type": ["string", "null"]],
                    "current": [
                        "type": "array",
                        "items": ["type": "object", "required": ["channel", "purpose", "state", "at", "consent_id"]],
                        "description": "Of each channel and purpose the newest: what counts now.",
                    ],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/contacts/{id}/consents", "What a contact agreed to and withdrew, newest first, and what counts",
            documentation: documentation
        ) { request in
            try request.allow(["limit", "cursor"])
            _ = try request.limit(200, usual: 50)
            let context = request.context
            let id = try await store.get(Contact.type, try request.id(), fields: [], context).id
            guard try context.scope(of: .read, on: Consent.type) == .all else {
                throw Problem(403, "forbidden", "Your roles do not reach all consents.")
            }
            let query = try ListQuery(
                parameters: request.query + [("filter[contact_id]", id.lowercased), ("sort", "-at")],
                type: Consent.type)
            let page = try await store.list(Consent.type, query, context)
            let rows = try await store.database.query(
                tenant: context.tenant,
                ContactPermissions.statements(id, at: Date(), tenant: context.tenant)[1], readOnly: true)
            var body = Array(page.body.dropLast())
            body += Array(#","current":"#.utf8)
            JSONValue.array((0..<rows.count).map { Self.current(rows, $0) }).write(to: &body)
            body.append(UInt8(ascii: "}"))
            return EndpointResponse(200, body)
        }
    }

    private static func current(_ rows: Rows, _ row: Int) -> JSONValue {
        func time(_ column: Int) -> JSONValue { JSONValue(rows.time(row, column).map(Timestamp.rfc3339)) }
        return [
            "channel": JSONValue(rows.text(row, 0)), "purpose": JSONValue(rows.text(row, 1)),
            "state": JSONValue(rows.text(row, 2)), "at": time(3), "expires_at": time(4),
            "consent_id": JSONValue(rows.text(row, 5)),
        ]
    }

    private var create: Endpoint {
        func text(_ maximum: Int) -> JSONValue {
            [
                "type": ["string", "null"], "maxLength": JSONValue(maximum),
                "pattern": "^[^\\u0000-\\u001F\\u007F-\\u009F]*$",
            ]
        }
        let time: JSONValue = [
            "type": ["string", "null"],
            "pattern":
                "^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
        ]
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "required": ["channel", "purpose", "state"], "additionalProperties": false,
                "properties": [
                    "channel": Self.channel, "purpose": Self.purpose,
                    "state": ["type": "string", "enum": ["granted", "withdrawn"]], "at": time, "expires_at": time,
                    "evidence": text(2_000), "source": text(60), "external_id": text(200),
                ],
            ]
            $0.response = ["type": "object", "required": ["id", "contact_id", "channel", "purpose", "state", "at"]]
            $0.status = 201
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .post, "/v1/contacts/{id}/consents", "Write down that a contact agreed, or withdrew",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let body = try await request.json()
            guard var members = body.object else {
                throw Problem.invalid("", "not_an_object", "An object belongs here.")
            }
            for name in members.keys.sorted() where ["contact_id", "owner_id", "team_id"].contains(name) {
                throw Problem.invalid("/\(name)", "unknown_field", "There is no such field here.")
            }
            let dryRun = try request.flag("dry_run")
            let contact = try await store.get(Contact.type, try request.id(), fields: [], request.context).id
            members["contact_id"] = .string(contact.lowercased)
            let result = try await store.create(Consent.type, .object(members), dryRun: dryRun, request.context)
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/consents")
        }
    }

    // MARK: The decision

    private var contactability: Endpoint {
        let decision: JSONValue = [
            "type": "object", "required": ["channel", "is_allowed", "reason", "explanation"],
            "properties": [
                "channel": Self.channel, "is_allowed": ["type": "boolean"],
                "reason": [
                    "type": "string", "enum": .array(ContactPermission.Reason.allCases.map { .string($0.rawValue) }),
                ],
                "explanation": ["type": "string"], "since": ["type": ["string", "null"]],
            ],
        ]
        let documentation = EndpointDocumentation {
            $0.parameters = [
                ["name": "purpose", "in": "query", "required": true, "schema": Self.purpose],
                RecordParameters.query("channel", Self.channel),
            ]
            $0.response = [
                "type": "object",
                "required": ["contact_id", "purpose", "at", "is_allowed", "best_channel", "channels"],
                "properties": [
                    "contact_id": Self.id, "purpose": Self.purpose, "at": ["type": "string", "format": "date-time"],
                    "is_allowed": ["type": "boolean"], "best_channel": ["type": ["string", "null"]],
                    "channels": ["type": "array", "items": decision],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/contacts/{id}/contactability", "Whether a contact may be reached, by which channel, and why",
            documentation: documentation
        ) { request in
            try request.allow(["channel", "purpose"])
            guard let purpose = request.parameter("purpose").flatMap(ContactPurpose.init(rawValue:)) else {
                let known = ContactPurpose.allCases.map(\.rawValue).joined(separator: ", ")
                throw Problem.badRequest("invalid_parameter", "purpose is one of \(known).")
            }
            let wanted = try request.parameter("channel").map { name throws(Problem) -> ContactChannel in
                guard let channel = ContactChannel(rawValue: name) else {
                    let known = ContactChannel.allCases.map(\.rawValue).joined(separator: ", ")
                    throw .badRequest("invalid_parameter", "channel is one of \(known).")
                }
                return channel
            }
            let context = request.context
            let id = try await store.get(Contact.type, try request.id(), fields: [], context).id
            let now = Date()
            let results = try await store.database.batch(
                tenant: context.tenant, ContactPermissions.statements(id, at: now, tenant: context.tenant),
                readOnly: true)
            guard let permission = try ContactPermissions.read(results) else { throw Problem.notFound("contact") }
            let channels = wanted.map { [$0] } ?? permission.order
            let decisions = channels.map { ($0, permission.decision(purpose, by: $0, at: now)) }
            return EndpointResponse(json: [
                "contact_id": .string(id.lowercased), "purpose": .string(purpose.rawValue),
                "at": .string(Timestamp.rfc3339(now)),
                "is_allowed": .bool(decisions.contains { $0.1.isAllowed }),
                "best_channel": JSONValue(permission.best(for: purpose, at: now)?.rawValue),
                "channels": .array(decisions.map(Self.json)),
            ])
        }
    }

    private static func json(_ channel: ContactChannel, _ decision: ContactPermission.Decision) -> JSONValue {
        [
            "channel": .string(channel.rawValue), "is_allowed": .bool(decision.isAllowed),
            "reason": .string(decision.reason.rawValue), "explanation": .string(decision.reason.explanation),
            "since": JSONValue(decision.consent.map { Timestamp.rfc3339($0.at) }),
        ]
    }
}

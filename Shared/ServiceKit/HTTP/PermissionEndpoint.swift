import Foundation
import Records
import Tenancy

/// `GET /v1/me/permissions`: what the bearer may do, and for one question why, or why not.
struct PermissionEndpoint {
    let store: RecordStore

    var endpoint: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = parameters
            $0.response = ["anyOf": [Self.overview, Self.explanation]]
        }
        return Endpoint(
            .get, "/v1/me/permissions", "What the bearer may do; with explain, why or why not",
            documentation: documentation
        ) { request in
            try request.allow(store.catalogue.types.isEmpty ? [] : ["explain"])
            guard let text = request.parameter("explain") else { return EndpointResponse(json: overview(request)) }
            let question = try Question(text, store.catalogue)
            return EndpointResponse(json: try await explanation(question, request))
        }
    }

    /// A service without records has nothing to explain.
    private var parameters: [JSONValue] {
        if store.catalogue.types.isEmpty { return [] }
        let types = store.catalogue.types.map(\.name).joined(separator: "|")
        let actions = Action.allCases.map(\.rawValue).joined(separator: "|")
        return [
            [
                "name": "explain", "in": "query", "required": false,
                "description": "type:action, type:action:id, type:action:field or type:action:id:field.",
                "schema": [
                    "type": "string",
                    "pattern": .string(
                        "^(\(types)):(\(actions))(:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?$"),
                ],
            ]
        ]
    }

    // MARK: All

    private func overview(_ request: EndpointRequest) -> JSONValue {
        let permissions = request.principal.permissions
        let types = store.catalogue.types.map { type -> JSONValue in
            let actions = Action.allCases.map { action in
                (action.rawValue, JSONValue(permissions.scope(of: action, on: type.name)?.rawValue))
            }
            return [
                "type": .string(type.name), "actions": .object(Dictionary(uniqueKeysWithValues: actions)),
                "fields": .object(fields(type, permissions)),
            ]
        }
        return [
            "actor": .string(request.principal.actor), "user_id": JSONValue(request.principal.user?.lowercased),
            "team_id": JSONValue(request.principal.team?.lowercased),
            "roles": .array(permissions.roles.map { .string($0.name) }),
            "administrator": .bool(permissions.isAdministrator), "types": .array(types),
        ]
    }

    /// The fields that are not simply writable where the type is: hidden, or for reading alone in some action.
    private func fields(_ type: RecordType, _ permissions: Permissions) -> [String: JSONValue] {
        var fields: [String: JSONValue] = [:]
        for action in [Action.create, .update] where permissions.scope(of: action, on: type.name) != nil {
            for name in permissions.unwritable(of: type.name, in: action) { fields[name] = "readable" }
        }
        for name in permissions.hidden(of: type.name) { fields[name] = "hidden" }
        return fields.filter { type.field($0.key) != nil }
    }

    // MARK: One

    /// What is asked: an action on a type, a record of it, a field of it.
    private struct Question {
        let text: String
        let type: RecordType
        let action: Action
        var id: UUID?
        var field: Field?

        init(_ text: String, _ catalogue: Catalogue) throws(Problem) {
            self.text = text
            let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard (2...4).contains(parts.count), let type = catalogue.type(named: parts[0]),
                let action = Action(rawValue: parts[1])
            else {
                throw .badRequest(
                    "invalid_parameter", "explain is type:action, and may go on with :id, :field or :id:field.")
            }
            self.type = type
            self.action = action
            var rest = parts.dropFirst(2)
            if let id = rest.first.flatMap(UUID.init(uuidString:)) {
                self.id = id
                rest = rest.dropFirst()
            }
            if let name = rest.first {
                guard rest.count == 1, let field = type.field(name) else {
                    throw .badRequest("invalid_parameter", "explain: \(name.prefix(60)) is no field of \(type.plural).")
                }
                self.field = field
            }
        }
    }

    /// Each reason says what it is about; the first that refuses settles it.
    private func explanation(_ question: Question, _ request: EndpointRequest) async throws -> JSONValue {
        let permissions = request.principal.permissions
        let (type, action) = (question.type, question.action)
        var reasons: [JSONValue] = permissions.roles.map { role in
            let scope = role.scope(of: action, on: type.name)
            let said = scope.map { "grants it, over \(Self.words($0, type))" } ?? "does not grant it"
            return [
                "code": .string(scope == nil ? "role_lacks" : "role_grants"), "role": .string(role.name),
                "scope": JSONValue(scope?.rawValue), "message": .string("The role \(role.name) \(said)."),
            ]
        }
        func answer(_ allowed: Bool) -> JSONValue {
            ["question": .string(question.text), "allowed": .bool(allowed), "reasons": .array(reasons)]
        }
        if permissions.roles.isEmpty { reasons.append(Self.reason("no_roles", "The bearer has no roles.")) }
        guard let scope = permissions.scope(of: action, on: type.name) else { return answer(false) }
        if let operation = Self.operations[action], !type.operations.contains(operation) {
            reasons.append(
                Self.reason("not_offered", "Nobody can \(action.rawValue) \(type.plural): they have no such operation.")
            )
            return answer(false)
        }
        if let field = question.field {
            let settled = explain(field, question, permissions)
            reasons += settled.reasons
            if !settled.allowed { return answer(false) }
        }
        guard let id = question.id else { return answer(true) }
        let record: Record
        do { record = try await store.record(type, id, request.context) } catch let problem as Problem
            where problem.status == 404 || problem.status == 403
        {
            reasons.append(
                Self.reason("not_found", "There is no such \(type.name), or none that your roles let you read."))
            return answer(false)
        }
        if record.deletedAt != nil && action != .read {
            reasons.append(Self.reason("deleted", "This \(type.name) is deleted: restore it first."))
            return answer(false)
        }
        let isWithin = request.context.reaches(record, scope)
        reasons.append(
            Self.reason(
                isWithin ? "within_scope" : "outside_scope",
                "The widest scope is \(scope.rawValue): \(Self.words(scope, type)). "
                    + (scope == .all ? "Every record is within." : whose(record, type, request))))
        return answer(isWithin)
    }

    private func explain(
        _ field: Field, _ question: Question, _ permissions: Permissions
    ) -> (allowed: Bool, reasons: [JSONValue]) {
        var reasons = permissions.roles.filter { $0.scope(of: question.action, on: question.type.name) != nil }.map {
            role -> JSONValue in
            let access = role.access(to: field.name, of: question.type.name)
            return [
                "code": "role_field", "role": .string(role.name), "access": .string(access.rawValue),
                "message": .string("For the role \(role.name) \(field.name) is \(access.rawValue)."),
            ]
        }
        if permissions.hidden(of: question.type.name).contains(field.name) {
            reasons.append(Self.reason("field_hidden", "\(field.name) is hidden from the bearer."))
            return (false, reasons)
        }
        if ![.create, .update, .import].contains(question.action) { return (true, reasons) }
        if field.isReadOnly {
            reasons.append(Self.reason("read_only", "\(field.name) is set by the service alone."))
            return (false, reasons)
        }
        if permissions.unwritable(of: question.type.name, in: question.action).contains(field.name) {
            reasons.append(Self.reason("field_readable", "\(field.name) is not the bearer's to set."))
            return (false, reasons)
        }
        return (true, reasons)
    }

    /// Whose a record is, as far as the bearer may know.
    private func whose(_ record: Record, _ type: RecordType, _ request: EndpointRequest) -> String {
        let hidden = request.context.hidden(type)
        func said(_ name: String, _ own: UUID?, _ whose: String) -> String {
            if hidden.contains(name) { return "" }
            guard let id = record.uuid(name) else { return "Its \(name) is empty. " }
            return "Its \(name) is \(id.lowercased), \(id == own ? "" : "not ")\(whose). "
        }
        return (said("owner_id", request.principal.user, "you") + said("team_id", request.principal.team, "your team"))
            .trimmingCharacters(in: .whitespaces)
    }

    private static func words(_ scope: Scope, _ type: RecordType) -> String {
        switch scope {
        case .all: "all \(type.plural)"
        case .team: "your team's \(type.plural) and your own"
        case .own: "your own \(type.plural)"
        }
    }

    private static func reason(_ code: String, _ message: String) -> JSONValue {
        ["code": .string(code), "message": .string(message)]
    }

    private static let operations: [Action: RecordType.Operation] = [
        .create: .create, .update: .update, .delete: .delete, .import: .import,
    ]

    private static let overview: JSONValue = [
        "type": "object", "required": ["actor", "roles", "types"],
        "properties": [
            "actor": ["type": "string"], "roles": ["type": "array", "items": ["type": "string"]],
            "types": [
                "type": "array",
                "items": [
                    "type": "object", "required": ["type", "actions", "fields"],
                    "properties": [
                        "type": ["type": "string"],
                        "actions": [
                            "type": "object",
                            "additionalProperties": ["enum": ["own", "team", "all", .null]],
                        ],
                        "fields": [
                            "type": "object", "additionalProperties": ["enum": ["hidden", "readable"]],
                            "description": "Those that are not writable where the type is.",
                        ],
                    ],
                ],
            ],
        ],
    ]

    private static let explanation: JSONValue = [
        "type": "object", "required": ["question", "allowed", "reasons"],
        "properties": [
            "question": ["type": "string"], "allowed": ["type": "boolean"],
            "reasons": [
                "type": "array",
                "items": [
                    "type": "object", "required": ["code", "message"],
                    "properties": ["code": ["type": "string"], "message": ["type": "string"]],
                ],
            ],
        ],
    ]
}

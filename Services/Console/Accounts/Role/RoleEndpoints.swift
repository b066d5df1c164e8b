import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// Roles: those that every tenant has, and the tenant's own.
struct RoleEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [list, get, put, delete] }

    private static let name = Schemas.inPath("name", "^[a-z][a-z0-9_-]{1,62}$")
    private static let grants: JSONValue = [
        "type": "array", "minItems": 1, "maxItems": 100,
        "items": [
            "type": "object", "required": ["types", "actions", "scope"], "additionalProperties": false,
            "properties": [
                "types": [
                    "type": "array", "minItems": 1, "maxItems": 100,
                    "items": ["type": "string", "pattern": #"^(\*|[a-z][a-z_]{0,62})$"#],
                    "description": "Record types, or * for all.",
                ],
                "actions": [
                    "type": "array", "minItems": 1, "maxItems": 20,
                    "items": ["type": "string", "enum": .array(Action.allCases.map { .string($0.rawValue) })],
                ],
                "scope": ["type": "string", "enum": ["own", "team", "all"]],
                "fields": [
                    "type": "object",
                    "additionalProperties": [
                        "type": "object",
                        "additionalProperties": ["type": "string", "enum": ["hidden", "readable", "writable"]],
                    ],
                    "description": "By record type, or * for all, and field: what its bearers may do with the values.",
                ],
            ],
        ],
    ]
    private static let schema = Schemas.object([
        "name": ["type": "string"], "built_in": ["type": "boolean"], "grants": ["type": "array"],
    ])

    private static func json(_ name: String, _ grants: JSONValue) -> JSONValue {
        ["name": .string(name), "built_in": .bool(Permissions.builtIn[name] != nil), "grants": grants]
    }

    private static func builtIn(_ name: String) -> JSONValue? {
        Permissions.builtIn[name].flatMap { try? JSONEncoder().encode($0) }.flatMap {
            try? JSONParser.parse(Array($0))
        }.map { json(name, $0) }
    }

    private var list: Endpoint {
        let documentation = EndpointDocumentation { $0.response = Schemas.page(Self.schema) }
        return Endpoint(.get, "/v1/roles", "All roles, the built-in ones first", documentation: documentation) {
            request in
            try request.allow([])
            _ = try Author(administering: request)
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    "select name, grants from platform.role where tenant_id = $1 order by name limit \(RoleStore.most)",
                    [request.context.tenant.parameter]), readOnly: true)
            let own = (0..<rows.count).map { Self.json(rows.text($0, 0)!, rows.json($0, 1)) }
            let items = Permissions.builtIn.keys.sorted().compactMap(Self.builtIn) + own
            return EndpointResponse(json: ["items": .array(items), "next_cursor": nil])
        }
    }

    private var get: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [Self.name]
            $0.response = Self.schema
            $0.refusals = [404]
        }
        return Endpoint(.get, "/v1/roles/{name}", "One role", documentation: documentation) { request in
            try request.allow([])
            _ = try Author(administering: request)
            let name = request.path["name"] ?? ""
            if let role = Self.builtIn(name) { return EndpointResponse(json: role) }
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    "select grants from platform.role where tenant_id = $1 and name = $2",
                    [request.context.tenant.parameter, .text(name)]), readOnly: true)
            guard rows.count == 1 else { throw Problem.notFound("role") }
            return EndpointResponse(json: Self.json(name, rows.json(0, 0)))
        }
    }

    private var put: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [Self.name, RecordParameters.dryRun]
            $0.body = [
                "type": "object", "required": ["grants"], "additionalProperties": false,
                "properties": ["grants": Self.grants],
            ]
            $0.response = Self.schema
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .put, "/v1/roles/{name}", "Make or change a role; whoever has it may do so at once",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let author = try Author(administering: request)
            let name = try Self.ownName(request)
            let body = try await request.json()
            guard let members = body.object else {
                throw Problem.invalid("", "not_an_object", "An object belongs here.")
            }
            if let unknown = members.keys.sorted().first(where: { $0 != "grants" }) {
                throw Problem.invalid("/\(unknown)", "unknown_field", "There is no such field.")
            }
            let grants = try RoleGrants(members["grants"])
            guard author.principal.permissions.covers(grants.grants) else {
                throw Problem(403, "forbidden", "A role can't allow more than your own roles.")
            }
            return try await store.changing(request) { transaction in
                let roles = RoleStore(transaction: transaction)
                let before = try await roles.put(name, grants.json)
                if before != grants.json {
                    roles.forget()
                    transaction.later(
                        author.audit(
                            before == nil ? "role.created" : "role.updated", "role:\(name)",
                            ["grants": ["from": before ?? .null, "to": grants.json]]))
                }
                return Self.json(name, grants.json)
            }
        }
    }

    private var delete: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [Self.name]
            $0.status = 204
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .delete, "/v1/roles/{name}", "Delete a role that nobody has", documentation: documentation
        ) { request in
            try request.allow([])
            let author = try Author(administering: request)
            let name = try Self.ownName(request)
            return try await store.changing(request, status: 204) { transaction in
                let roles = RoleStore(transaction: transaction)
                try await roles.delete(name)
                roles.forget()
                transaction.later(author.audit("role.deleted", "role:\(name)"))
                return .null
            }
        }
    }

    /// The name in the path; throws 404 for what can't be one, 409 for a built-in role's.
    private static func ownName(_ request: EndpointRequest) throws(Problem) -> String {
        guard let name = request.path["name"], name.wholeMatch(of: #/[a-z][a-z0-9_\-]{1,62}/#) != nil else {
            throw .notFound("role")
        }
        if Permissions.builtIn[name] != nil {
            throw Problem(409, "built_in", "This role is built in: every tenant has it as it is.")
        }
        return name
    }
}

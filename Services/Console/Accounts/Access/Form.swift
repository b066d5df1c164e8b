import Database
import Foundation
import Records
import ServiceKit

/// What a body may hold, described once for its reading and for the document.
struct Form: Sendable {
    let fields: [Field]
    /// Texts that are taken as they are, to the last space.
    var passwords: [String] = []
    /// What the document says of a member where it knows more than the field's kind.
    var schemas: [String: JSONValue] = [:]

    /// What came in.
    struct Values: Sendable {
        fileprivate var columns: [String: String?] = [:]

        /// The member's text in the form that is stored; nil for null, or where nothing came.
        func text(_ name: String) -> String? { columns[name] ?? nil }
        func isGiven(_ name: String) -> Bool { columns[name] != nil }
        func uuid(_ name: String) -> UUID? { text(name).flatMap(UUID.init(uuidString:)) }
        func int(_ name: String) -> Int? { text(name).flatMap(Int.init) }
        func time(_ name: String) -> Date? { text(name).flatMap(Timestamp.parse) }
        /// The texts of a list; nil where none came.
        func list(_ name: String) -> [String]? {
            text(name).flatMap { try? JSONParser.parse($0.utf8) }?.array?.compactMap(\.text)
        }
        /// What came, as JSON, for the audit trail: never a password.
        var json: JSONValue { .object(columns.mapValues { JSONValue($0) }) }
    }

    /// Reads `body`; throws 422 with everything that is wrong. A patch may leave out anything.
    func read(_ body: JSONValue, isPatch: Bool = false) throws(Problem) -> Values {
        guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
        let reader = FieldReader(defaults: .neutral)
        var values = Values()
        var errors: [FieldError] = []
        for (name, value) in members {
            do {
                if passwords.contains(name) {
                    values.columns[name] = try Self.password(value, at: "/\(name)")
                } else if let field = fields.first(where: { $0.name == name }) {
                    values.columns[name] = try reader.read(value, as: field, at: "/\(name)")[0]
                } else {
                    errors.append(FieldError("/\(name)", "unknown_field", "There is no such field."))
                }
            } catch {
                errors.append(error)
            }
        }
        if !isPatch {
            let needed = passwords + fields.filter(\.isRequired).map(\.name)
            for name in needed where members[name] == nil {
                errors.append(FieldError("/\(name)", "required", "This must be given."))
            }
        }
        if !errors.isEmpty { throw .invalid(errors.sorted { $0.pointer < $1.pointer }) }
        return values
    }

    private static func password(_ value: JSONValue, at pointer: String) throws(FieldError) -> String {
        guard let text = value.text, (10...200).contains(text.unicodeScalars.count),
            text.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 })
        else { throw FieldError(pointer, "not_a_password", "A password has 10 to 200 characters.") }
        return text
    }

    /// The body's schema.
    func schema(isPatch: Bool = false) -> JSONValue {
        var schema = RecordDocumentation.body(fields).object ?? [:]
        var properties = schema["properties"]?.object ?? [:]
        for name in passwords {
            properties[name] = [
                "type": "string", "minLength": 10, "maxLength": 200, "pattern": #"^[^\u0000-\u001F\u007F]*$"#,
            ]
        }
        properties.merge(schemas) { $1 }
        schema["properties"] = .object(properties)
        let needed = passwords + fields.filter(\.isRequired).map(\.name)
        schema["required"] = isPatch || needed.isEmpty ? nil : .array(needed.map { .string($0) })
        return .object(schema)
    }
}

/// Schemas that several endpoints of accounts share.
enum Schemas {
    static let id: JSONValue = ["type": "string", "format": "uuid"]
    static let time: JSONValue = ["type": "string", "format": "date-time"]
    static let timeOrNull: JSONValue = ["type": ["string", "null"], "format": "date-time"]
    static let texts: JSONValue = ["type": "array", "items": ["type": "string"]]
    /// Roles that every tenant has; the tenant's own are taken too.
    static let roles: JSONValue = [
        "type": "array", "minItems": 1, "maxItems": 20,
        "items": ["type": "string", "enum": ["owner", "administrator", "manager", "agent", "analyst", "read_only"]],
        "description": "Built-in roles, or the tenant's own.",
    ]

    static func page(_ item: JSONValue) -> JSONValue {
        [
            "type": "object", "required": ["items", "next_cursor"],
            "properties": [
                "items": ["type": "array", "items": item], "next_cursor": ["type": ["string", "null"]],
            ],
        ]
    }

    static func object(_ properties: [String: JSONValue], optional: [String] = []) -> JSONValue {
        [
            "type": "object", "properties": .object(properties),
            "required": .array(properties.keys.filter { !optional.contains($0) }.sorted().map { .string($0) }),
        ]
    }

    /// A place in a path that is no UUID.
    static func inPath(_ name: String, _ pattern: String) -> JSONValue {
        [
            "name": .string(name), "in": "path", "required": true,
            "schema": ["type": "string", "pattern": .string(pattern)],
        ]
    }

    static let paging: [JSONValue] = [
        RecordParameters.query("limit", ["type": "integer", "minimum": 1, "maximum": 200]),
        RecordParameters.query("cursor", ["type": "string"]),
    ]
}

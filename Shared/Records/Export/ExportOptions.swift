import Foundation
import Tenancy

/// What a caller wants of an export.
package struct ExportOptions: Sendable {
    package let type: RecordType
    /// How the file is written; each can be imported again.
    package let format: FileFormat
    package let filter: Filter?
    /// Fields to write; nil for all.
    package let fields: Set<String>?
    private let given: [String: JSONValue]

    /// Reads the request's body. Throws 422 with every wrong member.
    package init(_ value: JSONValue, catalogue: Catalogue) throws {
        guard let members = value.object else { throw Problem.invalid("", "not_an_object", "An object belongs here.") }
        var errors: [FieldError] = []
        for name in members.keys.sorted() where !["type", "format", "filter", "fields"].contains(name) {
            errors.append(FieldError("/\(name)", "unknown_field", "There is no such option."))
        }
        let type = members["type"]?.text.flatMap { catalogue.type(named: $0) ?? catalogue.type(plural: $0) }
        if type == nil {
            let names = catalogue.types.map(\.name).joined(separator: ", ")
            errors.append(FieldError("/type", "not_a_choice", "One of: \(names)."))
        }
        var format = FileFormat.csv
        if let given = members["format"], given != .null {
            if let known = given.text.flatMap({ FileFormat($0, of: type) }) {
                format = known
            } else {
                let names = FileFormat.names(of: type).joined(separator: ", ")
                errors.append(FieldError("/format", "not_a_choice", "One of: \(names)."))
            }
        }
        var filter: Filter?
        if let given = members["filter"], given != .null {
            do { filter = try Filter.parse(given) } catch {
                errors.append(FieldError("/filter", "invalid_filter", error.detail))
            }
        }
        var fields: Set<String>?
        if let given = members["fields"], given != .null {
            let names = given.array?.compactMap(\.text) ?? []
            if names.isEmpty || names.count != given.array?.count {
                errors.append(FieldError("/fields", "not_a_list", "A list of fields belongs here."))
            }
            for name in names where type != nil && type?.field(name) == nil {
                errors.append(FieldError("/fields", "unknown_field", "There is no field \(name.prefix(60))."))
            }
            fields = Set(names)
        }
        guard errors.isEmpty, let type else { throw Problem.invalid(errors) }
        given = members
        self.type = type
        self.format = format
        self.filter = filter
        self.fields = fields
    }

    var json: JSONValue {
        [
            "type": .string(type.name), "format": .string(format.name), "filter": given["filter"] ?? .null,
            "fields": fields.map { .array($0.sorted().map { .string($0) }) } ?? .null,
        ]
    }
}

/// The bearer's reach over the records, for a job that has no bearer.
package struct ExportReach: Codable, Sendable {
    let scope: Scope
    let user: String?
    let team: String?
    /// By type: what a filter reaches through references, and the fields that it must not ask about.
    var targets: [String: Scope]?
    var hidden: [String: [String]]?
    /// Fields of the exported type that are left out.
    var left: [String]?

    var userID: UUID? { user.flatMap(UUID.init(uuidString:)) }
    var teamID: UUID? { team.flatMap(UUID.init(uuidString:)) }

    init(_ context: WriteContext, scope: Scope, _ type: RecordType, _ catalogue: Catalogue) {
        self.scope = scope
        user = context.user?.lowercased
        team = context.team?.lowercased
        guard let permissions = context.permissions else { return }
        targets = [:]
        for other in catalogue.types { targets?[other.name] = permissions.scope(of: .read, on: other.name) }
        let restricted = catalogue.types.map { ($0.name, permissions.hidden(of: $0.name).sorted()) }
        hidden = Dictionary(uniqueKeysWithValues: restricted.filter { !$0.1.isEmpty })
        left = permissions.hiddenInExports(of: type.name).sorted()
    }
}

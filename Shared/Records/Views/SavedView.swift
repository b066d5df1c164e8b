import Database
import Foundation

/// A list as somebody likes to see it: filter, order and columns of a record type, kept under a name. Each service keeps
/// those of its own types, as a record type like any other.
package enum SavedView {
    /// Who is shown a view: its owner, its team, or all of the tenant. Whoever is not shown it does not know of it.
    package enum Sharing: String, Sendable, CaseIterable {
        case `private`, team, everybody
    }

    package static let typeName = "saved_view"

    /// The record type of views of `types` in a service's schema.
    package static func type(schema: String, of types: [RecordType]) -> RecordType {
        let catalogue = Catalogue(types)
        var rules = RecordRules(prepare: { draft in try prepare(&draft, catalogue) })
        rules.visibility = RecordVisibility(condition: condition, includes: includes)
        return RecordType(
            typeName, plural: "saved_views", schema: schema, label: Label("Saved view", "已存视图"),
            fields: [
                Field("name", .text(max: 120), Label("Name", "名称")).required(),
                Field("record_type", .choice(types.map(\.name)), Label("Record type", "记录类型")).required().immutable(),
                Field("filter", .json(max: 20_000), Label("Filter", "筛选")).documented(filterSchema),
                Field("sort", .text(max: 300), Label("Order", "排序")).documented(
                    ["type": "string", "enum": ["created_at", "-created_at", "updated_at", "-updated_at,created_at"]]),
                Field("fields", .tags(max: 100), Label("Fields", "字段")).byDefault([]).documented(
                    [
                        "type": "array", "maxItems": 100,
                        "items": ["type": "string", "enum": ["id", "version", "created_at", "updated_at"]],
                    ]),
                Field("shared", .choice(Sharing.allCases.map(\.rawValue)), Label("Shared with", "共享范围")),
            ],
            // A view is made where it is used, not by a table.
            operations: [.create, .update, .delete], rules: rules)
    }

    /// What any type's filter takes; the grammar itself is told by the lists' `filter`.
    private static let filterSchema: JSONValue = [
        "type": "object", "required": ["field", "op", "value"], "additionalProperties": false,
        "description": "A filter as the type's list takes it.",
        "properties": [
            "field": ["type": "string", "enum": ["created_at", "updated_at"]],
            "op": ["type": "string", "enum": ["lt", "lte", "gt", "gte"]],
            "value": [
                "type": "string",
                "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9])T([01][0-9]|2[0-3]):[0-5][0-9]:00Z$",
            ],
        ],
    ]

    /// A view holds what a list takes: filter, order and fields are read as a request's would be.
    private static func prepare(_ draft: inout Draft, _ catalogue: Catalogue) throws {
        if draft["shared"] == nil {
            let isOwn = draft.user != nil && draft["owner_id"] == draft.user?.lowercased
            draft["shared"] = (isOwn ? Sharing.private : .everybody).rawValue
        }
        guard let type = draft["record_type"].flatMap(catalogue.type(named:)) else { return }
        if let filter = draft.record.json("filter") {
            if !namesOperators(filter) {
                throw FieldError("/filter", "invalid_filter", "A view's conditions name their op.")
            }
            do {
                var builder = SQLBuilder(["0"])
                _ = try FilterCompiler(catalogue: catalogue, defaults: draft.defaults, now: draft.now)
                    .sql(try Filter.parse(filter), type: type, &builder)
            } catch {
                throw FieldError("/filter", error.code, error.detail)
            }
        }
        let fields = (draft.record.json("fields")?.array ?? []).compactMap(\.text)
        let parts = [("sort", draft["sort"]), ("fields", fields.isEmpty ? nil : fields.joined(separator: ","))]
        for (name, value) in parts {
            guard let value else { continue }
            do { _ = try ListQuery(parameters: [(name, value)], type: type) } catch {
                throw FieldError("/\(name)", error.code, error.detail)
            }
        }
    }

    /// A request may leave out `eq`; what is kept says what it means.
    private static func namesOperators(_ filter: JSONValue) -> Bool {
        switch filter {
        case .object(let members):
            (members["field"] == nil || members["op"] != nil) && members.values.allSatisfy(namesOperators)
        case .array(let values): values.allSatisfy(namesOperators)
        default: true
        }
    }

    private static func includes(_ record: Record, _ user: UUID?, _ team: UUID?) -> Bool {
        switch record.text("shared").flatMap(Sharing.init(rawValue:)) {
        case .everybody: true
        case .team where team != nil && record.uuid("team_id") == team: true
        default: user != nil && record.uuid("owner_id") == user
        }
    }

    private static func condition(
        _ user: UUID?, _ team: UUID?, _ alias: String, _ builder: inout SQLBuilder
    ) -> String {
        let owner = builder.bind(user.map(Parameter.uuid) ?? .null, "uuid")
        let members = builder.bind(team.map(Parameter.uuid) ?? .null, "uuid")
        return """
            \(alias).shared = 'everybody' or \(alias).owner_id = \(owner) \
            or (\(alias).shared = 'team' and \(alias).team_id = \(members))
            """
    }
}

/// Applies views to lists.
package struct SavedViews: Sendable {
    private let store: RecordStore

    package init(store: RecordStore) { self.store = store }

    /// The parameters of a list request with those of the view that it names; its own win. Throws 404 for what is no
    /// view of the type, or none that the bearer is shown.
    package func parameters(
        _ given: [(name: String, value: String)], _ type: RecordType, _ context: WriteContext
    ) async throws -> [(name: String, value: String)] {
        let unknown = Problem(404, "unknown_view", "There is no such view of \(type.plural).")
        let wanted = given.filter { $0.name == "view" }
        guard wanted.count == 1, let id = UUID(uuidString: wanted[0].value) else {
            throw Problem.badRequest("invalid_parameter", "view is the id of one saved view.")
        }
        guard let views = store.catalogue.type(named: "saved_view") else { throw unknown }
        let view: Record
        do { view = try await store.standing(views, id, context) } catch let problem as Problem
            where problem.status == 404
        { throw unknown }
        guard view.deletedAt == nil, view.text("record_type") == type.name else { throw unknown }
        try context.requireVisible(["filter", "sort", "fields"], views)
        var parameters = given.filter { $0.name != "view" }
        let hasFilter = parameters.contains { $0.name == "filter" || $0.name.hasPrefix("filter[") }
        if !hasFilter, let filter = view.text("filter") { parameters.append(("filter", filter)) }
        // A column that is hidden from the bearer is none of the view for them.
        let hidden = context.hidden(type)
        let fields = (view.json("fields")?.array ?? []).compactMap(\.text).filter { !hidden.contains($0) }
            .joined(separator: ",")
        for (name, value) in [("sort", view.text("sort") ?? ""), ("fields", fields)] {
            if !value.isEmpty && !parameters.contains(where: { $0.name == name }) { parameters.append((name, value)) }
        }
        return parameters
    }
}

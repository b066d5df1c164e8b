import Database
import Foundation
import Tenancy

/// What a list request asks for.
package struct ListQuery: Sendable {
    /// One field of the order.
    package struct Sort: Sendable, Equatable {
        package let field: String
        package let descending: Bool
    }

    /// How the records are counted: all of them, or up to ten thousand.
    package enum Count: String, Sendable { case exact, estimate }

    package var filter: Filter?
    /// What the records are searched for.
    package var text: String?
    package var sort: [Sort] = []
    package var limit = 50
    package var cursor: String?
    package var count: Count?
    /// Fields to show; nil for all.
    package var fields: Set<String>?
    /// References to show with the records they lead to.
    package var expansions: [Expansion] = []

    package init() {}

    /// Whether nothing is asked for but the newest records.
    var isFirstOfNewest: Bool {
        filter == nil && cursor == nil && count == nil && isNewestFirst
    }

    /// Whether the order is that of the index that lists go through.
    var isNewestFirst: Bool { sort == [Sort(field: "created_at", descending: true)] }

    /// Reads the parameters of a query string. Unknown ones are refused: a misspelt filter must not show everything.
    package init(parameters: [(name: String, value: String)], type: RecordType) throws(Problem) {
        var conditions: [Filter] = []
        var selection: (fields: String?, expand: String?) = (nil, nil)
        for (name, value) in parameters {
            switch name {
            case "filter":
                let json: JSONValue
                do { json = try JSONParser.parse(value.utf8) } catch {
                    throw .badRequest("invalid_filter", "filter is not JSON: \(error).")
                }
                conditions.append(try Filter.parse(json))
            case "q":
                guard !type.searchFields.isEmpty else {
                    throw .badRequest("unknown_parameter", "These records can't be searched.")
                }
                guard (1...200).contains(value.unicodeScalars.count) else {
                    throw .badRequest("invalid_parameter", "q is a text of 1 to 200 characters.")
                }
                text = value
            case "sort": sort = try Self.sort(value, type: type)
            case "limit":
                guard let number = Int(value), (1...200).contains(number) else {
                    throw .badRequest("invalid_parameter", "limit is a number from 1 to 200.")
                }
                limit = number
            case "cursor": cursor = value
            case "count":
                guard let wanted = Count(rawValue: value) else {
                    throw .badRequest("invalid_parameter", "count is exact or estimate.")
                }
                count = wanted
            case "fields": selection.fields = value
            case "expand": selection.expand = value
            default:
                guard name.hasPrefix("filter["), name.hasSuffix("]") else {
                    throw .badRequest("unknown_parameter", "There is no parameter \(name.prefix(60)).")
                }
                conditions.append(try Self.short(name, value))
            }
        }
        (fields, expansions) = try Expansion.selection(fields: selection.fields, expand: selection.expand, type: type)
        if sort.isEmpty { sort = try Self.sort(type.defaultSort, type: type) }
        guard conditions.count <= 20 else { throw .badRequest("invalid_filter", "Too many filters.") }
        filter = conditions.isEmpty ? nil : conditions.count == 1 ? conditions[0] : .and(conditions)
    }

    /// `filter[stage]=won` and `filter[amount][gte]=100`.
    private static func short(_ name: String, _ value: String) throws(Problem) -> Filter {
        let inner = name.dropFirst("filter[".count).dropLast()
        let parts = inner.split(separator: "]", maxSplits: 1, omittingEmptySubsequences: false)
        let field = String(parts[0])
        guard parts.count == 2 else { return .condition(field: field, op: .eq, value: .string(value)) }
        guard parts[1].hasPrefix("["), let op = Filter.Operator(rawValue: String(parts[1].dropFirst())) else {
            throw .badRequest("invalid_filter", "\(name.prefix(60)) is not of the form filter[field][op].")
        }
        switch op {
        case .in:
            let values = value.split(separator: ",").map { JSONValue.string(String($0)) }
            return .condition(field: field, op: op, value: .array(values))
        case .empty:
            return .condition(field: field, op: op, value: .bool(value != "false"))
        default:
            return .condition(field: field, op: op, value: .string(value))
        }
    }

    private static func sort(_ text: String, type: RecordType) throws(Problem) -> [Sort] {
        var sorts: [Sort] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let descending = part.hasPrefix("-")
            let name = String(descending ? part.dropFirst() : part)
            let isKnown = ["created_at", "updated_at"].contains(name) || type.field(name)?.isSortable == true
            guard isKnown else { throw .badRequest("invalid_sort", "\(name.prefix(60)) can't be sorted by.") }
            guard !sorts.contains(where: { $0.field == name }), sorts.count < 4 else {
                throw .badRequest("invalid_sort", "At most four fields, each once.")
            }
            sorts.append(Sort(field: name, descending: descending))
        }
        return sorts
    }

    /// The fields that `fields=a,b` asks for; unknown ones are refused.
    package static func fields(_ text: String, type: RecordType) throws(Problem) -> Set<String> {
        let names = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        for name in names where type.field(name) == nil && !RecordType.systemColumns.contains(name) {
            throw .badRequest("invalid_parameter", "fields: there is no field \(name.prefix(60)).")
        }
        return Set(names)
    }
}

/// Keyset paging: where a page ended, signed, so that the next one begins there whatever was written in between.
package struct PageCursor {
    let secret: [UInt8]
    /// What the cursor belongs to: tenant, type, order and filter. It opens nothing else.
    let context: String

    /// The cursor that begins after `values`.
    package func encode(_ values: [String?]) -> String {
        let content = JSONValue.array(values.map { JSONValue($0) }).encodedBytes
        return Sodium.base64(tag(content) + content)
    }

    /// What `encode` was given; throws 400 for anything else.
    package func decode(_ text: String, count: Int) throws(Problem) -> [String?] {
        let problem = Problem.badRequest("invalid_cursor", "The cursor is not one that this list gave.")
        guard let bytes = Sodium.bytes(base64: text), bytes.count > 16 else { throw problem }
        let content = Array(bytes.dropFirst(16))
        guard Sodium.isEqual(Array(bytes.prefix(16)), tag(content)), let value = try? JSONParser.parse(content),
            let values = value.array, values.count == count
        else { throw problem }
        return values.map(\.text)
    }

    private func tag(_ content: [UInt8]) -> [UInt8] {
        Array(Sodium.hash(Array(context.utf8) + [0] + content, key: secret).prefix(16))
    }
}

/// Builds the statement of one page.
struct PageStatement {
    let type: RecordType
    let query: ListQuery
    let keys: [(expression: String, sqlType: String, descending: Bool, isNullable: Bool)]

    init(type: RecordType, query: ListQuery) {
        self.type = type
        self.query = query
        var keys: [(String, String, Bool, Bool)] = query.sort.map { sort in
            if let field = type.field(sort.field) {
                return ("r.\(field.columns[0])", field.columnTypes[0], sort.descending, !field.isRequired)
            }
            return ("r.\(sort.field)", "timestamptz", sort.descending, false)
        }
        keys.append(("r.id", "uuid", query.sort.last?.descending ?? false, false))
        self.keys = keys
    }

    var orderBy: String {
        keys.map { key in
            "\(key.expression)\(key.descending ? " desc" : "")\(key.isNullable ? " nulls last" : "")"
        }.joined(separator: ", ")
    }

    /// The condition that a row lies after `values`.
    func after(_ values: [String?], _ builder: inout SQLBuilder) -> String {
        let isUniform = keys.allSatisfy { !$0.isNullable && $0.descending == keys[0].descending }
        if isUniform {
            // A row comparison can start in the middle of an index.
            let bound = zip(keys, values).map { builder.bind(.optional($1), $0.sqlType) }.joined(separator: ", ")
            let left = keys.map(\.expression).joined(separator: ", ")
            return "(\(left)) \(keys[0].descending ? "<" : ">") (\(bound))"
        }
        var alternatives: [String] = []
        var equal: [String] = []
        for (key, value) in zip(keys, values) {
            if let value {
                let bound = builder.bind(.text(value), key.sqlType)
                let beyond = "\(key.expression) \(key.descending ? "<" : ">") \(bound)"
                let step = key.isNullable ? "(\(beyond) or \(key.expression) is null)" : beyond
                alternatives.append((equal + [step]).joined(separator: " and "))
                equal.append("\(key.expression) = \(bound)")
            } else {
                // Nulls come last: nothing lies after them but by the next key.
                equal.append("\(key.expression) is null")
            }
        }
        return "(" + alternatives.map { "(\($0))" }.joined(separator: " or ") + ")"
    }
}

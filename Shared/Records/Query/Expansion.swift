import Database
import Foundation
import Tenancy

/// A reference that a request wants to see with the record it leads to: `?expand=organization`.
package struct Expansion: Sendable {
    /// The most of one request.
    package static let most = 3

    /// The field's name without `_id`, under which the record stands in the answer.
    package let name: String
    package let field: Field
    /// The name of the type that the field refers to.
    package let target: String
    /// Fields of the record to show; nil for all.
    package var fields: Set<String>?

    /// The references of a type that can be expanded, by the names they stand under: fields that end in `_id`, and whose
    /// shorter name no field has.
    package static func all(of type: RecordType) -> [Expansion] {
        type.fields.compactMap { field in
            guard case .reference(let target) = field.kind, field.name.hasSuffix("_id") else { return nil }
            let name = String(field.name.dropLast(3))
            return type.field(name) == nil ? Expansion(name: name, field: field, target: target) : nil
        }
    }

    /// What `fields=a,organization.name` and `expand=organization` select; nil fields for all. Throws 400 for unknown
    /// names, more than three expansions, or fields of what is not expanded.
    package static func selection(
        fields: String?, expand: String?, type: RecordType
    ) throws(Problem) -> (fields: Set<String>?, expansions: [Expansion]) {
        var expansions: [Expansion] = []
        if let expand {
            for part in expand.split(separator: ",", omittingEmptySubsequences: false) {
                guard let found = all(of: type).first(where: { $0.name == part || $0.field.name == part }) else {
                    throw .badRequest(
                        "invalid_parameter", "expand: \(part.prefix(60)) is no reference that can be expanded.")
                }
                guard expansions.count < most, !expansions.contains(where: { $0.name == found.name }) else {
                    throw .badRequest("invalid_parameter", "expand: at most \(most) references, each once.")
                }
                expansions.append(found)
            }
        }
        guard let fields else { return (nil, expansions) }
        var own: Set<String> = []
        for part in fields.split(separator: ",", omittingEmptySubsequences: false).map(String.init) {
            let steps = part.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard steps.count == 2, let place = expansions.firstIndex(where: { $0.name == steps[0] }) else {
                own.formUnion(try ListQuery.fields(part, type: type))
                continue
            }
            expansions[place].fields = (expansions[place].fields ?? []).union([steps[1]])
        }
        // Fields of an expanded record alone leave the record itself its id and version.
        return (own, expansions)
    }
}

extension RecordStore {
    /// Throws 403 for a reference that is hidden, 400 or 403 for fields of its record that are not there or hidden.
    func requireExpandable(
        _ expansions: [Expansion], _ type: RecordType, _ context: WriteContext
    ) throws(Problem) {
        for expansion in expansions {
            try context.requireVisible([expansion.field.name], type)
            guard let fields = expansion.fields, let target = catalogue.type(named: expansion.target) else { continue }
            _ = try ListQuery.fields(fields.sorted().joined(separator: ","), type: target)
            try context.requireVisible(fields, target)
        }
    }

    /// The records that others refer to, all in one round trip: of each record its `ids`, in the order of `expansions`.
    /// What is gone, or out of the bearer's reach, is shown by its id alone: the two look alike.
    func expanded(
        _ expansions: [Expansion], _ ids: [[String?]], _ context: WriteContext
    ) async throws -> ExpandedRecords {
        var found = ExpandedRecords(names: expansions.map(\.name))
        var statements: [Statement] = []
        var targets: [(place: Int, type: RecordType, fields: Set<String>?)] = []
        for (place, expansion) in expansions.enumerated() {
            let wanted = Set(ids.compactMap { $0[place] })
            guard !wanted.isEmpty, let target = catalogue.type(named: expansion.target),
                let scope = try? context.scope(of: .read, on: target)
            else { continue }
            var builder = SQLBuilder([context.tenant.parameter, .array(wanted.sorted())])
            let condition = context.condition(scope, target, &builder)
            statements.append(
                Statement(
                    """
                    select \(target.selectList) from \(target.table) r
                    where r.tenant_id = $1 and r.id = any($2::uuid[]) and r.deleted_at is null\(condition)
                    """, builder.parameters))
            targets.append((place, target, try context.shown(target, asking: expansion.fields)))
        }
        if statements.isEmpty { return found }
        let results = try await database.batch(tenant: context.tenant, statements, readOnly: true)
        for (result, target) in zip(results, targets) {
            for row in 0..<result.count {
                var body: [UInt8] = []
                RecordJSON.append(result, row, type: target.type, only: target.fields, to: &body)
                found.put(body, at: target.place, id: result.text(row, 0)!)
            }
        }
        return found
    }
}

extension Expansion {
    /// What row `row` of a result that selected `type.selectList` refers to, in the order of `expansions`.
    static func ids(_ expansions: [Expansion], _ rows: Rows, _ row: Int, _ type: RecordType) -> [String?] {
        expansions.map { rows.text(row, RecordType.systemColumns.count + type.columnOffsets[$0.field.name]!) }
    }
}

/// Expanded records, ready to be written into the JSON of those that refer to them.
struct ExpandedRecords: Sendable {
    private var parts: [(name: [UInt8], records: [String: [UInt8]])]

    init(names: [String]) { parts = names.map { (Array(",\"\($0)\":".utf8), [:]) } }

    mutating func put(_ record: [UInt8], at place: Int, id: String) { parts[place].records[id] = record }

    /// Adds to the object that `out` ends with what it refers to.
    func append(to out: inout [UInt8], _ ids: [String?]) {
        out.removeLast()
        for (part, id) in zip(parts, ids) {
            out.append(contentsOf: part.name)
            guard let id else {
                out.append(contentsOf: "null".utf8)
                continue
            }
            out.append(contentsOf: part.records[id] ?? Array(#"{"id":"\#(id)"}"#.utf8))
        }
        out.append(UInt8(ascii: "}"))
    }
}

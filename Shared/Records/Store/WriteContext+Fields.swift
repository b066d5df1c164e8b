import Tenancy

/// Which fields the bearer may see and set. A value that is hidden must leave by no way: whatever tells of records asks
/// here first.
extension WriteContext {
    /// The fields of `type` whose values the bearer must not learn; empty for the service's own jobs.
    package func hidden(_ type: RecordType) -> Set<String> {
        guard let permissions, permissions.restrictsFields else { return [] }
        return permissions.hidden(of: type.name)
    }

    /// The fields of `type` that the bearer must not set in `action`; empty for the service's own jobs.
    package func unwritable(_ type: RecordType, in action: Action) -> Set<String> {
        guard let permissions, permissions.restrictsFields else { return [] }
        return permissions.unwritable(of: type.name, in: action)
    }

    /// True when nothing of the type is kept from the bearer: all its records, all its fields.
    package func seesAll(_ type: RecordType) -> Bool {
        guard let permissions else { return true }
        return permissions.scope(of: .read, on: type.name) == .all && type.rules.visibility == nil
            && hidden(type).isEmpty
    }

    /// The fields to show of those asked for, nil for all. Throws 403 where one is asked for that is hidden.
    package func shown(_ type: RecordType, asking fields: Set<String>? = nil) throws(Problem) -> Set<String>? {
        let hidden = hidden(type)
        if hidden.isEmpty { return fields }
        guard let fields else { return Set(type.fields.map(\.name)).subtracting(hidden) }
        try requireVisible(fields, type)
        return fields
    }

    /// Throws 403 unless the bearer may see all of `fields`.
    package func requireVisible(_ fields: some Sequence<String>, _ type: RecordType) throws(Problem) {
        let found = hidden(type).intersection(fields).sorted()
        if found.isEmpty { return }
        throw Problem(
            403, "forbidden_field", "Your roles hide of \(type.plural): \(found.joined(separator: ", ")).",
            fields: found.map { FieldError("/\($0)", "forbidden_field", "Your roles hide this field.") })
    }

    /// Throws 403 unless the bearer may set all of `fields` in `action`.
    package func requireWritable(
        _ fields: some Sequence<String>, _ type: RecordType, in action: Action
    ) throws(Problem) {
        let found = unwritable(type, in: action).intersection(fields).sorted()
        if found.isEmpty { return }
        throw Problem(
            403, "forbidden_field",
            "Your roles do not let you set of \(type.plural): \(found.joined(separator: ", ")).",
            fields: found.map { FieldError("/\($0)", "forbidden_field", "Your roles do not let you set this field.") })
    }

    /// The record as JSON, as the bearer may see it; without its id when it is only predicted.
    package func json(_ record: Record, _ type: RecordType, isPrediction: Bool = false) -> [UInt8] {
        var out: [UInt8] = []
        let hidden = hidden(type)
        let shown = hidden.isEmpty ? nil : Set(type.fields.map(\.name)).subtracting(hidden)
        RecordJSON.append(record, type: type, isPrediction: isPrediction, only: shown, to: &out)
        return out
    }

    /// A change's fields, as the history has them, without those that the bearer may not see.
    func visible(_ changes: JSONValue, _ type: RecordType) -> JSONValue {
        guard let permissions else { return changes }
        if permissions.scope(of: .read, on: type.name) == nil { return [:] }
        let hidden = hidden(type)
        guard !hidden.isEmpty, let members = changes.object else { return changes }
        return .object(members.filter { !hidden.contains($0.key) })
    }

    /// A likely duplicate as the bearer may see it: hidden fields, and reasons that could quote one, are left out.
    func visible(duplicate: JSONValue, _ type: RecordType) -> JSONValue {
        let hidden = hidden(type)
        guard !hidden.isEmpty, var members = duplicate.object else { return duplicate }
        for name in hidden { members[name] = nil }
        if type.rules.likeness?.compares.isDisjoint(with: hidden) != true { members["explanation"] = [] }
        return .object(members)
    }
}

/// Over which records and fields a filter may reach through references, and what it must not ask about.
package struct FilterReach: Sendable {
    let scope: @Sendable (RecordType) -> Scope?
    let hidden: @Sendable (RecordType) -> Set<String>
    let condition:
        @Sendable (_ scope: Scope, _ type: RecordType, _ alias: String, _ builder: inout SQLBuilder) -> String

    /// The bearer's own reach; nil for the service's own jobs, which reach everything.
    package init?(_ context: WriteContext) {
        guard let permissions = context.permissions else { return nil }
        let (user, team) = (context.user, context.team)
        scope = { permissions.scope(of: .read, on: $0.name) }
        hidden = { context.hidden($0) }
        condition = { WriteContext.condition($0, $1, user: user, team: team, alias: $2, &$3) }
    }

    /// The reach of a bearer who is no longer here, as an export keeps it.
    init?(_ reach: ExportReach) {
        guard let targets = reach.targets else { return nil }
        let (user, team) = (reach.userID, reach.teamID)
        scope = { targets[$0.name] }
        hidden = { Set(reach.hidden?[$0.name] ?? []) }
        condition = { WriteContext.condition($0, $1, user: user, team: team, alias: $2, &$3) }
    }
}

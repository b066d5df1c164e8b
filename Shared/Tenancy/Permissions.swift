import Foundation

/// What may be done with records of a type.
package enum Action: String, Sendable, CaseIterable, Codable {
    case read, create, update, delete, `import`, export
}

/// Over whose records a permission reaches. A wider scope includes the narrower ones.
package enum Scope: String, Sendable, Comparable, Codable {
    /// Records whose owner is the user.
    case own
    /// Records of the user's team, and the user's own.
    case team
    /// All of the tenant's records.
    case all

    /// True when `right` reaches further.
    package static func < (left: Scope, right: Scope) -> Bool { left.rank < right.rank }
    private var rank: Int { self == .own ? 0 : self == .team ? 1 : 2 }
}

/// What a role lets its bearers do with the values of a field.
package enum FieldAccess: String, Sendable, Comparable, Codable {
    /// Nothing shows them and nothing can be asked about them.
    case hidden
    case readable
    /// What every field is that no role speaks of.
    case writable

    /// True when `right` allows more.
    package static func < (left: FieldAccess, right: FieldAccess) -> Bool { left.rank < right.rank }
    private var rank: Int { self == .hidden ? 0 : self == .readable ? 1 : 2 }
}

/// One line of a role: these record types (`*` for all), these actions, this scope.
package struct Grant: Sendable, Codable, Equatable {
    package let types: [String]
    package let actions: [Action]
    package let scope: Scope
    /// By record type (`*` for all) and field: `{"contact": {"birth_date": "hidden"}}`. It holds for the whole role,
    /// whichever of its lines says so; of two words about a field the narrower counts.
    package let fields: [String: [String: FieldAccess]]?

    package init(
        _ types: [String], _ actions: [Action], _ scope: Scope, fields: [String: [String: FieldAccess]]? = nil
    ) {
        self.types = types
        self.actions = actions
        self.scope = scope
        self.fields = fields
    }
}

/// The union of a bearer's roles.
package struct Permissions: Sendable, Equatable {
    /// One role, as the tenant or the product defines it; one that nobody defines grants nothing.
    package struct Role: Sendable, Equatable {
        package let name: String
        let grants: [Grant]

        /// The widest scope in which the role alone allows `action` on records of `type`; nil for not at all.
        package func scope(of action: Action, on type: String) -> Scope? {
            grants.filter { ($0.types.contains("*") || $0.types.contains(type)) && $0.actions.contains(action) }
                .map(\.scope).max()
        }

        /// What the role says of a field of `type`.
        package func access(to field: String, of type: String) -> FieldAccess {
            grants.flatMap { [$0.fields?[type]?[field], $0.fields?["*"]?[field]].compactMap { $0 } }.min() ?? .writable
        }

        fileprivate func named(of type: String) -> [String] {
            grants.flatMap { [$0.fields?[type], $0.fields?["*"]].compactMap { $0 }.flatMap(\.keys) }
        }
    }

    package let roles: [Role]
    private let grants: [Grant]
    /// True when some role hides a field or keeps one from being written: without, nothing needs to look at fields.
    package let restrictsFields: Bool
    /// True for owners and administrators: keys, users and settings are theirs to change.
    package let isAdministrator: Bool
    /// True for owners, whom nobody else may change.
    package let isOwner: Bool

    /// The permissions of `roles`, where `custom` holds the tenant's own. Unknown names grant nothing.
    package init(roles: [String], custom: [String: [Grant]] = [:]) {
        self.roles = roles.map { Role(name: $0, grants: custom[$0] ?? Self.builtIn[$0] ?? []) }
        grants = self.roles.flatMap(\.grants)
        restrictsFields = grants.contains { $0.fields?.isEmpty == false }
        isOwner = roles.contains("owner")
        isAdministrator = isOwner || roles.contains("administrator")
    }

    /// The widest scope in which `action` is allowed on records of `type`; nil when it is not allowed at all.
    package func scope(of action: Action, on type: String) -> Scope? {
        grants.filter { ($0.types.contains("*") || $0.types.contains(type)) && $0.actions.contains(action) }
            .map(\.scope).max()
    }

    /// What `action` may do with a field: the most that any role allows which reaches as far as the bearer does. A role
    /// that reaches fewer records opens no field of all the others.
    package func access(to field: String, of type: String, in action: Action) -> FieldAccess {
        guard let widest = scope(of: action, on: type) else { return .hidden }
        return roles.filter { $0.scope(of: action, on: type) == widest }.map { $0.access(to: field, of: type) }.max()
            ?? .hidden
    }

    /// The fields of `type` whose values the bearer must not learn. Who may not read the type, but change it, is shown
    /// what all of the allowed actions show.
    package func hidden(of type: String) -> Set<String> { hidden(of: type, in: .read) }

    /// The same for an export, which shows nothing that reading hides.
    package func hiddenInExports(of type: String) -> Set<String> {
        hidden(of: type, in: .read).union(hidden(of: type, in: .export))
    }

    private func hidden(of type: String, in action: Action) -> Set<String> {
        if !restrictsFields { return [] }
        let allowed =
            scope(of: action, on: type) == nil ? Action.allCases.filter { scope(of: $0, on: type) != nil } : [action]
        return named(of: type).filter { name in
            allowed.isEmpty || allowed.contains { access(to: name, of: type, in: $0) == .hidden }
        }
    }

    /// The fields of `type` that `action` must not set: those it may only read, and those that are hidden.
    package func unwritable(of type: String, in action: Action) -> Set<String> {
        if !restrictsFields { return [] }
        return named(of: type).filter { access(to: $0, of: type, in: action) < .writable }.union(hidden(of: type))
    }

    private func named(of type: String) -> Set<String> { Set(roles.flatMap { $0.named(of: type) }) }

    /// The fields of `type` of which some role speaks.
    func restricted(of type: String) -> Set<String> { restrictsFields ? named(of: type) : [] }

    /// The types of whose fields some role speaks.
    var restrictedTypes: Set<String> { Set(grants.flatMap { $0.fields?.keys.map { $0 } ?? [] }) }

    /// The roles every tenant has.
    package static let builtIn: [String: [Grant]] = [
        "owner": [Grant(["*"], Action.allCases, .all)],
        "administrator": [Grant(["*"], Action.allCases, .all)],
        "manager": [
            Grant(["*"], [.read, .export], .all), Grant(["*"], [.create, .update, .delete, .import], .all),
        ],
        "agent": [Grant(["*"], [.read], .all), Grant(["*"], [.create], .all), Grant(["*"], [.update], .team)],
        "analyst": [Grant(["*"], [.read, .export], .all)],
        "read_only": [Grant(["*"], [.read], .all)],
    ]
}

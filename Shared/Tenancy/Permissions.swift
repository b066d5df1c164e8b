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

/// One line of a role: these record types (`*` for all), these actions, this scope.
package struct Grant: Sendable, Codable, Equatable {
    package let types: [String]
    package let actions: [Action]
    package let scope: Scope

    package init(_ types: [String], _ actions: [Action], _ scope: Scope) {
        self.types = types
        self.actions = actions
        self.scope = scope
    }
}

/// The union of a bearer's roles.
package struct Permissions: Sendable, Equatable {
    private let grants: [Grant]
    /// True for owners and administrators: keys, users and settings are theirs to change.
    package let isAdministrator: Bool
    /// True for owners, whom nobody else may change.
    package let isOwner: Bool

    /// The permissions of `roles`, where `custom` holds the tenant's own. Unknown names grant nothing.
    package init(roles: [String], custom: [String: [Grant]] = [:]) {
        grants = roles.flatMap { custom[$0] ?? Self.builtIn[$0] ?? [] }
        isOwner = roles.contains("owner")
        isAdministrator = isOwner || roles.contains("administrator")
    }

    /// The widest scope in which `action` is allowed on records of `type`; nil when it is not allowed at all.
    package func scope(of action: Action, on type: String) -> Scope? {
        grants.filter { ($0.types.contains("*") || $0.types.contains(type)) && $0.actions.contains(action) }
            .map(\.scope).max()
    }

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

/// Handing roles on: nobody gives what they do not have.
extension Permissions {
    /// True when everything that `others` allow is allowed here too, at least as far.
    package func covers(_ others: [Grant]) -> Bool {
        others.allSatisfy { grant in
            grant.types.allSatisfy { type in
                grant.actions.allSatisfy { action in scope(of: action, on: type).map { $0 >= grant.scope } ?? false }
            }
        }
    }

    /// True when the bearer may give `role`, or take it away: `owner` is the owners', `administrator` the
    /// administrators', any other whoever's that has all of it.
    package func mayGive(_ role: String, custom: [String: [Grant]] = [:]) -> Bool {
        switch role {
        case "owner": isOwner
        case "administrator": isAdministrator
        default: covers(Self.builtIn[role] ?? custom[role] ?? [])
        }
    }
}

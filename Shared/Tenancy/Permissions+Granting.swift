/// Handing roles on: nobody gives what they do not have.
extension Permissions {
    /// True when everything that `others`, as one role, allow is allowed here too, at least as far: the same actions on as
    /// many records, and of a field that is kept from the bearer no more than the bearer has.
    package func covers(_ others: [Grant]) -> Bool {
        let other = Role(name: "", grants: others)
        return others.allSatisfy { grant in
            grant.types.allSatisfy { type in
                grant.actions.allSatisfy { action in
                    guard let own = scope(of: action, on: type), own >= grant.scope else { return false }
                    let meant = type == "*" ? restrictedTypes.union([type]) : [type]
                    return meant.allSatisfy { type in
                        restricted(of: type).allSatisfy { field in
                            access(to: field, of: type, in: action) >= other.access(to: field, of: type)
                        }
                    }
                }
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

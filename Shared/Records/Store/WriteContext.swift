import Database
import Foundation
import Tenancy

/// Who changes records, on whose behalf, and under which request.
package struct WriteContext: Sendable {
    /// An `Idempotency-Key` with the digest of the request it came with.
    package struct Idempotency: Sendable {
        package let key: String
        package let digest: [UInt8]

        package init(key: String, digest: [UInt8]) {
            self.key = key
            self.digest = digest
        }
    }

    package let tenant: TenantID
    /// What the history shows: `user:<id>`, `key:<id>` or `job:<name>`.
    package let actor: String
    package let user: UUID?
    package let team: UUID?
    /// Nil for the service's own jobs, which may do what their handler does.
    package let permissions: Permissions?
    package let defaults: TenantDefaults
    /// Whether the tenant's own people and programs give the values: they know which custom fields must be there.
    let isAsked: Bool
    package let requestID: String
    package let traceparent: String?
    /// Groups the changes of one request, so that they can be looked at and undone together.
    package let changeSet: UUID
    package var idempotency: Idempotency?

    package init(
        principal: Principal, requestID: String, traceparent: String? = nil, idempotency: Idempotency? = nil
    ) {
        tenant = principal.tenant
        actor = principal.actor
        user = principal.user
        team = principal.team
        permissions = principal.permissions
        defaults = principal.defaults
        isAsked = true
        self.requestID = requestID
        self.traceparent = traceparent
        changeSet = .v7()
        self.idempotency = idempotency
    }

    /// For a job's handler; `isAsked` where it does what a request asked for, value by value.
    package init(
        tenant: TenantID, job name: String, actor: String? = nil, defaults: TenantDefaults, requestID: String,
        traceparent: String? = nil, changeSet: UUID = .v7(), isAsked: Bool = false
    ) {
        self.isAsked = isAsked
        self.tenant = tenant
        // A job that somebody asked for shows that somebody.
        self.actor = actor ?? "job:\(name)"
        user = nil
        team = nil
        permissions = nil
        self.defaults = defaults
        self.requestID = requestID
        self.traceparent = traceparent
        self.changeSet = changeSet
    }

    /// The widest scope of `action`; throws 403 when there is none.
    package func scope(of action: Action, on type: RecordType) throws(Problem) -> Scope {
        guard let permissions else { return .all }
        guard let scope = permissions.scope(of: action, on: type.name),
            !type.isAdministrative || permissions.isAdministrator
        else {
            throw Problem(403, "forbidden", "Your roles do not allow you to \(action.rawValue) \(type.plural).")
        }
        return scope
    }

    /// True when `record` lies within `scope`.
    package func reaches(_ record: Record, _ scope: Scope) -> Bool {
        let owner = record.uuid("owner_id")
        let isOwn = user != nil && owner == user
        switch scope {
        case .all: return true
        case .own: return isOwn
        case .team: return isOwn || (team != nil && record.uuid("team_id") == team)
        }
    }

    /// Throws 403 when `record` lies outside `scope`: nobody creates a record out of their own reach, or moves one there.
    func require(_ record: Record, within scope: Scope, _ type: RecordType) throws(Problem) {
        if permissions != nil, let visibility = type.rules.visibility, !visibility.includes(record, user, team) {
            throw Problem(
                403, "forbidden", "You would not see this \(type.name) yourself: who may is yours to be among.")
        }
        if reaches(record, scope) { return }
        switch scope {
        case .all: return
        case .own:
            throw Problem(403, "forbidden", "Your roles reach your own \(type.plural) alone: owner_id is you.")
        case .team:
            throw Problem(
                403, "forbidden", "Your roles reach your team's \(type.plural): owner_id is you, or team_id yours.")
        }
    }

    /// The condition that limits rows of `type`, aliased `r`, to `scope` and to what its rules show the bearer, with a
    /// leading `and`; empty for all.
    package func condition(_ scope: Scope, _ type: RecordType, _ builder: inout SQLBuilder) -> String {
        if permissions == nil { return "" }
        return Self.condition(scope, type, user: user, team: team, &builder)
    }

    /// The same for a bearer who is no longer here.
    static func condition(
        _ scope: Scope, _ type: RecordType, user: UUID?, team: UUID?, alias: String = "r", _ builder: inout SQLBuilder
    ) -> String {
        let visible = type.rules.visibility.map { " and (\($0.condition(user, team, alias, &builder)))" } ?? ""
        switch scope {
        case .all: return visible
        case .own:
            return " and \(alias).owner_id = \(builder.bind(user.map(Parameter.uuid) ?? .null, "uuid"))" + visible
        case .team:
            let owner = builder.bind(user.map(Parameter.uuid) ?? .null, "uuid")
            let members = builder.bind(team.map(Parameter.uuid) ?? .null, "uuid")
            return " and (\(alias).owner_id = \(owner) or \(alias).team_id = \(members))" + visible
        }
    }
}

/// What a write gave, ready to be sent.
package struct WriteResult: Sendable {
    package let status: Int
    package let id: UUID?
    package let version: Int?
    package let body: [UInt8]
    /// True when the answer is that of an earlier request with the same idempotency key.
    package var isReplay = false

    package init(status: Int, id: UUID?, version: Int?, body: [UInt8], isReplay: Bool = false) {
        self.status = status
        self.id = id
        self.version = version
        self.body = body
        self.isReplay = isReplay
    }
}

/// The version that a change expects: `*` for any, or a number.
package enum Precondition: Sendable, Equatable {
    case any
    case version(Int)

    /// Reads `If-Match`: `*`, `"7"` or `W/"7"`.
    package init?(header: String) {
        let text = header.trimmingCharacters(in: .whitespaces)
        if text == "*" {
            self = .any
            return
        }
        let quoted = text.hasPrefix("W/") ? text.dropFirst(2) : Substring(text)
        guard quoted.count >= 3, quoted.hasPrefix("\""), quoted.hasSuffix("\""),
            let version = Int(quoted.dropFirst().dropLast())
        else { return nil }
        self = .version(version)
    }
}

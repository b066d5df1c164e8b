import Database
import Foundation
import Records
import ServiceKit
import Tenancy

/// Who changes accounts, from where, by which request: what the audit trail keeps of them.
struct Author: Sendable {
    let principal: Principal
    private let requestID: String
    private let client: String?

    init(_ request: EndpointRequest) {
        principal = request.principal
        requestID = request.context.requestID
        client = request.client
    }

    /// The author as an administrator; throws 403 for everybody else.
    init(administering request: EndpointRequest) throws(Problem) {
        guard request.principal.permissions.isAdministrator else {
            throw Problem(403, "forbidden", "Owners and administrators look after accounts.")
        }
        self.init(request)
    }

    /// The entry of the audit trail that goes with a change: send it last, for it holds the tenant's lock on the trail.
    func audit(_ action: String, _ subject: String, _ detail: JSONValue = [:]) -> Statement {
        Statement(
            "select platform.append_audit($1, $2, $3, $4::jsonb, $5, $6)",
            [
                .text(principal.actor), .text(action), .text(subject), .text(detail.encoded), .text(requestID),
                .optional(client),
            ])
    }

    /// Throws 403 when somebody of `roles` is none of the author's to change: an administrator who could give an owner a
    /// new password would be one.
    func require(over roles: [String]) throws(Problem) {
        if roles.contains("owner") && !principal.permissions.isOwner {
            throw Problem(403, "forbidden", "Only owners change owners.")
        }
    }
}

/// A person who looks after their own account: somebody with a session, not a key that acts for them.
struct Person: Sendable {
    let author: Author
    let id: UUID
    /// The session that asks.
    let session: String

    init(_ request: EndpointRequest) throws(Problem) {
        author = Author(request)
        guard let user = request.principal.user,
            let token = request.headers[.authorization]?.split(separator: " ").last.flatMap({ BearerToken(String($0)) }
            ),
            token.kind == .session
        else { throw Problem(403, "not_a_person", "This is for people who have signed in.") }
        id = user
        session = token.id
    }

    var subject: String { "user:\(id.lowercased)" }
}

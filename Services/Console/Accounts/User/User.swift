import Database
import Foundation
import Records
import ServiceKit

/// A person of the tenant.
struct User: Sendable {
    let id: UUID
    let email: String
    let name: String
    let roles: [String]
    let team: UUID?
    /// `invited`, `active` or `disabled`.
    let status: String
    let json: JSONValue

    static let columns = """
        u.id, u.email, u.name, to_json(u.roles), u.team_id, u.status,
        case when u.locked_until > now() then u.locked_until end, u.last_sign_in_at, u.created_at,
        exists (select 1 from platform.totp o
            where o.tenant_id = u.tenant_id and o.user_id = u.id and o.confirmed_at is not null)
        """

    init(_ rows: Rows, _ row: Int) {
        id = rows.uuid(row, 0)!
        email = rows.text(row, 1)!
        name = rows.text(row, 2)!
        roles = rows.texts(row, 3)
        team = rows.uuid(row, 4)
        status = rows.text(row, 5)!
        json = [
            "id": .string(id.lowercased), "email": .string(email), "name": .string(name),
            "roles": .array(roles.map { .string($0) }), "team_id": JSONValue(team?.lowercased),
            "status": .string(status), "locked_until": rows.timeJSON(row, 6), "last_sign_in_at": rows.timeJSON(row, 7),
            "created_at": rows.timeJSON(row, 8), "totp": .bool(rows.bool(row, 9)!),
        ]
    }

    /// Counts among those of whom one must stay.
    var isActiveOwner: Bool { status == "active" && roles.contains("owner") }
    var subject: String { "user:\(id.lowercased)" }

    static let schema = Schemas.object([
        "id": Schemas.id, "email": ["type": "string"], "name": ["type": "string"], "roles": Schemas.texts,
        "team_id": ["type": ["string", "null"]],
        "status": ["type": "string", "enum": ["invited", "active", "disabled"]],
        "locked_until": Schemas.timeOrNull, "last_sign_in_at": Schemas.timeOrNull, "created_at": Schemas.time,
        "totp": ["type": "boolean"],
    ])

    static let email = Field("email", .email, Label("E-mail", "邮箱")).required()
    static let name = Field("name", .text(max: 200), Label("Name", "姓名")).required()
    static let roles = Field("roles", .tags(max: 20), Label("Roles", "角色")).required()
    static let team = Field("team_id", .foreignID, Label("Team", "团队"))
    static let status = Field("status", .choice(["active", "disabled"]), Label("Status", "状态")).required()
}

import Database
import Foundation
import Tenancy
import Testing

@testable import Records

@Suite("Scopes of permissions")
struct ScopeTests {
    private static let type = RecordType(
        "note", plural: "notes", schema: "notes", label: Label("Note", "备注"),
        fields: [Field("text", .text(max: 10), Label("Text", "内容"))])
    private static let user = UUID.v7()
    private static let team = UUID.v7()

    private func context(_ user: UUID?, _ team: UUID?) -> WriteContext {
        let principal = Principal(
            tenant: TenantID(1), slug: "a", user: user, team: team, actor: "user", permissions: Permissions(roles: []),
            locale: "en", defaults: TenantDefaults(country: "DE", currency: "EUR", timeZone: "UTC"), tenantRate: 1,
            credentialRate: nil, isSuspended: false)
        return WriteContext(principal: principal, requestID: "test")
    }

    private func isAllowed(_ scope: Scope, owner: UUID?, team: UUID?, by user: UUID?, of own: UUID?) -> Bool {
        let record = Record(
            id: .v7(), version: 1, createdAt: Date(), updatedAt: Date(), deletedAt: nil,
            values: ["owner_id": [owner?.lowercased], "team_id": [team?.lowercased]])
        return (try? context(user, own).require(record, within: scope, Self.type)) != nil
    }

    @Test("nobody writes a record out of their own reach")
    func reach() {
        let (user, team) = (Self.user, Self.team)
        #expect(isAllowed(.all, owner: nil, team: nil, by: nil, of: nil))
        #expect(isAllowed(.own, owner: user, team: nil, by: user, of: team))
        #expect(!isAllowed(.own, owner: .v7(), team: team, by: user, of: team))
        #expect(!isAllowed(.own, owner: nil, team: nil, by: user, of: nil))
        #expect(isAllowed(.team, owner: .v7(), team: team, by: user, of: team))
        #expect(isAllowed(.team, owner: user, team: nil, by: user, of: team))
        #expect(!isAllowed(.team, owner: .v7(), team: .v7(), by: user, of: team))
        // A key that acts for nobody owns nothing, and a record of nobody is not its own.
        #expect(!isAllowed(.own, owner: nil, team: nil, by: nil, of: nil))
        #expect(!isAllowed(.team, owner: nil, team: nil, by: nil, of: nil))
    }
}

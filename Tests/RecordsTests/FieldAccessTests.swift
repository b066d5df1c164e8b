import Foundation
import Tenancy
import Testing

@testable import Records

@Suite("Permissions of fields")
struct FieldAccessTests {
    private static func permissions(_ roles: [String: [Grant]]) -> Permissions {
        Permissions(roles: roles.keys.sorted(), custom: roles)
    }

    private static let hides: [String: [String: FieldAccess]] = ["contact": ["birth_date": .hidden]]

    @Test("what no role speaks of is writable, and costs no look")
    func open() {
        let permissions = Permissions(roles: ["agent"])
        #expect(!permissions.restrictsFields)
        #expect(permissions.hidden(of: "contact").isEmpty)
        #expect(permissions.access(to: "birth_date", of: "contact", in: .update) == .writable)
    }

    @Test("a word about a field binds the whole role, and the narrower of two counts")
    func withinOneRole() {
        let permissions = Self.permissions([
            "a": [
                Grant(["*"], [.read, .update], .all),
                Grant(
                    ["contact"], [.export], .all,
                    fields: ["*": ["birth_date": .readable], "contact": ["birth_date": .hidden]]),
            ]
        ])
        #expect(permissions.hidden(of: "contact") == ["birth_date"])
        #expect(permissions.hidden(of: "lead").isEmpty)
        #expect(permissions.unwritable(of: "lead", in: .update) == ["birth_date"])
    }

    @Test("another role opens a field when it reaches as far, and not when it reaches fewer records")
    func acrossRoles() {
        let clerk = [Grant(["contact"], [.read, .update], .all, fields: Self.hides)]
        let open = Self.permissions(["a": clerk, "b": [Grant(["contact"], [.read], .all)]])
        #expect(open.hidden(of: "contact").isEmpty)
        // The second role reads the field, but does not change contacts.
        #expect(open.unwritable(of: "contact", in: .update) == ["birth_date"])
        let narrow = Self.permissions(["a": clerk, "b": [Grant(["contact"], [.read], .own)]])
        #expect(narrow.hidden(of: "contact") == ["birth_date"])
        let stranger = Self.permissions(["a": clerk, "b": [Grant(["order"], [.read], .all)]])
        #expect(stranger.hidden(of: "contact") == ["birth_date"])
    }

    @Test("what is hidden can't be written either, and not exported")
    func blindWrites() {
        let permissions = Self.permissions([
            "reader": [Grant(["contact"], [.read], .all, fields: Self.hides)],
            "writer": [Grant(["contact"], [.update, .export], .all)],
        ])
        #expect(permissions.unwritable(of: "contact", in: .update) == ["birth_date"])
        #expect(permissions.hiddenInExports(of: "contact") == ["birth_date"])
    }

    @Test("who may create and not read is shown no hidden field by the answer")
    func writersAlone() {
        let permissions = Self.permissions(["a": [Grant(["contact"], [.create], .all, fields: Self.hides)]])
        #expect(permissions.hidden(of: "contact") == ["birth_date"])
    }

    @Test("grants are read as they were before fields, and a word that is none grants nothing")
    func decoding() throws {
        let old = #"[{"types": ["*"], "actions": ["read"], "scope": "all"}]"#
        #expect(try JSONDecoder().decode([Grant].self, from: Data(old.utf8)) == [Grant(["*"], [.read], .all)])
        let new =
            #"[{"types": ["*"], "actions": ["read"], "scope": "all", "fields": {"contact": {"birth_date": "hidden"}}}]"#
        #expect(
            try JSONDecoder().decode([Grant].self, from: Data(new.utf8))
                == [Grant(["*"], [.read], .all, fields: Self.hides)])
        let wrong = new.replacing("hidden", with: "invisible")
        #expect(throws: (any Error).self) { try JSONDecoder().decode([Grant].self, from: Data(wrong.utf8)) }
    }
}

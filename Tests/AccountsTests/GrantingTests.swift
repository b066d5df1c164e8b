import Records
import Tenancy
import Testing

@testable import Accounts

@Suite("Handing roles on")
struct GrantingTests {
    @Test("a bearer covers what lies within their own grants, in type, action and scope")
    func covers() {
        let team = Permissions(
            roles: ["lead"], custom: ["lead": [Grant(["contact", "ticket"], [.read, .update], .team)]])
        #expect(team.covers([Grant(["contact"], [.read], .team), Grant(["ticket"], [.update], .own)]))
        #expect(!team.covers([Grant(["contact"], [.read], .all)]))
        #expect(!team.covers([Grant(["contact"], [.delete], .own)]))
        #expect(!team.covers([Grant(["*"], [.read], .own)]), "all types are more than two")
        #expect(Permissions(roles: ["administrator"]).covers([Grant(["*"], Action.allCases, .all)]))
    }

    @Test("a field that is kept from a bearer is kept from whom they give a role")
    func coversFields() {
        let clerk = Permissions(
            roles: ["clerk"],
            custom: [
                "clerk": [
                    Grant(
                        ["*"], [.read, .update], .all,
                        fields: ["contact": ["birth_date": .hidden, "region": .readable]])
                ]
            ])
        func role(_ types: [String], _ actions: [Action], _ fields: [String: FieldAccess]) -> [Grant] {
            [Grant(types, actions, .all, fields: ["contact": fields])]
        }
        #expect(!clerk.covers([Grant(["contact"], [.read], .all)]), "it would show birthdays")
        #expect(!clerk.covers([Grant(["*"], [.read], .all)]), "all types are contacts too")
        #expect(clerk.covers([Grant(["ticket"], [.read], .all)]))
        #expect(!clerk.covers(role(["contact"], [.read], ["birth_date": .hidden])), "region would be writable")
        #expect(!clerk.covers(role(["contact"], [.read], ["birth_date": .readable, "region": .readable])))
        #expect(clerk.covers(role(["contact"], [.read], ["birth_date": .hidden, "region": .readable])))
        #expect(clerk.covers(role(["*"], [.update], ["birth_date": .hidden, "region": .hidden, "notes": .hidden])))
    }

    @Test("owners make owners, administrators make administrators, and built-in names can't be redefined")
    func mayGive() {
        let owner = Permissions(roles: ["owner"])
        let administrator = Permissions(roles: ["administrator"])
        let agent = Permissions(roles: ["agent"])
        #expect(owner.mayGive("owner") && owner.mayGive("administrator"))
        #expect(!administrator.mayGive("owner") && administrator.mayGive("administrator"))
        #expect(!agent.mayGive("administrator") && !agent.mayGive("analyst") && agent.mayGive("read_only"))
        let odd = ["odd": [Grant(["contact"], [.export], .own)]]
        #expect(!agent.mayGive("odd", custom: odd) && administrator.mayGive("odd", custom: odd))
    }

    @Test("grants are kept as they were given, and what they do not know is refused")
    func grants() throws {
        let json: JSONValue = [["scope": "own", "types": ["*"], "actions": ["import", "read"]]]
        let read = try RoleGrants(json)
        #expect(read.json == json && read.grants == [Grant(["*"], [.import, .read], .own)])
        for (index, wrong) in ([["scope": "own"], ["a", "b"], "x", 7, nil] as [JSONValue]).enumerated() {
            #expect(throws: Problem.self, "\(index)") { try RoleGrants([wrong]) }
        }
        #expect(throws: Problem.self) { try RoleGrants(nil) }
    }

    @Test("addresses match their networks, of four bytes and of sixteen")
    func addresses() throws {
        let network = try #require(AddressRange("10.1.0.0/15"))
        #expect(network.contains("10.0.255.1") && network.contains("10.1.2.3") && !network.contains("10.2.0.1"))
        #expect(network.contains("::ffff:10.1.2.3") && network.description == "10.0.0.0/15")
        let six = try #require(AddressRange("2001:db8::/33"))
        #expect(six.contains("2001:db8:7fff::1") && !six.contains("2001:db8:8000::1") && !six.contains("10.0.0.1"))
        #expect(AddressRange("0.0.0.0/0")?.contains("203.0.113.9") == true)
        #expect(AddressRange("::1")?.contains("::1") == true && AddressRange("::1")?.contains("::2") == false)
        for wrong in [
            "", "10.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "x/8", "10.0.0.1/8/8", "01.2.3.4/+1",
        ] {
            #expect(AddressRange(wrong) == nil, "\(wrong)")
        }
    }

    @Test("a sealed secret opens for its owner under its key, and not when a bit of it was changed")
    func vault() {
        let vault = SecretVault(key: [UInt8](repeating: 7, count: 32))
        let secret: [UInt8] = Array(0..<20)
        var sealed = vault.seal(secret, for: "a")
        #expect(vault.open(sealed, for: "a") == secret && sealed != vault.seal(secret, for: "a"))
        #expect(vault.open(sealed, for: "b") == nil)
        #expect(SecretVault(key: [UInt8](repeating: 8, count: 32)).open(sealed, for: "a") == nil)
        sealed[30] ^= 1
        #expect(vault.open(sealed, for: "a") == nil && vault.open([], for: "a") == nil)
    }

    @Test("recovery codes are read as people type them")
    func recoveryCodes() throws {
        let code = RecoveryCode.make()
        #expect(code.text.count == 19)
        #expect(RecoveryCode(code.text.uppercased().replacing("-", with: " "))?.hash == code.hash)
        #expect(RecoveryCode("OI1L-0000-0000-0000")?.text == "0111-0000-0000-0000")
        #expect(
            RecoveryCode("abc") == nil && RecoveryCode(code.text + "0") == nil
                && RecoveryCode("u" + code.text.dropFirst()) == nil)
    }
}

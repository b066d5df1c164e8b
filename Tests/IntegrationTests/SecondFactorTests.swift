import Database
import Foundation
import Records
import Tenancy
import TestSupport
import Testing

@Suite("Signing in", .serialized)
struct SecondFactorTests {
    /// What an authenticator app does with the secret it is given.
    private struct App {
        let code: OneTimeCode

        init(secret: String) {
            let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
            var (bytes, buffer, bits): ([UInt8], UInt32, Int) = ([], 0, 0)
            for symbol in secret {
                buffer = buffer << 5 | UInt32(alphabet.firstIndex(of: symbol)!)
                bits += 5
                if bits >= 8 {
                    bits -= 8
                    bytes.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
                }
            }
            code = OneTimeCode(secret: bytes)
        }

        var step: Int64 { OneTimeCode.step(at: Int64(Date().timeIntervalSince1970)) }
        func shows(at step: Int64) -> JSONValue { .string(code.code(step: step)) }
    }

    @Test("with one-time codes set up nobody gets in without one, and none counts twice")
    func oneTimeCodes() async throws {
        let platform = try await TestPlatform(["accounts serve", "contacts serve"])
        let house = try await Household(platform, "codes")
        let id = try await house.person("ada", roles: ["agent"]).lowercased
        let ada = try await house.signIn("ada")
        #expect(try await ada.post("/v1/me/totp/confirm", ["code": "123456"]).status == 409)
        let begun = try await ada.post("/v1/me/totp", [:])
        #expect(begun.status == 201 && begun.json["uri"]?.text?.hasPrefix("otpauth://totp/") == true, "\(begun.text)")
        #expect(try await house.trySignIn("ada").status == 201, "what was not confirmed does not count")
        let app = App(secret: begun.json["secret"]!.text!)
        let step = app.step
        #expect(try await ada.post("/v1/me/totp/confirm", ["code": app.shows(at: step - 9)]).status == 422)
        let confirmed = try await ada.post("/v1/me/totp/confirm", ["code": app.shows(at: step)])
        let codes = confirmed.json["recovery_codes"]?.array ?? []
        #expect(codes.count == 10 && Set(codes.compactMap(\.text)).count == 10, "\(confirmed.text)")
        #expect(try await ada.post("/v1/me/totp", [:]).json["code"] == "totp_enabled")

        let without = try await house.trySignIn("ada")
        #expect(without.status == 401 && without.json["code"] == "totp_required", "\(without.text)")
        #expect(try await house.trySignIn("ada", password: "wrong password").json["code"] == "wrong_credentials")
        #expect(try await house.trySignIn("ada", ["totp": app.shows(at: step)]).status == 401, "used to confirm")
        // Every service signs people in.
        let elsewhere = try await platform.client("contacts").post(
            "/v1/sessions",
            [
                "tenant": "codes", "email": .string(house.address("ada")), "password": .string(Household.password),
                "totp": app.shows(at: step + 1),
            ])
        #expect(elsewhere.status == 201, "\(elsewhere.text)")
        #expect(try await house.trySignIn("ada", ["totp": app.shows(at: step + 1)]).status == 401, "a replay")
        #expect(try await house.trySignIn("ada", ["recovery_code": codes[0]]).status == 201)
        #expect(try await house.trySignIn("ada", ["recovery_code": codes[0]]).status == 401, "used")
        #expect(try await ada.get("/v1/me").json["recovery_codes_left"] == 9)
        #expect(try await house.trySignIn("ada", ["totp": "12345"]).status == 422)

        // The database holds neither the secret nor a code.
        let superuser = platform.database.pool(role: "postgres")
        defer { superuser.close() }
        let rows = try await superuser.query(
            tenant: nil,
            Statement(
                """
                select secret, (select count(*) from platform.recovery_code) from platform.totp where user_id = $1
                """, [.text(id)]))
        #expect(rows.bytes(0, 0)?.count == 24 + 20 + 16 && rows.bytes(0, 0)?.contains(app.code.secret) == false)
        #expect(rows.int(0, 1) == 10)

        // A phone that is gone: an administrator takes the codes away.
        #expect(try await house.client.send("DELETE", "/v1/users/\(id)/totp").status == 204)
        #expect(try await house.trySignIn("ada").status == 201)
        #expect(try await ada.send("DELETE", "/v1/me/totp").status == 404)
    }

    @Test("wrong passwords and wrong codes lock the account, each time for longer")
    func lockout() async throws {
        let platform = try await TestPlatform(["accounts serve"])
        let house = try await Household(platform, "lockout")
        let superuser = platform.database.pool(role: "postgres")
        defer { superuser.close() }
        let user = try await house.person("ada", roles: ["agent"])
        let ada = try await house.signIn("ada")
        let app = App(secret: try await ada.post("/v1/me/totp", [:]).json["secret"]!.text!)
        let codes = try await ada.post("/v1/me/totp/confirm", ["code": app.shows(at: app.step)]).json["recovery_codes"]!
        func lock() async throws -> Int? {
            try await superuser.query(
                tenant: nil,
                Statement(
                    "select round(extract(epoch from locked_until - now()))::int from platform.app_user where id = $1",
                    [.uuid(user)])
            ).int(0, 0)
        }
        func unlock() async throws {
            _ = try await superuser.query(
                tenant: nil,
                Statement("update platform.app_user set locked_until = now() where id = $1", [.uuid(user)]))
        }
        // Two wrong passwords, and three wrong codes with the right one: five in all.
        for _ in 0..<2 { #expect(try await house.trySignIn("ada", password: "wrong").status == 401) }
        for _ in 0..<2 { #expect(try await house.trySignIn("ada", ["totp": app.shows(at: 7)]).status == 401) }
        #expect(try await lock() == nil)
        #expect(
            try await house.trySignIn("ada").json["code"] == "totp_required", "the password alone forgives nothing")
        let unknown = RecoveryCode.make().text
        #expect(try await house.trySignIn("ada", ["recovery_code": .string(unknown)]).status == 401)
        let first = try await lock() ?? 0
        #expect((10...16).contains(first), "\(first)")
        let locked = try await house.trySignIn("ada", ["recovery_code": codes.array![0]])
        #expect(locked.status == 401 && locked.json["code"] == "wrong_credentials", "locked, though all is right")
        try await unlock()
        #expect(try await house.trySignIn("ada", password: "wrong").status == 401)
        let second = try await lock() ?? 0
        #expect((26...32).contains(second), "\(second)")
        try await unlock()
        #expect(try await house.trySignIn("ada", ["recovery_code": codes.array![0]]).status == 201)
        #expect(try await lock() == nil)
        let actions = try await house.client.get("/v1/audit-entries?subject=user:\(user.lowercased)&limit=200")
            .json["items"]!.array!.map { $0["action"]!.text! }
        #expect(actions.filter { $0 == "session.refused" }.count == 6)
        #expect(actions.filter { $0 == "user.locked" }.count == 2)
    }
}

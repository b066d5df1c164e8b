import Database
import Foundation
import Records
import Tenancy
import TestSupport
import Testing

/// What people with bad intent, broken programs and odd languages send, in every field of every record type of all
/// services: the answer is a refusal, or the value is kept and given back as what it is. Nothing is ever a 500.
@Suite("Hostile input", .serialized)
struct HostileInputTests {
    /// Texts that some layer below might take for something else.
    private static let texts: [String] = [
        "'", "'; drop table contacts.contact; --", "\" or \"\"=\"", "') union select null, version() --", "$1", "$$x$$",
        "\\", "\\'", "%", "_%", "{}", "{\"a\":1}", "[\"x\"]", "null", "NaN", "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "{{7*7}}", "${jndi:ldap://x}", "../../../etc/passwd",
        "..\\..\\x", "/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/", "a\r\nSet-Cookie: x=y", "a\tb",
        "=HYPERLINK(\"http://x\")", "+1+1", "@SUM(1)", "-2+3", "\u{202e}txt.exe", "مرحبا بالعالم", "שלום",
        "e\u{301}e\u{301}", "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}", "🏳️‍🌈", "a\u{200b}b", "\u{feff}x", "\u{0}",
        "a\u{0}b", "\u{1}", "\u{7f}", "\u{85}", "\u{2028}", "\u{fffd}", "\u{10ffff}", "Z̷̢̛̫a̸l̵g̶o̷", "ﷺ", "İıſK",
        "\u{3000}", "  padded  ", "王伟'; --", String(repeating: "長", count: 100), String(repeating: "a", count: 30_000),
        String(repeating: "\u{301}", count: 90), "2026-02-30", "0000-00-00", "2026-01-01T00:00:00+99:99", "infinity",
        "00000000-0000-0000-0000-000000000000", "true", "1e308", "a@b", "a@[127.0.0.1]", "x@例子.中国", "+", "+1", "ZZ",
        "XXX",
    ]

    /// Numbers and other values, as JSON text: some hold more than any reader keeps.
    private static let raws: [String] = [
        "null", "true", "0", "-0", "-1", "1.5", "5e2", "9007199254740993", "9223372036854775807", "9223372036854775808",
        "-9223372036854775809", "1e400", "-1e400", "1e-400", String(repeating: "9", count: 400), "[]", "{}", "[[]]",
        "[null]", "[1]", "[{}]", #"["x"]"#, #"[{"value":"x"}]"#, #"[{"value":null,"kind":{}}]"#, #"{"amount":1}"#,
        #"{"amount":1e30,"currency":"EUR"}"#, #"{"amount":1,"currency":"'; --"}"#, #"{"amount":"1","currency":5}"#,
        #"{"field":"x","op":"eq"}"#, #"{"and":[{"and":[{"and":[{"and":[]}]}]}]}"#, #"{"__proto__":{"x":1}}"#,
        #""\ud800""#, #""\udc00\ud800""#, #"{"a":1,"a":2}"#,
        String(repeating: "[", count: 31) + String(repeating: "]", count: 31),
        String(repeating: "[", count: 5000) + String(repeating: "]", count: 5000),
        "[" + [String](repeating: #""t""#, count: 2000).joined(separator: ",") + "]",
    ]

    @Test("every field of every record type takes each value as data, or refuses it")
    func everyField() async throws {
        let platform = try await TestPlatform(allServices.map { "\($0.name) serve" })
        let tenant = try await platform.tenant("hostile")
        var made: [String: String] = [:]
        var count = 0
        for service in allServices {
            let client = platform.client(service.name, token: tenant.key)
            for type in service.types where type.operations.contains(.create) {
                let body = TenantLeakTests.body(type, made, mark: "plain")
                let first = try await client.post("/v1/\(type.plural)", .object(body))
                guard first.status == 201 else { throw TestFailure("\(type.name): \(first.text)") }
                made[type.name] = first.json["id"]!.text!
                made[type.table] = made[type.name]
                for field in type.fields {
                    count += try await attack(field, of: type, body, first.header("location")!, client)
                }
                // What later types refer to is one that nothing was done to: the first may be closed by now.
                let fresh = try await client.post(
                    "/v1/\(type.plural)", .object(TenantLeakTests.body(type, made, mark: "fresh")))
                // Of some there is one alone.
                guard [201, 409].contains(fresh.status) else { throw TestFailure("\(type.name): \(fresh.text)") }
                made[type.name] = fresh.json["id"]?.text ?? made[type.name]
            }
        }
        #expect(count > 8000, "\(count) values were sent")
        // The tables are still there, and so is what was in them.
        for service in allServices {
            let client = platform.client(service.name, token: tenant.key)
            for type in service.types {
                let list = try await client.get("/v1/\(type.plural)?count=exact")
                #expect(list.status == 200, "\(type.name): \(list.text)")
                guard let id = made[type.table] else { continue }
                let history = try await client.get("/v1/\(type.plural)/\(id)/history")
                #expect(history.status == 200, "\(type.name): \(history.text)")
            }
        }
    }

    /// Sends each value for one field: in a creation, since not all fields can be changed, and as a condition.
    private func attack(
        _ field: Field, of type: RecordType, _ body: [String: JSONValue], _ path: String, _ client: HTTPClient
    ) async throws -> Int {
        let texts = Self.texts.map { (JSONValue.string($0).encoded, Optional($0)) }
        let values: [(raw: String, text: String?)] = texts + Self.raws.map { ($0, nil) }
        let changes = type.operations.contains(.update) && !field.isImmutable && !field.isReadOnly
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, value) in values.enumerated() {
                if index >= 8 { try await group.next() }
                group.addTask {
                    var members = changes ? [:] : body
                    members[field.name] = nil
                    var text = JSONValue.object(members).encoded.dropLast()
                    text += "\(members.isEmpty ? "" : ",")\"\(field.name)\":\(value.raw)}"
                    let answer = try await client.send(
                        changes ? "PATCH" : "POST",
                        (changes ? path : "/v1/\(type.plural)")
                            + (type.name == "contact" && !changes ? "?allow_duplicates=true" : ""),
                        body: Array(text.utf8), headers: ["Content-Type": "application/json", "If-Match": "*"])
                    let what = "\(type.name).\(field.name) = \(value.raw.prefix(80))"
                    #expect(
                        [200, 201, 400, 409, 413, 422].contains(answer.status),
                        "\(what): \(answer.status) \(answer.text)")
                    guard answer.status < 300 else {
                        #expect(answer.json["code"]?.text != nil, "\(what): \(answer.text)")
                        return
                    }
                    check(answer, field, value.text, what)
                }
            }
            try await group.waitForAll()
        }
        // As a condition, some of each sort: what compares them is the same for all fields of a kind.
        let conditions = Self.texts.enumerated().filter { $0.offset % 5 == 0 && $0.element.utf8.count < 300 }.map(
            \.element)
        for value in conditions {
            let filter: JSONValue = ["field": .string(field.name), "op": "eq", "value": .string(value)]
            let query = filter.encoded.addingPercentEncoding(withAllowedCharacters: .alphanumerics)!
            let answer = try await client.get("/v1/\(type.plural)?limit=1&filter=\(query)")
            #expect([200, 400].contains(answer.status), "filter \(type.name).\(field.name) \(value): \(answer.text)")
        }
        return values.count + conditions.count
    }

    /// A text that was taken is there as it was sent, but for spaces around it.
    private func check(_ answer: Answer, _ field: Field, _ text: String?, _ what: String) {
        guard let value = answer.json[field.name] else {
            Issue.record("\(what): the answer lacks the field: \(answer.text)")
            return
        }
        guard let text, case .text = field.kind else { return }
        let kept = Normaliser.trimmed(text)
        // What is empty may be completed by the type's rules.
        if kept.isEmpty { return }
        #expect(value.text.map { Array($0.utf8) } == Array(kept.utf8), "\(what): \(value.encoded)")
    }

    @Test("paths, parameters, headers and bodies that are none are refused, and nothing of them is told back as markup")
    func requests() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("requests")
        let client = platform.client("contacts", token: tenant.key)
        let made = try await client.post("/v1/contacts", ["given_name": "Ada"])
        let path = made.header("location")!
        let escaped =
            Self.texts.filter { $0.utf8.count < 300 }.map {
                $0.addingPercentEncoding(withAllowedCharacters: .alphanumerics)!
            } + ["%", "%zz", "%c0%af", "%ff", "%00", "%2e%2e%2f%2e%2e", "%u0041", "a%"]
        for text in escaped {
            for address in [
                "/\(text)", "/v1/\(text)", "/v1/contacts/\(text)", "/v1/contacts/\(text)/history", "\(path)/\(text)",
                "/v1/contacts?\(text)=1", "/v1/contacts?q=\(text)", "/v1/contacts?sort=\(text)",
                "/v1/contacts?cursor=\(text)", "/v1/contacts?limit=\(text)", "/v1/contacts?view=\(text)",
                "/v1/contacts?expand=\(text)", "/v1/contacts?filter=\(text)", "/v1/contacts?filter%5B\(text)%5D=x",
                "\(path)?fields=\(text)", "\(path)?as_of=\(text)", "/v1/search?q=\(text)", "/v1/usage?days=\(text)",
                "/v1/me/permissions?explain=\(text)", "/v1/change-sets/\(text)", "/v1/jobs/\(text)",
            ] {
                guard URL(string: client.base + address) != nil else { continue }
                let answer = try await client.get(address)
                #expect(answer.status < 500, "\(address): \(answer.text)")
                #expect(answer.header("content-type")?.contains("html") != true || address == "/docs", "\(address)")
                #expect(answer.header("set-cookie") == nil)
            }
        }
        for value in [
            "\u{7f}", "'; --", String(repeating: "x", count: 8000), "\"1\", \"2\"", "W/\"-1\"", "é",
            "\"99999999999999999999\"",
        ] {
            for name in ["If-Match", "Idempotency-Key", "X-Request-Id", "traceparent", "X-Forwarded-Prefix", "Accept"] {
                let answer = try await client.send(
                    "PATCH", path, json: ["region": "x"], headers: ["If-Match": "*"].merging([name: value]) { $1 })
                #expect(answer.status < 500, "\(name): \(value.prefix(20)): \(answer.text)")
            }
        }
        let bodies: [[UInt8]] = [
            [], [0], [0xff, 0xfe], [0xc3, 0x28], Array("{".utf8), Array("{}{}".utf8), Array("\u{feff}{}".utf8),
            Array("[".utf8),
            Array(String(repeating: "[", count: 500_000).utf8), Array(#"{"given_name":"\u0000"}"#.utf8),
            Array(#"{"given_name":"\ud83d"}"#.utf8), Array("{\"given_name\":\"\u{1}\"}".utf8),
            Array("{'given_name':1}".utf8),
            Array(#"{"given_name":1e}"#.utf8),
            Array((#"{"a":"# + String(repeating: #"{"a":"#, count: 40) + "1" + String(repeating: "}", count: 41)).utf8),
        ]
        for body in bodies {
            for address in [
                "/v1/contacts", "/v1/contacts/bulk", "/v1/batch", "/v1/merges", "/v1/exports", "/v1/saved_views",
                "/v1/duplicates/dismissals",
            ] {
                for type in ["application/json", "text/plain", "multipart/form-data; boundary=x"] {
                    let answer = try await client.send("POST", address, body: body, headers: ["Content-Type": type])
                    #expect((400..<500).contains(answer.status), "\(address) \(type): \(answer.status) \(answer.text)")
                }
            }
        }
        // All of it has changed nothing but the region that was asked for.
        #expect(try await client.get("/v1/contacts?count=exact").json["count"] == 1)
        #expect(try await client.get(path).json["given_name"] == "Ada")
    }
}

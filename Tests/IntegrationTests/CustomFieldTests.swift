import Database
import Foundation
import Records
import Tenancy
import TestSupport
import Testing

@Suite("Custom fields", .serialized)
struct CustomFieldTests {
    private struct Bed {
        let platform: TestPlatform
        let tenant: TenantID
        let accounts: HTTPClient
        let contacts: HTTPClient

        init(_ slug: String, _ roles: [String] = ["contacts serve", "contacts work", "accounts serve"]) async throws {
            platform = try await TestPlatform(roles)
            let tenant = try await platform.tenant(slug)
            self.tenant = tenant.id
            accounts = platform.client("accounts", token: tenant.key)
            contacts = platform.client("contacts", token: tenant.key)
        }

        /// Defines a field of contacts, and waits until Contacts knows of it as it is.
        @discardableResult
        func define(_ name: String, _ kind: String, _ more: [String: JSONValue] = [:]) async throws -> String {
            var body: [String: JSONValue] = [
                "record_type": "contact", "name": .string(name), "kind": .string(kind),
                "label_en": .string(name.capitalized), "label_zh": "字段",
            ]
            body.merge(more) { $1 }
            let answer = try await accounts.post("/v1/custom_fields", .object(body))
            guard answer.status == 201 else { throw TestFailure(answer.text) }
            try await known(name) { $0?["is_indexed"] == (more["is_indexed"] ?? false) }
            return answer.header("location")!
        }

        /// Waits until Contacts says of a field what is expected.
        func known(_ name: String, _ isExpected: @Sendable @escaping (JSONValue?) -> Bool) async throws {
            try await eventually("contacts know of \(name)") {
                let items = try await contacts.get("/v1/custom-fields").json["items"]?.array ?? []
                return isExpected(items.first { $0["name"]?.text == name })
            }
        }

        func ids(_ filter: JSONValue) async throws -> [String] {
            let query = filter.encoded.addingPercentEncoding(withAllowedCharacters: .alphanumerics)!
            let answer = try await contacts.get("/v1/contacts?limit=200&sort=created_at&filter=\(query)")
            guard answer.status == 200 else { throw TestFailure("\(filter.encoded): \(answer.text)") }
            return answer.json["items"]!.array!.map { $0["id"]!.text! }
        }

        func finished(_ answer: Answer) async throws -> JSONValue {
            guard let job = answer.json["job_id"]?.text else { throw TestFailure(answer.text) }
            return try await platform.finished(contacts, job: job)
        }
    }

    @Test("a tenant's fields are read, merged and refused by their kinds, and are nobody else's")
    func values() async throws {
        let bed = try await Bed("customs")
        for (wrong, place) in [
            (["name": "Bad Name"], "/name"), (["name": "9x"], "/name"), (["kind": "colour"], "/kind"),
            (["kind": "choice"], "/choices"), (["choices": ["a"]], "/choices"),
            (["record_type": "nothing"], "/record_type"),
            (["kind": "boolean", "is_indexed": true], "/is_indexed"), (["label_zh": ""], "/label_zh"),
        ] as [([String: JSONValue], String)] {
            let body: [String: JSONValue] = [
                "record_type": "contact", "name": "x", "kind": "text", "label_en": "X", "label_zh": "X",
            ]
            let answer = try await bed.accounts.post("/v1/custom_fields", .object(body.merging(wrong) { $1 }))
            #expect(answer.status == 422 && answer.text.contains(place), "\(wrong): \(answer.text)")
        }
        let tier = try await bed.define("tier", "choice", ["choices": ["gold", "silver"]])
        for (name, kind) in [
            ("points", "integer"), ("ratio", "number"), ("vip", "boolean"), ("joined", "date"), ("seen", "timestamp"),
            ("likes", "tags"), ("billing", "email"), ("desk", "phone"), ("story", "long_text"),
        ] { try await bed.define(name, kind) }
        let again = try await bed.accounts.post(
            "/v1/custom_fields",
            ["record_type": "contact", "name": "tier", "kind": "text", "label_en": "X", "label_zh": "X"])
        #expect(again.status == 409, "it is a choice: \(again.text)")
        #expect(try await bed.accounts.patch(tier, ["kind": "text"]).status == 422)

        let custom: JSONValue = [
            "tier": "gold", "points": 7, "ratio": .number("0.5"), "vip": true, "joined": "2024-02-29",
            "likes": ["茶", "茶", "go"],
            "seen": "2026-01-01T09:00:00+08:00", "billing": "Ada@Example.EU ", "desk": "+49 30 1234567",
            "story": "one\ntwo 🙂 שלום",
        ]
        let made = try await bed.contacts.post("/v1/contacts", ["given_name": "Ada", "custom": custom])
        #expect(made.status == 201, "\(made.text)")
        let path = made.header("location")!
        let kept: JSONValue = [
            "tier": "gold", "points": 7, "ratio": .number("0.5"), "vip": true, "joined": "2024-02-29",
            "likes": ["茶", "go"],
            "seen": "2026-01-01T01:00:00Z", "billing": "ada@example.eu", "desk": "+49301234567",
            "story": "one\ntwo 🙂 שלום",
        ]
        let stands = try await bed.contacts.get(path).json["custom"]
        #expect(stands == kept)
        let wrong = try await bed.contacts.post(
            "/v1/contacts",
            [
                "given_name": "Eve",
                "custom": [
                    "tier": "tin", "points": .number("1.5"), "ratio": "x", "vip": "yes", "joined": "2026-02-30",
                    "nope": 1,
                    "likes": "tea", "seen": "noon", "billing": "x", "desk": "0",
                ],
            ])
        #expect(wrong.status == 422)
        #expect(wrong.json["errors"]?.array?.count == 10, "every wrong value at once: \(wrong.text)")
        for body in ["x", [], 1, true] as [JSONValue] {
            #expect(try await bed.contacts.post("/v1/contacts", ["given_name": "E", "custom": body]).status == 422)
        }

        // A patch merges, null takes away, and its undo brings back.
        let patched = try await bed.contacts.patch(path, ["custom": ["points": 8, "vip": .null]])
        #expect(patched.json["custom"]?["points"] == 8 && patched.json["custom"]?["tier"] == "gold", "\(patched.text)")
        #expect(patched.json["custom"]?.object?["vip"] == nil)
        let undo = try await bed.contacts.post("/v1/change-sets/\(patched.header("x-change-set")!)/undo", [:])
        #expect(undo.status == 200, "\(undo.text)")
        #expect(try await bed.contacts.get(path).json["custom"] == kept)
        #expect(try await bed.contacts.patch(path, ["custom": .null]).json["custom"] == .null)

        // What must be there is asked of new records, and is not taken away from others.
        #expect(try await bed.accounts.patch(tier, ["is_required": true, "choices": ["gold", "tin"]]).status == 200)
        try await bed.known("tier") { $0?["is_required"] == true }
        let lacking = try await bed.contacts.post("/v1/contacts", ["given_name": "Bo"])
        #expect(lacking.status == 422 && lacking.text.contains("/custom/tier"), "\(lacking.text)")
        #expect(try await bed.contacts.patch(path, ["region": "Leiden"]).status == 200)
        #expect(try await bed.contacts.patch(path, ["custom": ["tier": "tin"]]).status == 200)
        #expect(try await bed.contacts.patch(path, ["custom": ["tier": .null]]).status == 422)

        // The description for this tenant says it exactly; another tenant has nothing of it.
        let document = try await bed.contacts.get("/v1/openapi.json")
        #expect(document.text.contains(#"["gold","tin",null]"#) || document.text.contains(#"["gold","tin"]"#))
        let other = try await bed.platform.tenant("others")
        let stranger = bed.platform.client("contacts", token: other.key)
        #expect(try await stranger.post("/v1/contacts", ["given_name": "C", "custom": ["tier": "gold"]]).status == 422)
        #expect(try await stranger.get("/v1/contacts?filter%5Bcustom.tier%5D=gold").status == 400)
        #expect(try await stranger.get("/v1/custom-fields").json["items"] == [])
        #expect(!(try await stranger.get("/v1/openapi.json").text.contains("tin\"")))

        // Deleted, it is taken no more; what stands stays, and comes back with it.
        #expect(try await bed.accounts.send("DELETE", tier, headers: ["If-Match": "*"]).status == 204)
        try await bed.known("tier") { $0 == nil }
        #expect(try await bed.contacts.patch(path, ["custom": ["tier": "gold"]]).status == 422)
        #expect(try await bed.contacts.get(path).json["custom"]?["tier"] == "tin")
        #expect(try await bed.accounts.post("\(tier)/restore", [:]).status == 200)
        try await bed.known("tier") { $0 != nil }
        let found = try await bed.ids(["field": "custom.tier", "op": "eq", "value": "tin"])
        #expect(found == [made.json["id"]!.text!])
    }

    @Test("with an index and without, every condition finds the same records")
    func filters() async throws {
        let bed = try await Bed("filtered-customs")
        let kinds = ["text", "integer", "number", "date", "timestamp", "choice"]
        for kind in kinds {
            for name in ["plain", "early"] {
                var more: [String: JSONValue] = kind == "choice" ? ["choices": ["v1", "v2", "v3", "v4"]] : [:]
                if name == "early" { more["is_indexed"] = true }
                try await bed.define("\(name)_\(kind)", kind, more)
            }
        }
        var generator = SeededGenerator(seed: 7)
        func value(_ kind: String) -> JSONValue {
            let number = Int.random(in: 1...4, using: &generator)
            switch kind {
            case "integer": return JSONValue(number)
            case "number": return .number("\(Double(number) / 4)")
            case "date": return .string("2024-0\(number)-15")
            case "timestamp": return .string("2024-0\(number)-15T10:00:00Z")
            default: return .string("v\(number)")
            }
        }
        var paths: [String] = []
        for index in 0..<60 {
            var custom: [String: JSONValue] = [:]
            for kind in kinds where Int.random(in: 0..<4, using: &generator) > 0 {
                let one = value(kind)
                custom["plain_\(kind)"] = one
                custom["early_\(kind)"] = one
            }
            let made = try await bed.contacts.post(
                "/v1/contacts?allow_duplicates=true", ["given_name": .string("N\(index)"), "custom": .object(custom)])
            #expect(made.status == 201, "\(made.text)")
            paths.append(made.header("location")!)
        }
        // Some change, some lose all, some are deleted: the index follows.
        for (index, path) in paths.enumerated() where index % 3 == 0 {
            let kind = kinds.randomElement(using: &generator)!
            let one = value(kind)
            let answer =
                index % 9 == 0
                ? try await bed.contacts.patch(path, ["custom": .null])
                : index % 6 == 0
                    ? try await bed.contacts.send("DELETE", path, headers: ["If-Match": "*"])
                    : try await bed.contacts.patch(
                        path, ["custom": .object(["plain_\(kind)": one, "early_\(kind)": one])])
            #expect(answer.status < 300, "\(answer.text)")
        }
        var found = 0
        func compare(_ left: String, _ right: String) async throws {
            for kind in kinds {
                var conditions: [(String, JSONValue)] = [
                    ("eq", value(kind)), ("ne", value(kind)), ("in", [value(kind), value(kind)]), ("empty", true),
                    ("empty", false), ("eq", .null),
                ]
                if kind != "choice" {
                    for op in ["lt", "lte", "gt", "gte"] { conditions.append((op, value(kind))) }
                }
                if kind == "text" { conditions += [("contains", "2"), ("starts", "v"), ("matches", "v3")] }
                if ["date", "timestamp"].contains(kind) {
                    conditions.append(("within", ["last": 10_000, "unit": "day"]))
                }
                for (op, value) in conditions {
                    func ask(_ name: String) -> JSONValue {
                        ["field": .string("custom.\(name)_\(kind)"), "op": .string(op), "value": value]
                    }
                    let expected = try await bed.ids(ask(left))
                    let ids = try await bed.ids(ask(right))
                    #expect(ids == expected, "\(kind) \(op) \(value.encoded)")
                    // Through a negation and beside another condition too.
                    #expect(try await bed.ids(["not": ask(right)]) == bed.ids(["not": ask(left)]))
                    found += ids.count
                }
            }
        }
        try await compare("plain", "early")
        #expect(found > 300, "\(found) records were found at all")

        // An index that is asked for later is completed, and only then used.
        let all = try await bed.accounts.get("/v1/custom_fields?limit=200")
        for item in all.json["items"]!.array! where item["name"]!.text!.hasPrefix("plain") {
            let path = "/v1/custom_fields/\(item["id"]!.text!)"
            #expect(try await bed.accounts.patch(path, ["is_indexed": true]).status == 200)
            try await bed.known(item["name"]!.text!) { $0?["is_indexed"] == true }
        }
        let counts = try await bed.platform.owner.withTenant(bed.tenant) { transaction in
            try await transaction.query(
                """
                select count(*) filter (where field like 'plain%'), count(*) filter (where field like 'early%')
                from contacts.custom_value where tenant_id = $1
                """, [transaction.tenant.parameter])
        }
        #expect(counts.int(0, 0) == counts.int(0, 1) && counts.int(0, 0)! > 100)
        try await compare("plain", "early")
    }

    @Test("an import fills them by column, and an export gives them back the same")
    func files() async throws {
        let bed = try await Bed("filed-customs")
        try await bed.define("points", "integer", ["is_indexed": true])
        try await bed.define("tier", "choice", ["choices": ["gold", "tin"]])
        let bad = try await bed.contacts.upload(
            options: ["type": "contact", "mapping": ["a": "custom.nope"]], file: Array("a\nx\n".utf8))
        #expect(bad.status == 422 && bad.text.contains("nope"), "\(bad.text)")
        let csv = "external_id,given_name,custom.points,Level\n1,Ada,7,gold\n2,Bo,many,gold\n3,Cy,9,clay\n4,Di,,tin\n"
        let upload = try await bed.contacts.upload(
            options: [
                "type": "contact",
                "mapping": [
                    "external_id": "external_id", "given_name": "given_name", "custom.points": "custom.points",
                    "Level": "custom.tier",
                ],
            ], file: Array(csv.utf8))
        let job = try await bed.finished(upload)
        #expect(job["result"]?["created"] == 2 && job["result"]?["failed"] == 2, "\(job)")
        let errors = try await bed.contacts.get("/v1/imports/\(upload.json["import_id"]!.text!)/errors")
        #expect(errors.text.contains("custom.points") && errors.text.contains("Level"), "\(errors.text)")
        #expect(try await bed.ids(["field": "custom.points", "op": "gte", "value": 7]).count == 1)

        for format in ["csv", "ndjson"] {
            let started = try await bed.contacts.post(
                "/v1/exports", ["type": "contact", "format": .string(format), "fields": ["external_id", "custom"]])
            _ = try await bed.finished(started)
            let file = try await bed.contacts.get("/v1/exports/\(started.json["export_id"]!.text!)/file")
            let again = try await bed.contacts.upload(
                options: ["type": "contact", "format": .string(format), "duplicates": "update"],
                file: Array(file.text.utf8))
            let result = try await bed.finished(again)
            #expect(result["result"]?["failed"] == 0, "\(format): \(result) \(file.text)")
        }
        let list = try await bed.contacts.get("/v1/contacts?sort=created_at")
        #expect(
            list.json["items"]?.array?.map { $0["custom"]! } == [["points": 7, "tier": "gold"], ["tier": "tin"]],
            "\(list.text)")
    }

    @Test("two people who become one keep what both have, and the undo gives each their own")
    func merged() async throws {
        let bed = try await Bed("merged-customs")
        try await bed.define("points", "integer")
        try await bed.define("tier", "choice", ["choices": ["gold", "tin"]])
        let one = try await bed.contacts.post("/v1/contacts", ["given_name": "Ada", "custom": ["points": 1]])
        let two = try await bed.contacts.post(
            "/v1/contacts?allow_duplicates=true", ["given_name": "Ada", "custom": ["points": 2, "tier": "tin"]])
        let merge = try await bed.contacts.post(
            "/v1/merges", ["survivor": one.json["id"]!, "merged": two.json["id"]!])
        #expect(merge.status == 201, "\(merge.text)")
        #expect(
            try await bed.contacts.get(one.header("location")!).json["custom"] == ["points": 1, "tier": "tin"])
        let undo = try await bed.contacts.post("/v1/merges/\(merge.json["id"]?.text ?? "")/undo", [:])
        #expect(undo.status == 200, "\(undo.text)")
        #expect(try await bed.contacts.get(one.header("location")!).json["custom"] == ["points": 1])
        #expect(try await bed.contacts.get(two.header("location")!).json["custom"] == ["points": 2, "tier": "tin"])
    }
}

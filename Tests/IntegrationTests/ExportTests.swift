import Database
import Foundation
import Records
import TestSupport
import Testing

@Suite("Exports", .serialized)
struct ExportTests {
    @Test("what is exported and imported again is the same, in every format", arguments: ["csv", "ndjson", "vcard"])
    func roundTrip(format: String) async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let (here, there) = (try await platform.tenant("here"), try await platform.tenant("there"))
        let source = platform.client("contacts", token: here.key)
        let people: [JSONValue] = [
            ["given_name": "伟", "family_name": "王", "region": "上海", "needs": ["茶", "a;b", "c,d"], "external_id": "1"],
            [
                "given_name": "=SUM(A1)", "family_name": "'+quoted\"", "region": "'", "external_id": "2",
                "emails": [["value": "a@example.eu", "kind": "work", "primary": true], ["value": "b@example.eu"]],
                "phones": [["value": "+49301234567"]],
            ],
            [
                "given_name": "عمر", "job_title": "-5 🙂, \"chief\"", "birth_date": "1980-01-31", "external_id": "3",
                "identifiers": [["value": "=7", "kind": "tax"]], "do_not_contact": true, "source": "shop",
                "addresses": [["street": "Main", "house_number": "7", "city": "Leiden", "country": "NL"]],
                "likelihood_to_recommend": 9,
            ],
        ]
        for person in people {
            let answer = try await source.post("/v1/contacts?allow_duplicates=true", person)
            #expect(answer.status == 201, "\(answer.text)")
        }
        let file = try await export(["type": "contact", "format": .string(format)], source, platform)
        let target = platform.client("contacts", token: there.key)
        let upload = try await target.upload(options: ["type": "contact", "format": .string(format)], file: file)
        let imported = try await platform.finished(target, job: upload.json["job_id"]!.text!)
        #expect(imported["result"]?["created"] == 3, "\(imported) \(String(decoding: file, as: UTF8.self))")
        let (left, right) = (try await contents(source), try await contents(target))
        #expect(left == right)
    }

    @Test("an export keeps to the filter and the fields, is its owner's, and goes on after a kill")
    func filtered() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("filtered")
        let client = platform.client("contacts", token: tenant.key)
        let rows = (0..<4000).map { "E\($0),Given \($0),\($0 % 2 == 0 ? "even" : "odd")" }
        let csv = "external_id,given_name,region\n" + rows.joined(separator: "\n")
        let upload = try await client.upload(options: ["type": "contact"], file: Array(csv.utf8))
        _ = try await platform.finished(client, job: upload.json["job_id"]!.text!)
        let options: JSONValue = [
            "type": "contact", "filter": ["field": "region", "op": "eq", "value": "even"],
            "fields": ["external_id", "region"],
        ]
        let started = try await client.post("/v1/exports", options)
        #expect(started.status == 202, "\(started.text)")
        try await platform.crashAndRestart("contacts work")
        let job = try await platform.finished(client, job: started.json["job_id"]!.text!)
        #expect(job["result"]?["records"] == 2000, "\(job)")
        let path = "/v1/exports/\(started.json["export_id"]!.text!)/file"
        let file = try await client.get(path)
        let lines = file.text.split(separator: "\r\n")
        #expect(lines.count == 2001 && lines[0] == "id,version,created_at,updated_at,region,external_id")
        #expect(Set(lines.dropFirst()).count == 2000 && lines.dropFirst().allSatisfy { $0.contains(",even,E") })
        let other = try await platform.tenant("others")
        #expect(try await platform.client("contacts", token: other.key).get(path).status == 404)
        let bad = try await client.post(
            "/v1/exports", ["type": "contact", "filter": ["field": "nothing", "op": "eq", "value": 1]])
        #expect((400..<500).contains(bad.status), "\(bad.text)")
    }

    @Test("cards of other programs come in: companies by their names, faults by entry and property, on after a kill")
    func foreignCards() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("cards")
        let client = platform.client("contacts", token: tenant.key)
        let company = try await client.post("/v1/organizations", ["name": "Muster AG"])
        func card(_ lines: String...) -> String {
            (["BEGIN:VCARD", "VERSION:3.0"] + lines + ["END:VCARD", ""]).joined(separator: "\r\n")
        }
        let file =
            card("FN:Eva Muster", "N:Muster;Eva;;;", "ORG:MUSTER AG", "UID:1", "NOTE:Tee")
            + card("FN:Ole", "ORG:Nobody Ltd", "EMAIL:not an address", "UID:2")
            + card("FN:Ole", "ORG:Nobody Ltd", "UID:3") + "stray\r\n"
            + (4..<3000).map { card("FN:Person \($0)", "TEL;TYPE=CELL:030 \(1_000_000 + $0)", "UID:\($0)") }.joined()
        let options: JSONValue = ["type": "contact", "format": "vcard", "source": "phone"]
        let upload = try await client.upload(options: options, file: Array(file.utf8))
        #expect(upload.status == 202, "\(upload.text)")
        try await platform.crashAndRestart("contacts work")
        let job = try await platform.finished(client, job: upload.json["job_id"]!.text!)
        let result = job["result"]!
        #expect(result["created"] == 2998 && result["failed"] == 2 && result["rows"] == 3000, "\(job)")
        let errors = try await client.get("/v1/imports/\(upload.json["import_id"]!.text!)/errors").text
        let lines = errors.split(separator: "\r\n").filter { $0.first?.isNumber == true }
        #expect(
            lines.map { $0.split(separator: ",", omittingEmptySubsequences: false).prefix(3).joined(separator: ",") }
                == [
                    "1,NOTE,no_field", "2,EMAIL,not_an_email", "3,ORG,no_such_record", "4,,outside_card",
                ], "\(errors)")
        #expect(errors.contains(":not an address"), "the card can be mended")
        let eva = try await client.get("/v1/contacts?filter[external_id]=1").json["items"]?.array?.first
        #expect(eva?["organization_id"] == company.json["id"] && eva?["source"] == "phone")
        // A file as it is, without a form.
        let plain = try await client.send(
            "POST", "/v1/imports", body: Array(card("FN:Plain").utf8), headers: ["Content-Type": "text/vcard"])
        #expect(plain.status == 202, "\(plain.text)")
        #expect(try await platform.finished(client, job: plain.json["job_id"]!.text!)["result"]?["created"] == 1)
        for path in ["/v1/imports", "/v1/exports"] {
            let wrong: JSONValue = ["type": "organization", "format": "vcard"]
            let answer =
                path == "/v1/imports"
                ? try await client.upload(options: wrong, file: [65]) : try await client.post(path, wrong)
            #expect(answer.status == 422, "\(answer.text)")
        }
    }

    private func export(_ options: JSONValue, _ client: HTTPClient, _ platform: TestPlatform) async throws -> [UInt8] {
        let started = try await client.post("/v1/exports", options)
        #expect(started.status == 202, "\(started.text)")
        let job = try await platform.finished(client, job: started.json["job_id"]!.text!)
        #expect(job["state"] == "done", "\(job)")
        return Array(try await client.get("/v1/exports/\(started.json["export_id"]!.text!)/file").text.utf8)
    }

    /// The contacts by external id, without what no two copies share.
    private func contents(_ client: HTTPClient) async throws -> [String] {
        let items = try await client.get("/v1/contacts?limit=200&sort=external_id").json["items"]?.array ?? []
        return items.map { item in
            var members = item.object!
            for name in ["id", "version", "created_at", "updated_at"] { members[name] = nil }
            return JSONValue.object(members).encoded
        }
    }
}

import Database
import Foundation
import Matching
import Records
import SyntheticPeople
import TestSupport
import Testing

@Suite("Duplicates of contacts", .serialized)
struct DuplicateTests {
    @Test("from an import to the pairs: those that are one person, with reasons that add up")
    func importedDuplicates() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("pairs")
        let client = platform.client("contacts", token: tenant.key)
        var generator = PeopleGenerator(seed: 7, language: .register)
        let people = generator.tenant(records: 500, hardNegatives: false)
        let (csv, truth) = Self.table(people)
        let upload = try await client.upload(
            options: ["type": "contact", "bad_values": "leave_out"], file: Array(csv.utf8))
        #expect(upload.status == 202, "\(upload.text)")
        let imported = try await platform.finished(client, job: upload.json["job_id"]!.text!)
        #expect(imported["result"]?["created"] == JSONValue(truth.count), "\(imported)")
        let scan = try await client.post("/v1/duplicates/scan", [:])
        #expect(scan.status == 202)
        let job = try await platform.finished(client, job: scan.json["job_id"]!.text!)
        #expect(job["state"] == "done" && job["result"]?["contacts"] == JSONValue(truth.count), "\(job)")

        // The pairs by external id, page by page.
        var found = Set<String>()
        var cursor = ""
        repeat {
            let page = try await client.get("/v1/duplicates?limit=37\(cursor)")
            #expect(page.status == 200, "\(page.text)")
            for pair in page.json["items"]!.array! {
                let ids = [pair["left"]!.text!, pair["right"]!.text!]
                found.insert(ids.sorted().joined())
                let weights = (pair["explanation"]?.array ?? []).reduce(pair["prior_weight"]!.number!) {
                    $0 + $1["weight"]!.number!
                }
                #expect(abs(1 / (1 + exp2(-weights)) - pair["score"]!.number!) < 1e-6)
            }
            cursor = page.json["next_cursor"]?.text.map { "&cursor=\($0)" } ?? ""
        } while !cursor.isEmpty
        var persons: [String: [String]] = [:]
        cursor = ""
        repeat {
            let page = try await client.get("/v1/contacts?fields=external_id&limit=200\(cursor)")
            for contact in page.json["items"]!.array! {
                persons[truth[contact["external_id"]!.text!]!, default: []].append(contact["id"]!.text!)
            }
            cursor = page.json["next_cursor"]?.text.map { "&cursor=\($0)" } ?? ""
        } while !cursor.isEmpty
        var expected = Set<String>()
        for ids in persons.values {
            for (index, left) in ids.enumerated() {
                for right in ids[(index + 1)...] { expected.insert([left, right].sorted().joined()) }
            }
        }
        let hits = Double(found.intersection(expected).count)
        let f1 = 2 * hits / Double(found.count + expected.count)
        #expect(f1 >= 0.95, "\(found.count) found, \(expected.count) true, \(hits) of them found")
    }

    @Test("a contact who is likely here already is refused with the reasons, unless that is wanted")
    func refusal() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("twins")
        let client = platform.client("contacts", token: tenant.key)
        let ada: JSONValue = [
            "given_name": "Ada", "family_name": "Jansen", "birth_date": "1975-12-05",
            "emails": [["value": "ada.jansen@example.eu"]], "phones": [["value": "+31201234567"]],
        ]
        let first = try await client.post("/v1/contacts", ada)
        #expect(first.status == 201, "\(first.text)")
        let again: JSONValue = [
            "given_name": "Adda", "family_name": "Jansen", "birth_date": "1975-12-05",
            "emails": [["value": "ADA.JANSEN@example.eu"]],
        ]
        let refused = try await client.post("/v1/contacts", again)
        #expect(refused.status == 409 && refused.json["code"] == "duplicates", "\(refused.text)")
        let match = refused.json["duplicates"]?.array?.first
        #expect(match?["id"] == first.json["id"] && match?["explanation"]?.array?.isEmpty == false)
        let dry = try await client.post("/v1/contacts?dry_run=true", again)
        #expect(dry.status == 200 && dry.json["duplicates"]?.array?.first?["id"] == first.json["id"], "\(dry.text)")
        let other: JSONValue = ["given_name": "Ada", "family_name": "de Vries", "birth_date": "1990-01-01"]
        #expect(try await client.post("/v1/contacts", other).status == 201, "a common name alone is no duplicate")
        let allowed = try await client.post("/v1/contacts?allow_duplicates=true", again)
        #expect(allowed.status == 201)

        // The pair is found without a scan, a person says it is two people, and merging ends it.
        let path = "/v1/duplicates?contact_id=\(allowed.json["id"]!.text!)"
        try await eventually("the pair is found") { try await client.get(path).json["items"]?.array?.count == 1 }
        let pair: JSONValue = ["left": allowed.json["id"]!, "right": first.json["id"]!]
        #expect(try await client.post("/v1/duplicates/dismissals", pair).status == 200)
        #expect(try await client.get(path).json["items"] == [])
        #expect(
            try await client.post(
                "/v1/duplicates/dismissals",
                [
                    "left": allowed.json["id"]!, "right": first.json["id"]!, "is_dismissed": false,
                ]
            ).status == 200)
        #expect(try await client.get(path).json["items"]?.array?.count == 1)
        let merge = try await client.post("/v1/merges", ["survivor": first.json["id"]!, "merged": allowed.json["id"]!])
        #expect(merge.status == 201, "\(merge.text)")
        #expect(try await client.get(path).json["items"] == [])
    }

    @Test("a small file with the same person twice gives the pair, without a scan")
    func smallImport() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("small")
        let client = platform.client("contacts", token: tenant.key)
        let csv = """
            external_id,given_name,surname,date_of_birth,email
            1,Ada,Jansen,1975-12-05,ada@example.eu
            2,Ada,Janssen,1975-12-05,ada@example.eu
            3,Bob,Smit,1960-02-01,bob@example.eu
            """
        let upload = try await client.upload(options: ["type": "contact"], file: Array(csv.utf8))
        _ = try await platform.finished(client, job: upload.json["job_id"]!.text!)
        try await eventually("the pair is found") {
            try await client.get("/v1/duplicates").json["items"]?.array?.count == 1
        }
    }

    /// The people as a file, and who each row is.
    private static func table(_ people: [PeopleGenerator.Labelled]) -> (csv: String, truth: [String: String]) {
        var truth: [String: String] = [:]
        var csv =
            "rec_id,given_name,surname,street_number,address_1,address_2,suburb,postcode,state,date_of_birth,soc_sec_id\n"
        for (index, labelled) in people.enumerated() {
            let person = labelled.profile
            truth["r\(index)"] = "\(labelled.person)"
            let cells: [String?] = [
                "r\(index)", person.givenName, person.familyName, person.houseNumber, person.street,
                person.addressLine2, person.city, person.postalCode, person.region, person.birthDate,
                person.identifiers.first,
            ]
            let quoted = cells.map { cell in "\"" + (cell ?? "").replacing("\"", with: "\"\"") + "\"" }
            csv += quoted.joined(separator: ",") + "\n"
        }
        return (csv, truth)
    }
}

extension JSONValue {
    fileprivate var number: Double? { if case .number(let text) = self { Double(text) } else { nil } }
}

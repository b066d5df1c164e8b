import Database
import Foundation
import Records
import TestSupport
import Testing

@Suite("Search", .serialized)
struct SearchTests {
    @Test("by the beginnings of words, Chinese too, within one's own tenant and reach")
    func search() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let (tenant, other) = (try await platform.tenant("searching"), try await platform.tenant("elsewhere"))
        let client = platform.client("contacts", token: tenant.key)
        let stranger = platform.client("contacts", token: other.key)
        let people: [JSONValue] = [
            ["given_name": "伟", "family_name": "王", "phones": [["value": "+8613800138000"]]],
            ["given_name": "小伟", "family_name": "欧阳"],
            ["given_name": "Zoë", "family_name": "Müller-Lüdenscheid", "emails": [["value": "zoe.m@example.eu"]]],
            ["given_name": "عمر", "family_name": "خيام"],
            ["given_name": "O'Hara", "family_name": "''):* | x"],
        ]
        var ids: [JSONValue] = []
        for person in people {
            let answer = try await client.post("/v1/contacts?allow_duplicates=true", person)
            #expect(answer.status == 201, "\(answer.text)")
            ids.append(answer.json["id"]!)
        }
        _ = try await stranger.post("/v1/contacts", people[0])
        _ = try await client.post("/v1/organizations", ["name": "Müller & Söhne"])
        func found(_ text: String) async throws -> Set<String> {
            let query = text.addingPercentEncoding(withAllowedCharacters: .alphanumerics)!
            let answer = try await client.get("/v1/contacts?q=\(query)")
            #expect(answer.status == 200, "\(answer.text)")
            return Set(answer.json["items"]!.array!.map { $0["id"]!.text! })
        }
        func expect(_ text: String, _ people: [Int]) async throws {
            #expect(try await found(text) == Set(people.map { ids[$0].text! }), "\(text)")
        }
        try await expect("王伟", [0])
        try await expect("伟", [0, 1])
        try await expect("小伟", [1])
        try await expect("欧阳", [1])
        try await expect("阳欧", [])
        try await expect("zoe mul", [2])
        try await expect("LUDENS", [2])
        try await expect("zoe.m@example", [2])
        try await expect("13800138000", [])
        try await expect("+8613800138000", [0])
        try await expect("00138000", [0])
        try await expect("عمر", [3])
        try await expect("hara", [4])
        try await expect("' | zoe", [2])
        try await expect(":*&!()", [])
        try await expect("🙂", [])

        let all = try await client.get("/v1/search?q=m%C3%BCller")
        #expect(all.json["items"]?.array?.map { $0["type"]!.text! } == ["organization", "contact"], "\(all.text)")
        #expect(all.json["items"]?.array?.first?["title"] == "Müller & Söhne")
        #expect(try await client.get("/v1/search?q=m%C3%BCller&types=contact").json["items"]?.array?.count == 1)
        #expect(try await client.get("/v1/search?q=").status == 400)
        #expect(try await client.get("/v1/search?q=a&types=nothing").status == 400)

        // What changes is found anew, what is deleted no longer.
        let path = "/v1/contacts/\(ids[2].text!)"
        #expect(try await client.patch(path, ["family_name": "Schmidt"]).status == 200)
        try await expect("schmidt", [2])
        try await expect("zoe mul", [])
        #expect(try await client.send("DELETE", path, headers: ["If-Match": "*"]).status == 204)
        try await expect("zoe", [])
    }
}

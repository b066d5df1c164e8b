import Contracts
import Database
import Foundation
import Jobs
import Records
import TestSupport
import Testing

@testable import Contacts

@Suite("Segments", .serialized)
struct SegmentTests {
    @Test("a static segment takes contacts in and lets them go, pages its members, and remembers who was in it and why")
    func staticSegment() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("static")
        let client = platform.client("contacts", token: tenant.key)
        var people: [JSONValue] = []
        for name in ["Ada", "Bob", "Cy"] {
            people.append(
                try await client.post("/v1/contacts?allow_duplicates=true", ["given_name": .string(name)]).json["id"]!)
        }
        let made = try await client.post("/v1/segments", ["name": "VIP", "kind": "static"])
        #expect(made.status == 201 && made.json["member_count"] == 0, "\(made.text)")
        let path = made.header("location")!
        let stranger = UUID().uuidString.lowercased()
        let wish: JSONValue = ["add": .array(people + people + [.string(stranger)])]
        let dry = try await client.post(path + "/members?dry_run=true", wish)
        #expect(dry.status == 200 && dry.json["record"]?["added"] == 3, "\(dry.text)")
        let added = try await client.post(path + "/members", wish, key: "members-1")
        #expect(added.json["added"] == 3 && added.json["unknown"] == [.string(stranger)], "\(added.text)")
        #expect(added.json["member_count"] == 3)
        #expect(try await client.post(path + "/members", wish, key: "members-1").json == added.json)
        #expect(try await client.post(path + "/members", wish).json["added"] == 0, "whoever is in is not added")

        let first = try await client.get(path + "/members?limit=2")
        let cursor = first.json["next_cursor"]?.text ?? ""
        let rest = try await client.get(path + "/members?limit=2&cursor=\(cursor.urlEncoded)")
        let seen = (first.json["items"]!.array! + rest.json["items"]!.array!).compactMap { $0["id"] }
        #expect(Set(seen.compactMap(\.text)) == Set(people.compactMap(\.text)) && seen.count == 3)
        #expect(rest.json["next_cursor"] == .null)

        let removed = try await client.post(path + "/members", ["remove": [people[1]]])
        #expect(removed.json["removed"] == 1 && removed.json["member_count"] == 2, "\(removed.text)")
        #expect(try await client.post(path + "/members", ["add": [people[1]]]).json["added"] == 1)
        let stays = try await client.get("/v1/contacts/\(people[1].text!)/segments").json["items"]!.array!
        #expect(stays.count == 2 && stays[0]["left"] == .null && stays[1]["left"]?["why"] == "manual", "\(stays)")
        #expect(stays.allSatisfy { $0["name"] == "VIP" && $0["joined"]?["why"] == "manual" })

        let known = try await client.get("/v1/contacts/\(people[1].text!)/360").json["segments"]?.array
        #expect(
            known?.map { $0["name"]! } == ["VIP"] && known?[0]["since"] == stays[0]["joined"]?["at"], "\(known ?? [])")

        // Of two contacts that become one the survivor takes the place, and gives it back.
        let outsider = try await client.post("/v1/contacts?allow_duplicates=true", ["given_name": "Di"]).json["id"]!
        let merge = try await client.post("/v1/merges", ["survivor": outsider, "merged": people[0]])
        #expect(merge.status == 201, "\(merge.text)")
        func members() async throws -> Set<String> {
            Set(try await client.get(path + "/members").json["items"]!.array!.compactMap { $0["id"]?.text })
        }
        try await eventually("the survivor is in") { try await members().contains(outsider.text!) }
        #expect(try await !members().contains(people[0].text!))
        #expect(try await client.post("/v1/merges/\(merge.json["id"]!.text!)/undo", [:]).status == 200)
        try await eventually("all is as it was") { try await members() == Set(people.compactMap(\.text)) }

        let wrong: [(JSONValue, Int)] = [
            (["kind": "static"], 422),
            (["name": "x", "kind": "filter", "filter": ["field": "nope", "op": "empty"]], 422),
            (["name": "x", "kind": "filter", "filter": ["field": "region", "op": "lt", "value": []]], 422),
            (["name": "x", "kind": "filter", "filter": "region"], 422),
            (["name": "x", "kind": "static", "filter": ["field": "region", "op": "empty"]], 409),
        ]
        for (body, status) in wrong {
            let answer = try await client.post("/v1/segments", body)
            #expect(answer.status == status, "\(body.encoded): \(answer.text)")
        }
        #expect(try await client.post(path + "/members", ["add": ["x"], "nope": 1]).status == 422)
        #expect(try await client.post(path + "/members", ["add": [people[0]], "remove": [people[0]]]).status == 422)
        #expect(try await client.patch(path, ["kind": "filter"]).status == 422)
    }

    @Test("a filter segment follows its contacts: who comes, who goes, what happens when its field is gone")
    func filterSegment() async throws {
        let bed = try await JobBed(contactsService, keeping: [SegmentChanged.name])
        let tenant = try await bed.bed.tenant("filter")
        let ada = try await bed.create("contact", ["given_name": "Ada", "region": "Leiden"], tenant)
        let bob = try await bed.create("contact", ["given_name": "Bob", "region": "Delft"], tenant)
        let leiden: JSONValue = ["field": "region", "op": "eq", "value": "Leiden"]
        let segment = try await bed.create(
            "segment", ["name": "Leiden", "kind": "filter", "filter": leiden], tenant)
        let job = RefreshSegmentJob(segment: segment)
        try await bed.runAll(named: RefreshSegmentJob.name, tenant)
        func story() async throws -> [String] {
            try await bed.told(SegmentChanged.self, tenant).flatMap(\.changes).map {
                "\($0.contact == ada ? "ada" : "bob") \($0.direction.rawValue)"
            }
        }
        #expect(try await story() == ["ada joined"])
        var now = try await bed.record("segment", segment, tenant)
        #expect(now["member_count"] == 1 && now["refreshed_at"] != .null && now["version"] == 1, "figures, no change")

        let type = Contact.type
        _ = try await bed.store.update(type, ada, ["region": "Gouda"], precondition: .any, bed.bed.context(tenant))
        _ = try await bed.store.update(type, bob, ["region": "Leiden"], precondition: .any, bed.bed.context(tenant))
        try await bed.run(job, tenant)
        try await bed.run(job, tenant)
        let told = try await story()
        #expect(Set(told) == ["ada joined", "ada left", "bob joined"] && told.count == 3)
        _ = try await bed.store.delete(type, bob, precondition: .any, bed.bed.context(tenant))
        try await bed.run(job, tenant)
        #expect(try await story().last == "bob left")
        _ = try await bed.store.restore(type, bob, bed.bed.context(tenant))
        try await bed.run(job, tenant)

        // The field that it asked for is gone: the members stay, and the segment says why.
        _ = try await bed.admin.query(
            tenant: nil,
            Statement(
                #"update contacts.segment set filter = '{"field": "shoe_size", "op": "eq", "value": 42}' where id = $1"#,
                [.uuid(segment)]))
        try await bed.run(job, tenant)
        now = try await bed.record("segment", segment, tenant)
        #expect(now["state"] == "broken" && now["broken_because"]?.text?.contains("shoe_size") == true, "\(now)")
        #expect(now["member_count"] == 1)
        #expect(try await story().last == "bob joined")

        // Mended, it goes on.
        let everybody: JSONValue = ["filter": .null]
        _ = try await bed.store.update(Segment.type, segment, everybody, precondition: .any, bed.bed.context(tenant))
        try await bed.runAll(named: RefreshSegmentJob.name, tenant)
        now = try await bed.record("segment", segment, tenant)
        #expect(now["state"] == "ready" && now["broken_because"] == .null && now["member_count"] == 2, "\(now)")
        // What comes by the clock refreshes every segment.
        _ = try await bed.create("contact", ["given_name": "Cy"], tenant)
        try await bed.run(RefreshSegmentsJob(), tenant)
        try await bed.runAll(named: RefreshSegmentJob.name, tenant)
        #expect(try await bed.record("segment", segment, tenant)["member_count"] == 3)
    }

    @Test("a refresh that is killed again and again tells of each member once")
    func killed() async throws {
        let bed = try await JobBed(contactsService, keeping: [SegmentChanged.name])
        let tenant = try await bed.bed.tenant("killed")
        let count = 15_000
        _ = try await bed.admin.query(
            tenant: nil,
            Statement(
                """
                insert into contacts.contact (tenant_id, id, created_at, updated_at, region)
                select $1, platform.uuid_now(), now(), now(), case when n % 3 = 0 then 'Leiden' else 'Delft' end
                from generate_series(1, $2::int) n
                """, [tenant.parameter, .int(count)]))
        let segment = try await bed.create(
            "segment",
            ["name": "Leiden", "kind": "filter", "filter": ["field": "region", "op": "eq", "value": "Leiden"]], tenant)
        let job = try PendingJob(RefreshSegmentJob(segment: segment))
        var kills = 0
        var random = SeededGenerator(seed: 7)
        for attempt in 0..<40 {
            let patience = attempt < 30 ? random.number(1...60) : 60_000
            let run = Task { try await bed.run(job, tenant) }
            let killer = Task {
                try await Task.sleep(for: .milliseconds(patience))
                run.cancel()
            }
            let result = await run.result
            killer.cancel()
            if case .success = result { break }
            kills += 1
        }
        #expect(kills > 0, "it was killed at least once")
        // The same job once more finds itself done.
        await #expect(throws: JobIsSettled.self) { try await bed.run(job, tenant) }
        let changes = try await bed.told(SegmentChanged.self, tenant).flatMap(\.changes)
        #expect(changes.count == count / 3 && Set(changes.map(\.contact)).count == count / 3)
        #expect(try await bed.record("segment", segment, tenant)["member_count"] == JSONValue(count / 3))
    }
}

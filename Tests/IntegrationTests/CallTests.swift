import Database
import Foundation
import Records
import TestSupport
import Testing

@Suite("Telephone calls", .serialized)
struct CallTests {
    @Test(
        "with many streams open and others writing, each call pops up at its own agent's and nowhere else"
    )
    func rightAgent() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("calls")
        let owner = platform.client("contacts", token: tenant.key)
        var agents: [(id: UUID, stream: EventStream)] = []
        for number in 0..<20 {
            let agent = try await platform.user("agent\(number)", of: tenant.id)
            let stream = try await EventStream(agent.client, "/v1/events?types=contact")
            agents.append((agent.id, stream))
            let line = try await owner.post(
                "/v1/call_lines", ["extension": .string("\(200 + number)"), "user_id": .string(agent.id.uuidString)])
            #expect(line.status == 201, "\(line.text)")
            let customer = try await owner.post(
                "/v1/contacts?allow_duplicates=true",
                [
                    "given_name": .string("Customer \(number)"),
                    "phones": [["value": .string("030 5550\(1000 + number)")]],
                ])
            #expect(customer.status == 201, "\(customer.text)")
        }
        for agent in agents { try await agent.stream.wait("ready") }
        let writing = Task {
            var count = 0
            while !Task.isCancelled {
                _ = try? await owner.post(
                    "/v1/contacts?allow_duplicates=true", ["given_name": .string("Noise \(count)")])
                count += 1
            }
        }
        defer { writing.cancel() }
        for round in 0..<3 {
            for number in 0..<20 {
                let answer = try await owner.post(
                    "/v1/calls",
                    [
                        "call_id": .string("c-\(round)-\(number)"), "state": "ringing",
                        "caller": .string("+49305550\(1000 + number)"), "extension": .string("\(200 + number)"),
                    ])
                #expect(answer.status == 200, "\(answer.text)")
            }
        }
        for (number, agent) in agents.enumerated() {
            let pops = try await agent.stream.wait("call.ringing", 3)
            #expect(pops.count == 3)
            for (round, pop) in pops.enumerated() {
                #expect(pop.data["call_id"]?.text == "c-\(round)-\(number)")
                #expect(pop.data["number"]?.text == "+49305550\(1000 + number)")
                #expect(pop.data["contacts"]?.array?.map { $0["name"]! } == [.string("Customer \(number)")])
            }
        }
    }

    @Test("a call is logged once, when it is over, in whatever order and however often it was told")
    func logged() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("logged")
        let client = platform.client("contacts", token: tenant.key)
        let ada = try await platform.user("ada", of: tenant.id)
        let contact = try await client.post(
            "/v1/contacts", ["given_name": "Ida", "phones": [["value": "+4930123456"], ["value": "+49309999999"]]])
        let id = contact.json["id"]!
        func tell(_ call: String, _ state: String, _ second: Int, _ more: [String: JSONValue] = [:]) async throws
            -> Answer
        {
            var body: [String: JSONValue] = [
                "call_id": .string(call), "state": .string(state), "caller": "030 123456",
                "at": .string("2026-01-05T10:00:\(second < 10 ? "0" : "")\(second)Z"),
                "user_id": .string(ada.id.uuidString),
            ]
            body.merge(more) { $1 }
            let answer = try await client.post("/v1/calls", .object(body))
            #expect(answer.status == 200, "\(answer.text)")
            return answer
        }
        let tellings = [("ringing", 0), ("answered", 5), ("ended", 45)]
        for (number, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0, 2, 1], [2, 0, 1]].enumerated() {
            for index in order { _ = try await tell("order-\(number)", tellings[index].0, tellings[index].1) }
        }
        // The same call told by many at once.
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<12 {
                group.addTask { _ = try? await tell("many", tellings[index % 3].0, tellings[index % 3].1) }
            }
        }
        _ = try await tell("missed", "ringing", 0)
        _ = try await tell("missed", "missed", 20)
        let activities = try await client.get("/v1/activities?sort=occurred_at&limit=200").json["items"]!.array!
        #expect(activities.count == 6)
        for activity in activities {
            #expect(activity["contact_id"] == id && activity["kind"] == "call" && activity["direction"] == "inbound")
            #expect(activity["owner_id"]?.text == ada.id.uuidString.lowercased())
            #expect(activity["occurred_at"]?.text == "2026-01-05T10:00:00Z")
            let isMissed = activity["external_id"] == "missed"
            #expect(activity["outcome"]?.text == (isMissed ? "missed" : "answered"))
            #expect(activity["duration_seconds"]?.int == (isMissed ? nil : 40))
        }
        let calls = try await client.get("/v1/calls?filter[call_id]=many").json["items"]!.array!
        #expect(calls.count == 1 && calls[0]["state"] == "ended" && calls[0]["contact_id"] == id)
    }

    @Test("an unknown number pops up without a contact and leaves nothing behind; a number no network has is taken too")
    func unknown() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("unknown")
        let client = platform.client("contacts", token: tenant.key)
        let ada = try await platform.user("ada", of: tenant.id)
        let stream = try await EventStream(ada.client)
        try await stream.wait("ready")
        for (number, caller) in ["+4915112345678", "anonymous", "", "☎️ 0'; drop"].enumerated() {
            for state in ["ringing", "ringing", "missed"] {
                let answer = try await client.post(
                    "/v1/calls",
                    [
                        "call_id": .string("u\(number)"), "state": .string(state), "caller": .string(caller),
                        "user_id": .string(ada.id.uuidString),
                    ])
                #expect(answer.status == 200, "\(answer.text)")
            }
        }
        let pops = try await stream.wait("call.ringing", 4)
        #expect(pops.count == 4 && pops.allSatisfy { $0.data["contacts"] == [] })
        try await stream.wait("call.missed", 4)
        #expect(try await client.get("/v1/activities?count=exact").json["count"] == 0)
        #expect(try await client.get("/v1/contacts?count=exact").json["count"] == 0)
        for body in [
            [:], ["call_id": "x"], ["call_id": "x", "state": "gone"], ["call_id": "", "state": "ringing"],
            ["call_id": "x", "state": "ringing", "duration_seconds": -1], ["call_id": "x", "state": "ringing", "a": 1],
            ["call_id": "x", "state": "ringing", "at": "yesterday"], [],
        ] as [JSONValue] {
            #expect(try await client.post("/v1/calls", body).status == 422, "\(body.encoded)")
        }
    }

    @Test("an agent sees the names of those customers alone whom they may read")
    func scope() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("scoped")
        let client = platform.client("contacts", token: tenant.key)
        try await platform.owner.withoutTenant { transaction in
            _ = try await transaction.query(Statement("set local role guanxi_across"))
            _ = try await transaction.query(
                Statement(
                    "insert into platform.role (tenant_id, name, grants) values ($1, 'own_only', $2::jsonb)",
                    [
                        tenant.id.parameter,
                        .text(#"[{"types":["contact"],"actions":["read"],"scope":"own"}]"#),
                    ]))
        }
        let ada = try await platform.user("ada", of: tenant.id, roles: ["own_only"])
        for (name, owner) in [("Mine", ada.id), ("Theirs", UUID())] {
            let made = try await client.post(
                "/v1/contacts?allow_duplicates=true",
                [
                    "given_name": .string(name), "owner_id": .string(owner.uuidString),
                    "phones": [["value": "+4930777777"]],
                ])
            #expect(made.status == 201, "\(made.text)")
        }
        let stream = try await EventStream(ada.client)
        try await stream.wait("ready")
        let told = try await client.post(
            "/v1/calls",
            [
                "call_id": "s", "state": "ringing", "caller": "+4930777777", "user_id": .string(ada.id.uuidString),
            ])
        #expect(told.status == 200, "\(told.text)")
        let pop = try await stream.wait("call.ringing")[0]
        #expect(pop.data["contacts"]?.array?.map { $0["name"]! } == ["Mine"])
        #expect(!stream.text.contains("Theirs"))
        #expect(try await ada.client.post("/v1/calls", ["call_id": "s", "state": "ended"]).status == 403)
    }
}

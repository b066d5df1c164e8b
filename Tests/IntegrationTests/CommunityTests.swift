import Database
import Foundation
import Records
import TestSupport
import Testing

@Suite("The community", .serialized)
struct CommunityTests {
    @Test("a topic that nobody answers in its time becomes one ticket; one that is answered becomes none")
    func escalation() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work", "tickets serve", "tickets work"])
        let tenant = try await platform.tenant("forum")
        let client = platform.client("contacts", token: tenant.key)
        let service = platform.client("tickets", token: tenant.key)
        let ada = try await platform.user("ada", of: tenant.id, roles: ["owner"])
        let bob = try await platform.user("bob", of: tenant.id, roles: ["owner"])
        let contact = try await client.post("/v1/contacts", ["given_name": "Ida"]).json["id"]!
        func topic(_ title: String) async throws -> JSONValue {
            let made = try await ada.client.post(
                "/v1/community_topics", ["title": .string(title), "body": "How?", "contact_id": contact])
            #expect(made.status == 201 && made.json["answer_within_hours"] == 24, "\(made.text)")
            return made.json["id"]!
        }
        func post(_ topic: JSONValue, _ author: HTTPClient, _ more: [String: JSONValue] = [:]) async throws -> Answer {
            try await author.post(
                "/v1/community_posts", .object(["topic_id": topic, "body": "So."].merging(more) { $1 }))
        }
        let (lonely, answered, own, closed) = (
            try await topic("lonely"), try await topic("answered"), try await topic("own words alone"),
            try await topic("closed")
        )
        #expect(try await post(answered, bob.client).status == 201)
        #expect(try await post(own, bob.client, ["contact_id": contact]).status == 201, "the asker's own words")
        #expect(try await client.patch("/v1/community_topics/\(closed.text!)", ["is_closed": true]).status == 200)
        #expect(try await post(closed, bob.client).json["code"] == "closed")

        // Their day is over, for all of them.
        let database = platform.database.pool(role: "postgres")
        defer { database.close() }
        for _ in 0..<2 {
            _ = try await database.query(
                tenant: nil,
                Statement("update contacts.community_topic set created_at = created_at - interval '25 hours'"))
            _ = try await database.query(tenant: nil, Statement("update contacts.scheduled_job set run_at = now()"))
        }
        func state(_ topic: JSONValue) async throws -> JSONValue {
            try await client.get("/v1/community_topics/\(topic.text!)").json
        }
        try await eventually("the lonely ones have tickets") {
            let (one, two) = (try await state(lonely), try await state(own))
            return one["ticket_id"] != .null && two["ticket_id"] != .null
        }
        let tickets = try await service.get("/v1/tickets?sort=subject").json["items"]!.array!
        #expect(tickets.map { $0["subject"]! } == ["lonely", "own words alone"])
        #expect(tickets.allSatisfy { $0["contact_id"] == contact && $0["source"] == "community" })
        #expect(try await state(lonely)["ticket_id"] == tickets[0]["id"])
        for topic in [answered, closed] { #expect(try await state(topic)["ticket_requested_at"] == .null) }
        // An answer that comes late changes nothing about the ticket, and the job that looks again makes no second.
        #expect(try await post(lonely, bob.client).status == 201)
        #expect(try await state(lonely)["posts"] == 1)
        #expect(try await service.get("/v1/tickets?count=exact").json["count"] == 2)
    }

    @Test("each voter has one voice per post, which can change, and the count is what the voices add up to")
    func votes() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("votes")
        let owner = platform.client("contacts", token: tenant.key)
        let topic = try await owner.post("/v1/community_topics", ["title": "Which tea?"]).json["id"]!
        var voters: [(id: UUID, client: HTTPClient)] = []
        for number in 0..<6 { voters.append(try await platform.user("v\(number)", of: tenant.id)) }
        let post = try await voters[0].client.post("/v1/community_posts", ["topic_id": topic, "body": "Green."])
        let path = "/v1/community_posts/\(post.json["id"]!.text!)/vote"
        #expect(try await voters[0].client.post(path, ["value": 1]).json["code"] == "own_post")
        await withTaskGroup(of: Void.self) { group in
            for voter in voters.dropFirst() {
                for value in [1, -1, 1, 1] {
                    group.addTask { _ = try? await voter.client.post(path, ["value": JSONValue(value)]) }
                }
            }
        }
        // Whatever came last counts; now all say yes, one no, one nothing.
        for voter in voters[1...3] { #expect(try await voter.client.post(path, ["value": 1]).status == 200) }
        #expect(try await voters[4].client.post(path, ["value": -1]).json["votes"]?.int != nil)
        #expect(try await voters[5].client.post(path, ["value": 0]).json["votes"] == 2)
        let contact = try await owner.post("/v1/contacts", ["given_name": "Ida"]).json["id"]!
        let forContact = try await owner.post(path, ["value": 1, "contact_id": contact])
        #expect(forContact.json["votes"] == 3, "\(forContact.text)")
        #expect(try await owner.get("/v1/community_posts/\(post.json["id"]!.text!)").json["votes"] == 3)
        for body in [["value": 2], [:], ["value": 1, "x": 1], ["value": 1, "contact_id": "x"]] as [JSONValue] {
            #expect(try await owner.post(path, body).status == 422, "\(body.encoded)")
        }
        #expect(
            try await owner.post(path, ["value": 1, "contact_id": .string(UUID().uuidString)]).status == 409)
    }

    @Test("the topic's author or staff accept an answer, one at a time, and nobody else does")
    func accepted() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("accepted")
        let author = try await platform.user("author", of: tenant.id)
        let other = try await platform.user("other", of: tenant.id)
        let staff = try await platform.user("staff", of: tenant.id, roles: ["manager"])
        let topic = try await author.client.post("/v1/community_topics", ["title": "Which tea?"]).json["id"]!
        var posts: [JSONValue] = []
        for _ in 0..<2 {
            posts.append(
                try await other.client.post("/v1/community_posts", ["topic_id": topic, "body": "Green."]).json["id"]!)
        }
        let path = "/v1/community_topics/\(topic.text!)/accepted_answer"
        #expect(try await other.client.post(path, ["post_id": posts[0]]).status == 403)
        #expect(try await author.client.post(path, ["post_id": posts[0]]).json["accepted_post_id"] == posts[0])
        #expect(try await staff.client.post(path, ["post_id": posts[1]]).json["accepted_post_id"] == posts[1])
        func accepted() async throws -> [JSONValue] {
            try await staff.client.get("/v1/community_posts").json["items"]!.array!.filter {
                $0["is_accepted"] == true
            }.map { $0["id"]! }
        }
        #expect(try await accepted() == [posts[1]])
        #expect(try await author.client.post(path, ["post_id": .string(UUID().uuidString)]).status == 409)
        let post = "/v1/community_posts/\(posts[1].text!)"
        let refused = try await staff.client.send("DELETE", post, headers: ["If-Match": "*"])
        #expect(refused.status == 409 && refused.json["code"] == "accepted", "\(refused.text)")
        #expect(try await author.client.post(path, ["post_id": nil]).json["accepted_post_id"] == .null)
        #expect(try await accepted() == [])
        #expect(try await staff.client.send("DELETE", post, headers: ["If-Match": "*"]).status == 204)
        #expect(try await staff.client.get("/v1/community_topics/\(topic.text!)").json["posts"] == 1)
    }
}

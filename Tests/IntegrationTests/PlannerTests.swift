import Database
import Foundation
import Records
import TestSupport
import Testing

@Suite("Relationships and plans", .serialized)
struct PlannerTests {
    @Test("a relationship is read from both sides, and refused where it makes no sense")
    func relationships() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("related")
        let client = platform.client("contacts", token: tenant.key)
        func id(_ path: String, _ body: JSONValue) async throws -> JSONValue {
            let answer = try await client.post(path, body)
            #expect(answer.status == 201, "\(answer.text)")
            return answer.json["id"]!
        }
        let ada = try await id("/v1/contacts", ["given_name": "Ada"])
        let bob = try await id("/v1/contacts", ["given_name": "Bob"])
        let acme = try await id("/v1/organizations", ["name": "Acme"])
        _ = try await id(
            "/v1/relationships", ["contact_id": ada, "kind": "referred_by", "other_contact_id": bob])
        _ = try await id("/v1/relationships", ["contact_id": ada, "kind": "friend", "other_contact_id": bob])
        _ = try await id("/v1/relationships", ["contact_id": bob, "kind": "employee_of", "organization_id": acme])
        let wrong: [JSONValue] = [
            ["contact_id": ada, "kind": "friend"],
            ["contact_id": ada, "kind": "friend", "other_contact_id": ada],
            ["contact_id": ada, "kind": "friend", "organization_id": acme],
            ["contact_id": ada, "kind": "other", "other_contact_id": bob, "organization_id": acme],
        ]
        for body in wrong {
            let answer = try await client.post("/v1/relationships", body)
            #expect(answer.status == 422, "\(body.encoded): \(answer.text)")
        }
        func seen(_ contact: JSONValue) async throws -> [String] {
            let items = try await client.get("/v1/contacts/\(contact.text!)/relationships").json["items"]!.array!
            return items.map { "\($0["kind"]!.text!) \($0["direction"]!.text!) \($0["name"]!.text!)" }
        }
        #expect(try await seen(ada) == ["referred_by to Bob", "friend mutual Bob"])
        #expect(try await seen(bob) == ["referred_by from Ada", "friend mutual Ada", "employee_of to Acme"])
    }

    @Test("a reminder comes at its time, moves with its appointment, and not at all when that is called off")
    func reminders() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("reminded")
        let client = platform.client("contacts", token: tenant.key)
        func time(_ seconds: Double) -> JSONValue { .string(Timestamp.rfc3339(Date(timeIntervalSinceNow: seconds))) }
        func plan(_ subject: String, in seconds: Double) async throws -> Answer {
            let answer = try await client.post(
                "/v1/appointments",
                [
                    "subject": .string(subject), "starts_at": time(seconds),
                    "reminders": [["minutes_before": 0], ["minutes_before": 0]],
                ])
            #expect(answer.status == 201, "\(answer.text)")
            return answer
        }
        _ = try await plan("kept", in: 2)
        let moved = try await plan("moved", in: 7200)
        let cancelled = try await plan("cancelled", in: 4)
        _ = try await plan("far", in: 86_400)
        #expect(try await client.patch(moved.header("location")!, ["starts_at": time(3)]).status == 200)
        #expect(try await client.patch(cancelled.header("location")!, ["status": "cancelled"]).status == 200)
        try await eventually("both reminders came") {
            try await client.get("/v1/notifications").json["items"]?.array?.count == 2
        }
        try await Task.sleep(for: .seconds(3))
        let notifications = try await client.get("/v1/notifications?sort=at").json["items"]!.array!
        #expect(notifications.map { $0["subject"]!.text! } == ["kept", "moved"])
        for notification in notifications {
            let due = Timestamp.parse(notification["at"]!.text!)!
            let came = Timestamp.parse(notification["created_at"]!.text!)!
            #expect(came >= due.addingTimeInterval(-0.01), "not before its time")
        }
        let first = "/v1/notifications/\(notifications[0]["id"]!.text!)"
        #expect(try await client.patch(first, ["is_read": true]).json["is_read"] == true)
        #expect(try await client.post("/v1/notifications", ["subject": "x"]).status == 405)
    }

    @Test("a task knows when it was done, and forgets it when it is open again")
    func tasks() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("tasks")
        let client = platform.client("contacts", token: tenant.key)
        let task = try await client.post("/v1/tasks", ["subject": "Call back", "due_at": "2026-12-01T09:00:00+08:00"])
        #expect(task.status == 201 && task.json["due_at"] == "2026-12-01T01:00:00Z", "\(task.text)")
        let path = task.header("location")!
        let done = try await client.patch(path, ["is_done": true])
        #expect(done.json["done_at"] != .null)
        #expect(try await client.patch(path, ["is_done": false]).json["done_at"] == .null)
        #expect(try await client.post("/v1/tasks", ["subject": "x", "linked_type": "order"]).status == 422)
    }
}

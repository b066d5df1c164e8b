import Database
import Foundation
import Records
import Tenancy
import TestSupport
import Testing

@Suite("Streams of events", .serialized)
struct LiveEventsTests {
    private func remind(_ client: HTTPClient, _ subject: String, _ user: UUID) async throws {
        let answer = try await client.post(
            "/v1/appointments",
            [
                "subject": .string(subject), "starts_at": .string(Timestamp.rfc3339(Date(timeIntervalSinceNow: 1))),
                "reminders": [["minutes_before": 0]], "attendees": [["user_id": .string(user.uuidString)]],
                "owner_id": .string(user.uuidString),
            ])
        #expect(answer.status == 201, "\(answer.text)")
    }

    @Test("a notification reaches its user alone, and whoever was away gets what they missed, once")
    func notifications() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("streams")
        let (ada, bob) = (
            try await platform.user("ada", of: tenant.id), try await platform.user("bob", of: tenant.id)
        )
        let (mine, other) = (try await EventStream(ada.client), try await EventStream(bob.client))
        #expect(mine.status == 200 && mine.text.contains("text/event-stream"))
        try await mine.wait("ready")
        try await other.wait("ready")
        try await remind(ada.client, "first", ada.id)
        let came = try await mine.wait("notification")
        #expect(came.map { $0.data["subject"] } == ["first"])
        #expect(other.events("notification").isEmpty)
        let last = try #require(mine.lastID)
        try await mine.close()

        for subject in ["second", "third"] { try await remind(ada.client, subject, ada.id) }
        try await eventually("both reminders came") {
            try await ada.client.get("/v1/notifications").json["items"]?.array?.count == 3
        }
        let again = try await EventStream(ada.client, lastID: last)
        try await again.wait("notification", 2)
        #expect(Set(again.events("notification").map { $0.data["subject"]!.text! }) == ["second", "third"])
        // Once more from there: nothing is told twice.
        let once = try await ada.client.send(
            "GET", "/v1/events?once=true", headers: ["Last-Event-ID": try #require(again.lastID)])
        #expect(once.status == 200 && !once.text.contains("notification"), "\(once.text)")
        // From the first cursor both are told again; from one that is none, the client is told to begin anew.
        let replayed = try await ada.client.send("GET", "/v1/events?once=true", headers: ["Last-Event-ID": last])
        #expect(replayed.text.components(separatedBy: "event: notification").count == 3, "\(replayed.text)")
        let stranger = try await bob.client.send("GET", "/v1/events?once=true", headers: ["Last-Event-ID": last])
        #expect(stranger.text.contains("event: reset") && !stranger.text.contains("second"), "\(stranger.text)")
    }

    @Test("changed records are hinted to those who may read them, without a value of them")
    func hints() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("hints")
        let owner = platform.client("contacts", token: tenant.key)
        try await platform.owner.withoutTenant { transaction in
            _ = try await transaction.query(Statement("set local role guanxi_across"))
            for (name, grants) in [
                ("own_only", #"[{"types":["contact"],"actions":["read"],"scope":"own"}]"#),
                ("tasks_only", #"[{"types":["task"],"actions":["read"],"scope":"all"}]"#),
            ] {
                _ = try await transaction.query(
                    Statement(
                        "insert into platform.role (tenant_id, name, grants) values ($1, $2, $3::jsonb)",
                        [tenant.id.parameter, .text(name), .text(grants)]))
            }
        }
        let own = try await platform.user("own", of: tenant.id, roles: ["own_only"])
        let tasks = try await platform.user("tasks", of: tenant.id, roles: ["tasks_only"])
        #expect(try await tasks.client.get("/v1/events?types=contact").status == 403)
        #expect(try await own.client.get("/v1/events?types=nothing").status == 400)
        #expect(try await own.client.get("/v1/events?type=contact").status == 400)
        let all = try await EventStream(owner, "/v1/events?types=contact,task")
        let narrow = try await EventStream(own.client, "/v1/events?types=contact")
        let none = try await EventStream(tasks.client, "/v1/events?types=task")
        for stream in [all, narrow, none] { try await stream.wait("ready") }

        // A subscription takes a moment: what is written before it stands is nobody's loss, but this test's.
        try await eventually("the stream hears") {
            _ = try await owner.post("/v1/tasks", ["subject": "warm up"])
            try await Task.sleep(for: .milliseconds(200))
            return !all.events("change").isEmpty && !none.events("change").isEmpty
        }
        let secret = "Zebedee"
        let mine = try await owner.post(
            "/v1/contacts", ["given_name": .string(secret), "owner_id": .string(own.id.uuidString)])
        let theirs = try await owner.post("/v1/contacts", ["given_name": .string(secret + "s")])
        #expect(mine.status == 201 && theirs.status == 201)
        let path = mine.header("location")!
        #expect(try await owner.patch(path, ["region": "Leiden"]).status == 200)
        #expect(try await owner.send("DELETE", path, headers: ["If-Match": "*"]).status == 204)
        func told(_ stream: EventStream, _ type: String) -> [String] {
            stream.events("change").filter { $0.data["type"]?.text == type }.map {
                "\($0.data["kind"]!.text!) \($0.data["version"]!.int!)"
            }
        }
        try await eventually("all is told") { told(all, "contact").count == 4 && told(narrow, "contact").count == 3 }
        #expect(told(narrow, "contact") == ["create 1", "update 2", "delete 3"], "their own alone")
        #expect(narrow.events("change").allSatisfy { $0.data["id"] == mine.json["id"] })
        #expect(told(none, "contact") == [])
        for stream in [all, narrow, none] {
            #expect(!stream.text.contains(secret) && !stream.text.contains("Leiden"), "no value is told")
            #expect(!stream.text.contains("owner"))
        }
    }

    @Test("a stream ends when its key is revoked, and all end at once when the service stops")
    func ends() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("ends")
        let ada = try await platform.user("ada", of: tenant.id)
        let revoked = try await EventStream(ada.client)
        let kept = try await EventStream(platform.client("contacts", token: tenant.key), "/v1/events?types=contact")
        for stream in [revoked, kept] { try await stream.wait("ready") }
        let id = String(ada.client.token!.split(separator: "_")[1])
        #expect(try await TenantDirectory(owner: platform.owner).revokeKey(id))
        try await eventually("the revoked key's stream ends") { !revoked.isOpen }
        try await eventually("it says why") { revoked.text.contains(": the credential is no longer valid") }
        #expect(kept.isOpen)

        #expect(try await platform.process("contacts serve").stop() == 0, "no stream keeps the process")
        try await eventually("the stream ends") { !kept.isOpen }
        try await eventually("it says why") { kept.text.contains(": the service shuts down") }
    }

    @Test("one stream too many ends the oldest of its user; whoever asked for a job hears of its end")
    func limitsAndJobs() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("limits")
        let ada = try await platform.user("ada", of: tenant.id, roles: ["owner"])
        let bob = try await platform.user("bob", of: tenant.id, roles: ["owner"])
        let quiet = try await EventStream(bob.client)
        var streams: [EventStream] = []
        for _ in 0..<17 {
            let stream = try await EventStream(ada.client)
            try await stream.wait("ready")
            streams.append(stream)
        }
        try await eventually("the oldest has ended") { !streams[0].isOpen }
        try await eventually("it says why") { streams[0].text.contains(": another stream") }
        let open = streams.filter { $0.isOpen }.count
        #expect(open == 16)

        let file = Array("external_id,given_name\n1,Ada\n".utf8)
        let upload = try await ada.client.upload(options: ["type": "contact"], file: file)
        let job = upload.json["job_id"]
        let events = try await streams[16].wait("job")
        #expect(events.first?.data["id"] == job && events.first?.data["state"] == "done")
        #expect(quiet.events("job").isEmpty, "others' jobs are no business of theirs")
    }
}

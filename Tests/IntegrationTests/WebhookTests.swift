import Accounts
import Database
import Foundation
import HTTPReceiver
import Records
import Synchronization
import TestSupport
import Testing
import Webhooks

@Suite("Webhooks", .serialized)
struct WebhookTests {
    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    private static let broken = "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops"

    /// Contacts, accounts and one worker that may reach this machine's usual loopback address, and no other.
    private static func platform(_ settings: [String: String] = [:]) async throws -> TestPlatform {
        let platform = try await TestPlatform(["contacts serve"])
        let environment = [
            "GUANXI_WEBHOOKS_HTTP": "true", "GUANXI_WEBHOOKS_NETWORKS": "127.0.0.1", "GUANXI_WEBHOOKS_RETRIES": "0,0",
        ].merging(settings) { $1 }
        for role in ["accounts serve", "accounts work"] { try await platform.start(role, environment: environment) }
        return platform
    }

    /// A tenant with its clients.
    private struct Tenant {
        let id: TenantID
        let contacts: HTTPClient
        let accounts: HTTPClient

        init(_ platform: TestPlatform, _ slug: String) async throws {
            let (id, key) = try await platform.tenant(slug)
            self.id = id
            contacts = platform.client("contacts", token: key)
            accounts = platform.client("accounts", token: key)
        }

        /// Subscribes; gives the webhook's id.
        func webhook(
            _ port: Int, _ events: [JSONValue] = ["contacts.contact.*"], ordered: JSONValue = "none"
        ) async throws -> String {
            let answer = try await accounts.post(
                "/v1/webhooks",
                ["url": .string("http://127.0.0.1:\(port)/hook"), "events": .array(events), "ordered": ordered])
            guard answer.status == 201 else { throw TestFailure(answer.text) }
            return answer.json["id"]!.text!
        }

        @discardableResult
        func contact(_ name: String) async throws -> String {
            let answer = try await contacts.post("/v1/contacts", ["given_name": .string(name)])
            guard answer.status == 201 else { throw TestFailure(answer.text) }
            return answer.json["id"]!.text!
        }

        func webhook(_ id: String) async throws -> JSONValue { try await accounts.get("/v1/webhooks/\(id)").json }

        func secret(_ id: String) async throws -> WebhookSecret {
            try WebhookSecret(try await accounts.get("/v1/webhooks/\(id)/secret").json["secret"]!.text!)
        }

        func deliveries(_ id: String, _ state: String? = nil) async throws -> [JSONValue] {
            let query = state.map { "?state=\($0)" } ?? ""
            return try await accounts.get("/v1/webhooks/\(id)/deliveries\(query)").json["items"]!.array!
        }

        func log(_ delivery: JSONValue) async throws -> [JSONValue] {
            try await accounts.get("/v1/webhook-deliveries/\(delivery["id"]!.text!)").json["log"]!.array!
        }
    }

    private static func body(_ request: ReceivedRequest) -> JSONValue { (try? JSONParser.parse(request.body)) ?? .null }

    private static func verify(_ request: ReceivedRequest, _ secret: WebhookSecret) throws {
        try WebhookSignature.verify(
            id: try #require(request.field("webhook-id")), timestamp: try #require(request.field("webhook-timestamp")),
            signature: try #require(request.field("webhook-signature")), body: request.body, secrets: [secret],
            now: Int(Date().timeIntervalSince1970))
    }

    /// Rows of the outbox that were written for webhooks.
    private static func published(_ platform: TestPlatform) async throws -> Int {
        let admin = platform.database.pool(role: "postgres")
        defer { admin.close() }
        return try await admin.query(tenant: nil, Statement("select count(*) from contacts.outbox where by_tenant"))
            .int(0, 0)!
    }

    /// What an ordered delivery asks before it goes, as of now.
    private static func hasEarlierEvent(_ platform: TestPlatform, _ tenant: TenantID) async throws -> Bool {
        let database = platform.database.pool(role: "guanxi_accounts")
        defer { database.close() }
        let rows = try await database.query(
            tenant: tenant,
            Statement(
                "select platform.has_earlier_event('accounts.webhooks', $1, $2)",
                [.uuid(.v7LowerBound(at: Date(timeIntervalSinceNow: -3600))), .uuid(.v7())]))
        return rows.bool(0, 0)!
    }

    @Test("a webhook is told what it wants and nothing else, signed; tenants without any cost no row")
    func told() async throws {
        let platform = try await Self.platform()
        let receiver = try Receiver(answer: Self.ok)
        let (tenant, other) = (try await Tenant(platform, "told"), try await Tenant(platform, "untold"))
        let webhook = try await tenant.webhook(receiver.port, ["contacts.contact.created"])
        let old = try await tenant.secret(webhook)
        try await other.contact("Nobody's business")
        let contact = try await tenant.contact("Ada")
        #expect(try await tenant.contacts.patch("/v1/contacts/\(contact)", ["job_title": "Countess"]).status == 200)
        try await eventually("the event arrived") { receiver.requests.count == 1 }
        #expect(try await Self.published(platform) == 1)
        let first = receiver.requests[0]
        try Self.verify(first, old)
        #expect(first.head.hasPrefix("POST /hook HTTP/1.1"))
        #expect(Self.body(first)["type"] == "contacts.contact.created")
        #expect(Self.body(first)["data"]?["id"]?.text == contact)
        #expect(Self.body(first)["data"]?["state"] == "active")
        #expect(Self.body(first)["timestamp"]?.text.flatMap(Timestamp.parse) != nil)
        try await eventually("the log says so") {
            try await tenant.deliveries(webhook).map { $0["state"] } == ["delivered"]
        }
        let delivery = try await tenant.deliveries(webhook)[0]
        #expect(delivery["id"]?.text == first.field("webhook-id"))
        #expect(delivery["record_id"]?.text == contact)
        #expect(try await tenant.webhook(webhook)["last_success_at"]?.text != nil)

        // While a secret is being replaced both sign.
        let rotated = try await tenant.accounts.post("/v1/webhooks/\(webhook)/secret", [:])
        #expect(rotated.status == 200 && rotated.json["previous_expires_at"]?.text != nil)
        let new = try await tenant.secret(webhook)
        #expect(new != old)
        let test = try await tenant.accounts.post("/v1/webhooks/\(webhook)/test", [:])
        #expect(test.status == 202, "\(test.text)")
        try await eventually("the test arrived") { receiver.requests.count == 2 }
        let second = receiver.requests[1]
        #expect(Self.body(second)["type"] == "webhook.test")
        try Self.verify(second, old)
        try Self.verify(second, new)

        // The secret stands nowhere else, and only administrators come near.
        for path in [
            "/v1/webhooks", "/v1/webhooks/\(webhook)/history", "/v1/webhook-deliveries/\(delivery["id"]!.text!)",
        ] {
            let answer = try await tenant.accounts.get(path)
            #expect(answer.status == 200 && !answer.text.contains("whsec_"), "\(path)")
        }
        let manager = try await platform.tenant("managed", roles: ["manager"])
        let client = platform.client("accounts", token: manager.key)
        #expect(try await client.get("/v1/webhooks").status == 403)
        #expect(try await client.post("/v1/webhooks", ["url": "https://a.com/", "events": ["*"]]).status == 403)
        #expect(try await client.get("/v1/webhook-deliveries/\(delivery["id"]!.text!)").status == 403)

        #expect(try await other.accounts.get("/v1/webhook-deliveries/\(delivery["id"]!.text!)").status == 404)
        #expect(
            try await other.accounts.post("/v1/webhook-deliveries/\(delivery["id"]!.text!)/replay", [:]).status == 404)
        let trail = try await tenant.accounts.get("/v1/audit-entries")
        #expect(trail.text.contains("webhook.secret_rotated"), "\(trail.text)")

        // Deleted, it wants nothing any more; restored, it does.
        let before = try await Self.published(platform)
        #expect(
            try await tenant.accounts.send("DELETE", "/v1/webhooks/\(webhook)", headers: ["If-Match": "*"]).status
                == 204)
        try await tenant.contact("Unheard")
        #expect(try await Self.published(platform) == before)
        #expect(try await tenant.accounts.post("/v1/webhooks/\(webhook)/restore", [:]).status == 200)
        try await tenant.contact("Heard")
        #expect(try await Self.published(platform) == before + 1)
        try await eventually("the restored one is told") { receiver.requests.count == 3 }
    }

    @Test("what can't be a webhook is refused where it is set: the place and the reason")
    func refused() async throws {
        let platform = try await Self.platform()
        let tenant = try await Tenant(platform, "refused")
        let wrong: [(url: JSONValue, events: JSONValue, pointer: String, code: String)] = [
            ("http://10.0.0.1/", ["*"], "/url", "address"),
            ("http://169.254.169.254/latest", ["*"], "/url", "address"),
            ("http://2130706434/", ["*"], "/url", "address"),
            ("ftp://a.com/", ["*"], "/url", "scheme"),
            ("https://user:word@a.com/", ["*"], "/url", "credentials"),
            ("https://a.com/#part", ["*"], "/url", "fragment"),
            ("https://a.com/", [], "/events", "required"),
            ("https://a.com/", ["*", "contacts.contact.identified"], "/events/1", "unknown_event"),
        ]
        for (url, events, pointer, code) in wrong {
            let answer = try await tenant.accounts.post("/v1/webhooks", ["url": url, "events": events])
            let error = answer.json["errors"]?.array?.first
            #expect(answer.status == 422 && error?["pointer"]?.text == pointer, "\(answer.text)")
            #expect(error?["code"]?.text == code, "\(answer.text)")
        }
        #expect(try await tenant.accounts.get("/v1/webhooks?count=exact").json["count"] == 0)
    }

    @Test("a failing receiver gets the same delivery again, and another time when it is replayed")
    func failing() async throws {
        let platform = try await Self.platform()
        let answers = Mutex([Self.broken, Self.broken, Self.ok])
        let receiver = try Receiver { connection in
            connection.send(answers.withLock { $0.isEmpty ? Self.broken : $0.removeFirst() })
            return true
        }
        let tenant = try await Tenant(platform, "failing")
        let webhook = try await tenant.webhook(receiver.port)
        try await tenant.contact("Ada")
        try await eventually("it is delivered") { try await tenant.deliveries(webhook, "delivered").count == 1 }
        #expect(Set(receiver.requests.map { $0.field("webhook-id") }).count == 1)
        #expect(Set(receiver.requests.map(\.body)).count == 1)
        let log = try await tenant.log(try await tenant.deliveries(webhook)[0])
        #expect(log.map { $0["status"]?.int } == [500, 500, 200])
        #expect(log.map { $0["response"]?.text } == ["oops", "oops", ""])
        #expect(log.map { $0["error"]?["code"]?.text } == ["status", "status", nil])
        #expect(try await tenant.webhook(webhook)["consecutive_failures"] == 0)

        // From here on everything fails until it is mended.
        let since = Timestamp.rfc3339(Date(timeIntervalSinceNow: -60))
        let names = ["Bob", "Cem", "Dan"]
        for name in names { try await tenant.contact(name) }
        try await eventually("three have failed") { try await tenant.deliveries(webhook, "failed").count == 3 }
        let state = try await tenant.webhook(webhook)
        #expect(state["consecutive_failures"] == 9 && state["status"] == "active" && state["failing_since"] != .null)
        let failed = try await tenant.deliveries(webhook, "failed")
        answers.withLock { $0 = Array(repeating: Self.ok, count: 10) }
        let one = failed[0]["id"]!.text!
        let replay = try await tenant.accounts.post("/v1/webhook-deliveries/\(one)/replay", [:])
        #expect(replay.status == 202 && replay.json["state"] == "waiting", "\(replay.text)")
        try await eventually("one is delivered") { try await tenant.deliveries(webhook, "failed").count == 2 }
        let all = try await tenant.accounts.post("/v1/webhooks/\(webhook)/replay", ["since": .string(since)])
        #expect(all.status == 202, "\(all.text)")
        let job = try await platform.finished(tenant.accounts, job: all.json["job_id"]!.text!)
        #expect(job["result"]?["deliveries"] == 2)
        try await eventually("all are delivered") { try await tenant.deliveries(webhook, "delivered").count == 4 }
        // Each was tried three times and then once more, under its one id.
        let ids = Dictionary(grouping: receiver.requests, by: { $0.field("webhook-id") })
        #expect(ids.count == 4 && failed.allSatisfy { ids[$0["id"]!.text!]?.count == 4 })
        #expect(try await tenant.webhook(webhook)["failing_since"] == .null)
        let page = try await tenant.accounts.get("/v1/webhooks/\(webhook)/deliveries?limit=3").json
        let rest = try await tenant.accounts.get(
            "/v1/webhooks/\(webhook)/deliveries?limit=3&cursor=\(page["next_cursor"]!.text!)")
        #expect(page["items"]?.array?.count == 3 && rest.json["items"]?.array?.count == 1)
    }

    @Test("a receiver that fails ten times in a row is left alone for a while, until somebody asks by hand")
    func resting() async throws {
        let platform = try await Self.platform(["GUANXI_WEBHOOKS_RETRIES": "0,0,0,0,0,0,0,0,0"])
        let answer = Mutex(Self.broken)
        let receiver = try Receiver { connection in
            connection.send(answer.withLock { $0 })
            return true
        }
        let tenant = try await Tenant(platform, "resting")
        let webhook = try await tenant.webhook(receiver.port)
        try await tenant.contact("Ada")
        try await eventually("ten attempts failed") { try await tenant.deliveries(webhook, "failed").count == 1 }
        let first = try await tenant.deliveries(webhook)[0]["id"]!.text!
        let admin = platform.database.pool(role: "postgres")
        defer { admin.close() }
        // The rest that there is made longer, so that the test need not be quick.
        let rest = try await admin.query(
            tenant: nil,
            Statement(
                "update accounts.webhook set rest_until = now() + interval '1 hour' where rest_until is not null"))
        #expect(rest.affected == 1)
        try await tenant.contact("Bob")
        try await eventually("the second is put off") {
            try await admin.query(tenant: nil, Statement("select count(*) from accounts.scheduled_job")).int(0, 0) == 1
        }
        #expect(receiver.requests.count == 10)
        #expect(try await tenant.deliveries(webhook, "waiting").map { $0["attempts"] } == [0])
        answer.withLock { $0 = Self.ok }
        #expect(try await tenant.accounts.post("/v1/webhook-deliveries/\(first)/replay", [:]).status == 202)
        try await eventually("the first is delivered") {
            try await tenant.deliveries(webhook, "delivered").map { $0["id"]?.text } == [first]
        }
    }

    @Test("a redirect to a private address is not followed, and nobody at home is told apart")
    func astray() async throws {
        let platform = try await Self.platform()
        let secret = try Receiver(address: "127.0.0.3", answer: Self.ok)
        let receiver = try Receiver(
            answer: "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.3:\(secret.port)/\r\nContent-Length: 0\r\n\r\n")
        let tenant = try await Tenant(platform, "astray")
        let redirected = try await tenant.webhook(receiver.port)
        let nobody = try await tenant.webhook(try Receiver.freePort())
        try await tenant.contact("Ada")
        for (webhook, code) in [(redirected, "redirect"), (nobody, "connection_refused")] {
            try await eventually("it failed") { try await tenant.deliveries(webhook, "failed").count == 1 }
            let log = try await tenant.log(try await tenant.deliveries(webhook)[0])
            #expect(log.map { $0["error"]?["code"]?.text } == [code, code, code])
        }
        #expect(receiver.requests.count == 3)
        #expect(secret.connections == 0)
        // A worker that was told of no private network refuses the address that was allowed when it was set.
        let quiet = try Receiver(answer: Self.ok)
        let webhook = try await tenant.webhook(quiet.port)
        try await platform.process("accounts work").stop()
        try await platform.start(
            "accounts work", environment: ["GUANXI_WEBHOOKS_HTTP": "true", "GUANXI_WEBHOOKS_RETRIES": "0"])
        try await tenant.contact("Bob")
        try await eventually("it failed") { try await tenant.deliveries(webhook, "failed").count == 1 }
        let log = try await tenant.log(try await tenant.deliveries(webhook)[0])
        #expect(log.map { $0["error"]?["code"]?.text } == ["address_refused", "address_refused"])
        #expect(quiet.connections == 0)
    }

    @Test("410 disables a webhook at once, failure for long enough at the end; made active, it is told again")
    func disabled() async throws {
        let platform = try await Self.platform(["GUANXI_WEBHOOKS_PATIENCE": "0"])
        let answer = Mutex("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
        let gone = try Receiver { connection in
            connection.send(answer.withLock { $0 })
            return true
        }
        let tenant = try await Tenant(platform, "disabled")
        let webhook = try await tenant.webhook(gone.port)
        let failing = try await tenant.webhook(try Receiver.freePort())
        try await tenant.contact("Ada")
        for (id, reason) in [(webhook, "gone"), (failing, "failing")] {
            try await eventually("it is disabled") { try await tenant.webhook(id)["status"] == "disabled" }
            #expect(try await tenant.webhook(id)["disabled_reason"]?.text == reason)
        }
        #expect(gone.requests.count == 1)
        let history = try await tenant.accounts.get("/v1/webhooks/\(webhook)/history")
        #expect(history.text.contains("job:deliver-webhook"))
        #expect(try await tenant.accounts.get("/v1/audit-entries").text.contains("webhook.disabled"))
        let before = try await Self.published(platform)
        try await tenant.contact("Bob")
        #expect(try await Self.published(platform) == before)
        let refused = try await tenant.accounts.post("/v1/webhooks/\(webhook)/test", [:])
        #expect(refused.status == 409 && refused.json["code"] == "webhook_disabled")

        answer.withLock { $0 = Self.ok }
        let active = try await tenant.accounts.patch("/v1/webhooks/\(webhook)", ["status": "active"])
        #expect(active.status == 200 && active.json["disabled_reason"] == .null, "\(active.text)")
        #expect(try await tenant.webhook(webhook)["consecutive_failures"] == 0)
        try await tenant.contact("Cem")
        try await eventually("it is told again") { gone.requests.count == 2 }
    }

    @Test("a worker killed between sending and noting leaves the delivery to another, under the same id")
    func killed() async throws {
        let platform = try await Self.platform()
        let isHanging = Mutex(true)
        let receiver = try Receiver { connection in
            if isHanging.withLock({ $0 }) {
                connection.waitForEnd()
                return false
            }
            connection.send(Self.ok)
            return true
        }
        let tenant = try await Tenant(platform, "killed")
        let webhook = try await tenant.webhook(receiver.port)
        try await tenant.contact("Ada")
        try await eventually("the receiver has it") { receiver.requests.count == 1 }
        try await platform.process("accounts work").crash()
        isHanging.withLock { $0 = false }
        #expect(try await tenant.deliveries(webhook).map { $0["attempts"] } == [0])
        try await platform.start(
            "accounts work",
            environment: ["GUANXI_WEBHOOKS_HTTP": "true", "GUANXI_WEBHOOKS_NETWORKS": "127.0.0.1"])
        try await eventually("it is delivered") { try await tenant.deliveries(webhook, "delivered").count == 1 }
        #expect(receiver.requests.count == 2)
        #expect(Set(receiver.requests.map { $0.field("webhook-id") }).count == 1)
    }

    @Test("an ordered webhook hears of a record in the order of its changes, whatever fails, and of others meanwhile")
    func ordered() async throws {
        let platform = try await Self.platform()
        let state = Mutex((failures: 2, heard: [(record: String, version: Int, isTaken: Bool)]()))
        let stubborn = Mutex("")
        let receiver = try Receiver { connection in
            let data = connection.request.map(Self.body)?["data"]
            let (record, version) = (data?["id"]?.text ?? "", data?["version"]?.int ?? 0)
            // The first record's first change fails twice; its second one for good.
            let isTaken = state.withLock { state in
                let isFirst = record == stubborn.withLock { $0 }
                var isTaken = true
                if isFirst && version == 2 { isTaken = false }
                if isFirst && version == 1 && state.failures > 0 {
                    state.failures -= 1
                    isTaken = false
                }
                state.heard.append((record, version, isTaken))
                return isTaken
            }
            connection.send(isTaken ? Self.ok : Self.broken)
            return true
        }
        let tenant = try await Tenant(platform, "ordered")
        let webhook = try await tenant.webhook(receiver.port, ["contacts.*"], ordered: "per_record")
        // The worker starts when all has happened: what it finds first is not what came first.
        try await platform.process("accounts work").stop()
        let first = try await tenant.contact("Ada")
        stubborn.withLock { $0 = first }
        let second = try await tenant.contact("Bob")
        for number in 2...12 {
            for contact in [first, second] {
                let answer = try await tenant.contacts.patch(
                    "/v1/contacts/\(contact)", ["job_title": .string("number \(number)")])
                #expect(answer.status == 200, "\(answer.text)")
            }
        }
        #expect(try await Self.hasEarlierEvent(platform, tenant.id))
        try await platform.start(
            "accounts work",
            environment: [
                "GUANXI_WEBHOOKS_HTTP": "true", "GUANXI_WEBHOOKS_NETWORKS": "127.0.0.1",
                "GUANXI_WEBHOOKS_RETRIES": "0,0",
            ])
        try await eventually("all but one are delivered") {
            let states = try await tenant.deliveries(webhook).map { $0["state"]!.text! }
            return states.count == 24 && !states.contains("waiting")
        }
        #expect(try await !Self.hasEarlierEvent(platform, tenant.id))
        let heard = state.withLock { $0.heard }
        #expect(heard.filter { $0.record == first }.map(\.version) == [1, 1, 1, 2, 2, 2] + Array(3...12))
        #expect(heard.filter { $0.record == second }.map(\.version) == Array(1...12))
        let failed = try await tenant.deliveries(webhook, "failed")
        #expect(failed.count == 1 && failed[0]["record_id"]?.text == first)
    }

    @Test("a receiver that hangs holds up four of its own tenant's deliveries at once, and no other tenant's")
    func hanging() async throws {
        let platform = try await Self.platform(["GUANXI_WEBHOOKS_TIMEOUT": "120"])
        let isReleased = Mutex(false)
        let hanging = try Receiver { connection in
            while !isReleased.withLock({ $0 }) { usleep(20_000) }
            connection.send(Self.ok)
            return true
        }
        let quick = try Receiver(answer: Self.ok)
        let (slow, other) = (try await Tenant(platform, "slow"), try await Tenant(platform, "quick"))
        let held = try await slow.webhook(hanging.port)
        let free = try await other.webhook(quick.port)
        for number in 0..<12 { try await slow.contact("slow \(number)") }
        try await eventually("the receiver hangs") { hanging.requests.count == 4 }
        for number in 0..<8 { try await other.contact("quick \(number)") }
        try await eventually("the other tenant is told") { try await other.deliveries(free, "delivered").count == 8 }
        // All that while not one of the four has come back, and no fifth was begun.
        #expect(hanging.requests.count == 4)
        #expect(try await slow.deliveries(held, "delivered").isEmpty)
        isReleased.withLock { $0 = true }
        try await eventually("the rest follows") { try await slow.deliveries(held, "delivered").count == 12 }
        #expect(Set(hanging.requests.map { $0.field("webhook-id") }).count == 12)
    }
}

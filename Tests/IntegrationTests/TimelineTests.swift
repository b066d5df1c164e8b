import Contracts
import Database
import Foundation
import Jobs
import Records
import TestSupport
import Testing

@testable import Contacts

@Suite("A customer's timeline", .serialized)
struct TimelineTests {
    /// All but what analytics finds in its own time.
    private func kinds(_ client: HTTPClient, _ contact: JSONValue, _ query: String = "") async throws -> [String] {
        let answer = try await client.get("/v1/contacts/\(contact.text!)/timeline\(query)")
        #expect(answer.status == 200, "\(answer.text)")
        return (answer.json["items"]?.array ?? []).filter { $0["kind"] != "lifecycle" }.map {
            $0["kind"]!.text! + ($0["deleted"] == true ? " (deleted)" : "")
        }
    }

    private func entered(_ client: HTTPClient, _ contact: JSONValue) async throws -> Set<String> {
        let answer = try await client.get("/v1/contacts/\(contact.text!)/timeline?kinds=lifecycle")
        return Set((answer.json["items"]?.array ?? []).compactMap { $0["id"]?.text })
    }

    @Test("what happens in every service stands on one timeline, follows merges there and back, and shows what is gone")
    func story() async throws {
        let platform = try await TestPlatform(
            ["contacts", "opportunities", "tickets", "analytics"].flatMap { ["\($0) serve", "\($0) work"] })
        let tenant = try await platform.tenant("story")
        let contacts = platform.client("contacts", token: tenant.key)
        let sales = platform.client("opportunities", token: tenant.key)
        let service = platform.client("tickets", token: tenant.key)
        func made(_ client: HTTPClient, _ path: String, _ body: JSONValue) async throws -> Answer {
            let answer = try await client.post(path, body)
            #expect(answer.status == 201, "\(path): \(answer.text)")
            return answer
        }
        let ada = try await made(contacts, "/v1/contacts", ["given_name": "Ada"]).json["id"]!
        let twin = try await made(
            contacts, "/v1/contacts?allow_duplicates=true",
            ["given_name": "Adda", "birth_date": "1980-03-01"]
        ).json["id"]!
        let call = try await made(
            contacts, "/v1/activities",
            ["contact_id": twin, "kind": "call", "subject": "Hello", "occurred_at": "2026-01-01T10:00:00Z"])
        let task = try await made(contacts, "/v1/tasks", ["contact_id": twin, "subject": "Send a sample"])
        _ = try await made(
            contacts, "/v1/appointments",
            ["contact_id": twin, "subject": "Visit", "starts_at": "2026-01-02T10:00:00Z"])
        let pipeline = try await made(sales, "/v1/pipelines", ["name": "Sales", "is_default": true]).json["id"]!
        var stages: [JSONValue] = []
        for (position, kind) in ["open", "open", "won"].enumerated() {
            stages.append(
                try await made(
                    sales, "/v1/stages",
                    [
                        "pipeline_id": pipeline, "name": .string("S\(position)"), "position": JSONValue(position),
                        "kind": .string(kind), "probability": JSONValue(position * 50),
                    ]
                ).json["id"]!)
        }
        let deal = try await made(
            sales, "/v1/opportunities",
            [
                "name": "Tea for all", "contact_id": twin, "stage_id": stages[0],
                "amount": ["amount": 5000, "currency": "EUR"], "expected_close": "2026-01-31",
            ])
        let ticket = try await made(service, "/v1/tickets", ["subject": "Cold tea", "contact_id": twin])
        let order = try await made(
            sales, "/v1/orders",
            [
                "contact_id": twin, "number": "O-1", "currency": "EUR", "placed_at": "2026-01-03T10:00:00Z",
                "lines": [["product": "Tea", "quantity": 1, "unit_price": 500]],
            ])
        _ = try await made(
            sales, "/v1/payments",
            [
                "order_id": order.json["id"]!, "amount": ["amount": 500, "currency": "EUR"],
                "received_at": "2026-01-04T10:00:00Z",
            ])
        try await eventually("all stand there") { try await kinds(contacts, twin).count == 6 }
        #expect(
            try await kinds(contacts, twin).sorted()
                == ["appointment", "call", "deal_created", "order", "payment", "ticket_opened"])
        #expect(
            try await kinds(contacts, twin, "?before=2026-01-05T00:00:00Z") == [
                "payment", "order", "appointment", "call",
            ])

        // What is still open, and what to do about it.
        let page = try await contacts.get("/v1/contacts/\(twin.text!)/360")
        #expect(page.status == 200, "\(page.text)")
        #expect(page.json["open_deals"]?.array?.map { $0["title"]! } == ["Tea for all"])
        #expect(page.json["open_tickets"]?.array?.map { $0["title"]! } == ["Cold tea"])
        #expect(page.json["next_best_action"]?["rule"] == "ticket_open", "\(page.text)")
        #expect(page.json["other_actions"]?.array?.first?["rule"] == "deal_slipped", "\(page.text)")
        try await eventually("analytics' figures are there") {
            let figures = try await contacts.get("/v1/contacts/\(twin.text!)/360").json["figures"]
            return figures?["paid"]?["value"]?["EUR"] == 500 && figures?["paid"]?["computed_at"]?.text != nil
        }

        #expect(try await sales.patch(deal.header("location")!, ["stage_id": stages[1]]).status == 200)
        #expect(try await sales.patch(deal.header("location")!, ["stage_id": stages[2]]).status == 200)
        #expect(try await service.patch(ticket.header("location")!, ["status": "solved"]).status == 200)
        #expect(try await contacts.patch(task.header("location")!, ["is_done": true]).status == 200)
        try await eventually("the changes stand there") { try await kinds(contacts, twin).count == 11 }
        let all = try await kinds(contacts, twin)
        #expect(all.filter { $0 == "deal_stage" }.count == 2)
        #expect(Set(all).isSuperset(of: ["deal_won", "ticket_solved", "task_done"]))
        // A ticket that is open again is no longer solved.
        #expect(try await service.patch(ticket.header("location")!, ["status": "open"]).status == 200)
        try await eventually("it is open again") {
            let now = try await kinds(contacts, twin)
            return !now.contains("ticket_solved") && now.contains("ticket_reopened")
        }

        // Pages hold together and lose nothing.
        var seen: [String] = []
        var cursor = ""
        repeat {
            let part = try await contacts.get("/v1/contacts/\(twin.text!)/timeline?limit=3\(cursor)").json
            seen += part["items"]!.array!.filter { $0["kind"] != "lifecycle" }.map { $0["id"]!.text! }
            cursor = part["next_cursor"]?.text.map { "&cursor=\($0)" } ?? ""
        } while !cursor.isEmpty
        #expect(seen.count == 11 && Set(seen).count == 11)
        #expect(try await contacts.get("/v1/contacts/\(ada.text!)/timeline?cursor=AAAA").status == 400)
        #expect(try await contacts.get("/v1/contacts/\(ada.text!)/timeline?kinds=gossip").status == 400)
        #expect(try await contacts.get("/v1/contacts/\(UUID().uuidString)/timeline").status == 404)

        try await eventually("the customer entered a stage") { try await !entered(contacts, twin).isEmpty }
        let enteredBefore = try await entered(contacts, twin)
        // All of it goes with a merge and comes back with its undoing.
        let merge = try await contacts.post("/v1/merges", ["survivor": ada, "merged": twin])
        #expect(merge.status == 201, "\(merge.text)")
        try await eventually("the survivor has all of it") { try await kinds(contacts, ada).count == 12 }
        #expect(try await kinds(contacts, twin).contains("merge"), "the old id answers with the survivor")
        #expect(try await kinds(contacts, ada, "?kinds=deal_stage,deal_won").count == 3)
        #expect(try await entered(contacts, ada).isSuperset(of: enteredBefore))
        let undone = try await contacts.post("/v1/merges/\(merge.json["id"]!.text!)/undo", [:])
        #expect(undone.status == 200, "\(undone.text)")
        try await eventually("all is back") {
            let (left, right) = (try await kinds(contacts, ada), try await kinds(contacts, twin))
            return left == ["merge (deleted)"] && right.count == 11
        }
        #expect(try await entered(contacts, twin).isSuperset(of: enteredBefore))
        #expect(
            try await contacts.send("DELETE", call.header("location")!, headers: ["If-Match": "*"]).status == 204)
        try await eventually("what is gone shows as gone") {
            try await kinds(contacts, twin).contains("call (deleted)")
        }
    }

    private func story(
        _ record: UUID, _ version: Int, _ contact: UUID?, isDeleted: Bool = false, _ moments: [Moment]
    ) -> CustomerStory {
        CustomerStory(
            record: record, type: "ticket", service: "tickets", version: version, contact: contact, owner: nil,
            team: nil, isDeleted: isDeleted, isOpen: true, moments: moments)
    }

    @Test("stories that come late, twice or in the wrong order make the same timeline")
    func outOfOrder() async throws {
        let test = try await TestStore(contactsService)
        let (first, second) = (UUID(), UUID())
        let start = Date(timeIntervalSince1970: 1_780_000_000)
        func versions(_ record: UUID) -> [CustomerStory] {
            let opened = Moment("ticket_opened", at: start, title: "Cold tea", detail: ["status": "open"])
            func solved(_ at: Date?) -> Moment { Moment("ticket_solved", key: "solved", at: at) }
            return [
                story(record, 1, first, [opened, solved(nil)]),
                story(record, 2, first, [opened, solved(start.addingTimeInterval(60))]),
                story(
                    record, 3, first,
                    [
                        opened, solved(nil),
                        Moment("ticket_reopened", key: "reopened:3", at: start.addingTimeInterval(90)),
                    ]),
                story(record, 4, second, [opened, solved(start.addingTimeInterval(120))]),
            ]
        }
        var seen: Set<String> = []
        var generator = SystemRandomNumberGenerator()
        for round in 0..<12 {
            let tenant = try await test.tenant("order-\(round)")
            let timeline = TimelineStore(store: test.store)
            let all = versions(UUID())
            let order =
                round == 0 ? all : (all + all.filter { _ in Bool.random() }).shuffled(using: &generator)
            for story in order {
                let job = try PendingJob(CustomerStoriesTold.name, [story])
                try await timeline.take([story], job.context(tenant, test.store))
            }
            let rows = try await test.store.database.query(
                tenant: tenant,
                Statement(
                    """
                    select coalesce(string_agg(kind || ' ' || extract(epoch from at) || ' ' || contact_id, ', '
                        order by at, kind), '') from contacts.timeline_entry where tenant_id = $1 and not is_void
                    """, [tenant.parameter]), readOnly: true)
            seen.insert(rows.text(0, 0)!)
        }
        #expect(seen.count == 1, "\(seen)")
        #expect(
            seen.first?.components(separatedBy: second.uuidString.lowercased()).count == 4, "all went along: \(seen)")
    }

    @Test("what was there before timelines were kept is put on them by a job, once")
    func backfill() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("backfill")
        let client = platform.client("contacts", token: tenant.key)
        let contact = try await client.post("/v1/contacts", ["given_name": "Ada"]).json["id"]!
        for number in 0..<5 {
            let made = try await client.post(
                "/v1/activities", ["contact_id": contact, "kind": "note", "subject": .string("n\(number)")])
            #expect(made.status == 201)
        }
        let database = platform.database.pool(role: "guanxi_contacts")
        defer { database.close() }
        try await platform.start("contacts work")
        try await eventually("they stand there") { try await kinds(client, contact).count == 5 }
        _ = try await database.query(
            tenant: tenant.id,
            Statement("delete from contacts.timeline_entry where tenant_id = $1", [tenant.id.parameter]))
        #expect(try await kinds(client, contact) == [])
        for _ in 0..<2 {
            let started = try await client.post("/v1/timeline/backfill", [:])
            #expect(started.status == 202, "\(started.text)")
            let over = try await platform.finished(client, job: started.json["job_id"]!.text!)
            #expect(over["state"] == "done" && over["result"]?["records"] == 5, "\(over.encoded)")
        }
        #expect(try await kinds(client, contact) == Array(repeating: "note", count: 5))
        let first = try await client.post("/v1/timeline/backfill", [:], key: "backfill-1")
        let again = try await client.post("/v1/timeline/backfill", [:], key: "backfill-1")
        #expect(first.status == 202 && again.status == 202 && again.json == first.json, "\(again.text)")
        #expect(again.header("idempotency-replayed") == "true")
    }

    @Test("whoever may not read tickets sees none on the timeline")
    func reach() async throws {
        let test = try await TestPlatform(["contacts serve"])
        let tenant = try await test.tenant("reach")
        let owner = test.client("contacts", token: tenant.key)
        let contact = try await owner.post("/v1/contacts", ["given_name": "Ada"]).json["id"]!
        let database = test.database.pool(role: "guanxi_contacts")
        defer { database.close() }
        try await test.owner.withoutTenant { transaction in
            _ = try await transaction.query(Statement("set local role guanxi_across"))
            _ = try await transaction.query(
                Statement(
                    "insert into platform.role (tenant_id, name, grants) values ($1, 'narrow', $2::jsonb)",
                    [
                        tenant.id.parameter,
                        .text(
                            #"[{"types":["contact","activity"],"actions":["read"],"scope":"all"},{"types":["order"],"actions":["read"],"scope":"own"}]"#
                        ),
                    ]))
        }
        let narrow = try await test.user("narrow", of: tenant.id, roles: ["narrow"])
        for (type, kind, owner) in [
            ("ticket", "ticket_opened", narrow.id), ("activity", "note", UUID()), ("order", "order", narrow.id),
            ("order", "order", UUID()),
        ] {
            _ = try await database.query(
                tenant: tenant.id,
                Statement(
                    """
                    insert into contacts.timeline_entry (tenant_id, id, contact_id, at, kind, service, record_type,
                        record_id, version, owner_id, is_open, is_deleted, is_void)
                    values ($1, gen_random_uuid(), $2, now(), $3, 'x', $4, gen_random_uuid(), 1, $5, true, false, false)
                    """,
                    [tenant.id.parameter, .text(contact.text!), .text(kind), .text(type), .uuid(owner)]))
        }
        #expect(try await kinds(owner, contact).sorted() == ["note", "order", "order", "ticket_opened"])
        #expect(try await kinds(narrow.client, contact).sorted() == ["note", "order"])
        let page = try await narrow.client.get("/v1/contacts/\(contact.text!)/360")
        #expect(page.status == 200 && page.json["open_tickets"] == [], "\(page.text)")
        #expect(page.json["segments"] == .null, "segments are not theirs to read")
    }
}

extension PendingJob {
    /// A job of that name, to be handed to its handler directly.
    fileprivate init(_ name: String, _ stories: [CustomerStory]) throws {
        self.init(name: name, queue: "contacts.events", payload: try JobCoding.encode(stories))
    }

    fileprivate func context(_ tenant: TenantID, _ store: RecordStore) -> JobContext {
        JobContext(
            envelope: JobEnvelope(self, tenant: tenant, origin: "contacts"), logger: TestServers.logger,
            outbox: store.outbox, database: store.database)
    }
}

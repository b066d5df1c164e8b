import Database
import Foundation
import Records
import TestSupport
import Testing

@Suite("Erasing a person", .serialized)
struct ErasureTests {
    /// Everything here is hers alone, as it may stand in any table, in lower case.
    private static let traces = [
        "adalgisa", "quellenbrunn", "kellenbrun", "ada.q@distinct.example", "old.q@distinct.example",
        "493099887766", "493055443322", "irrlichtgasse", "zz-778812", "@adaq", "1977-03-04", "seltene taube",
    ]

    private static let services = ["contacts", "opportunities", "tickets", "analytics"]

    @Test("nothing of her is left in any table of any service, the figures and the proof of the history hold")
    func everywhere() async throws {
        let platform = try await TestPlatform(Self.services.flatMap { ["\($0) serve", "\($0) work"] })
        let tenant = try await platform.tenant("erased")
        let person = try await Person(platform, key: tenant.key)
        let owner = platform.database.pool(role: "postgres")
        defer { owner.close() }
        let before = try await Self.found(owner)
        for trace in Self.traces {
            #expect(
                before.contains { $0.hasPrefix(trace + " in") }, "\(trace) was there, so that its end means something")
        }
        let contacts = person.contacts
        try await eventually("the summary has the purchase") {
            try await contacts.get("/v1/contacts/\(person.ada)/summary").json["purchases"] == 1
        }

        let path = "/v1/contacts/\(person.ada)/erasure"
        let wish: JSONValue = ["reason": "Asked for by letter.", "confirm": "Adalgisa Quellenbrunn"]
        let dry = try await contacts.post(path + "?dry_run=true", wish)
        #expect(dry.status == 200 && dry.json["contacts"]?.array?.count == 3, "\(dry.text)")
        #expect(dry.json["services"]?.array?.map(\.text) == ["analytics", "contacts", "opportunities", "tickets"])
        #expect(try await contacts.get("/v1/contacts/\(person.ada)").json["family_name"] == "Quellenbrunn")
        let refusals: [(JSONValue, Int, String)] = [
            (["reason": "x", "confirm": "Bob"], 409, "not_confirmed"), (["reason": "x"], 422, "invalid"),
            (["reason": "For Adalgisa Quellenbrunn", "confirm": .string(person.ada)], 422, "invalid"),
        ]
        for (body, status, code) in refusals {
            let answer = try await contacts.post(path, body)
            #expect(answer.status == status && answer.json["code"]?.text == code, "\(answer.text)")
        }
        let started = try await contacts.post(path, wish)
        #expect(started.status == 202, "\(started.text)")
        let again = try await contacts.post(path, wish)
        #expect(again.status == 409, "\(again.text)")
        // Killed on the way, it goes on.
        try await platform.crashAndRestart("contacts work")
        let erasure = "/v1/erasures/\(started.json["erasure_id"]!.text!)"
        try await eventually(within: 90, "all services have reported") {
            try await contacts.get(erasure).json["state"] == "done"
        }
        let left = try await Self.found(owner)
        #expect(left.isEmpty, "\(left.prefix(20))")

        try await expectGone(person)
        try await expectCertificate(contacts, erasure)
        for service in Self.services {
            let report = try await Self.verification(platform, service, tenant.key)
            #expect(report["verified"] == true, "\(service): \(report)")
            #expect(service == "analytics" || (report["redacted"]?.int ?? 0) > 0, "\(service): \(report)")
        }
        try await expectTamperingFound(platform, owner, tenant.key, person)
    }

    private func expectGone(_ person: Person) async throws {
        let (contacts, ada) = (person.contacts, person.ada)
        for id in [ada, person.twin] {
            let answer = try await contacts.get("/v1/contacts/\(id)")
            #expect(answer.status == 200 && answer.json["display_name"] == "erased", "\(answer.text)")
            #expect(
                answer.json["erased_at"] != .null && answer.json["emails"] == [] && answer.json["given_name"] == .null)
        }
        let refused = [
            try await contacts.patch("/v1/contacts/\(ada)", ["region": "x"]),
            try await contacts.send("DELETE", "/v1/contacts/\(ada)", headers: ["If-Match": "*"]),
            try await contacts.post("/v1/contacts/\(ada)/restore", [:]),
            try await contacts.post("/v1/merges", ["survivor": .string(person.bob), "merged": .string(ada)]),
            try await contacts.post("/v1/contacts/\(ada)/erasure", ["reason": "x", "confirm": .string(ada)]),
        ]
        for answer in refused { #expect(answer.status == 409 && answer.json["code"] == "erased", "\(answer.text)") }
        for set in [person.change, person.merge] {
            let undo = try await contacts.post("/v1/change-sets/\(set)/undo", [:])
            #expect(undo.status == 409 && undo.text.contains("erased"), "\(undo.text)")
        }
        #expect(try await contacts.get("/v1/search?q=quellen").json["items"] == [])
        let names = try await contacts.get("/v1/contacts?fields=display_name").json["items"]?.array ?? []
        #expect(names.map { $0["display_name"]! } == ["Bob Bleibtreu"], "others stay as they are")
        // What counts stays, and still knows whose it is.
        let orders = try await person.sales.get("/v1/orders").json["items"]?.array ?? []
        #expect(orders.count == 1 && orders[0]["contact_id"] == .string(ada) && orders[0]["total"]?["amount"] == 500)
        #expect(try await contacts.get("/v1/contacts/\(ada)/summary").json["purchases"] == 1)
        let surveys = try await person.service.get("/v1/survey_responses").json["items"]?.array ?? []
        #expect(surveys.first?["gap"] == 2 && surveys.first?["comment"] == .null, "\(surveys)")
        let lead = try await person.sales.get("/v1/leads?filter[status]=new").json["items"]?.array?.first
        #expect(lead?["family_name"] == .null, "a lead of the same address is the same person")
        let task = try await contacts.get("/v1/tasks/\(person.bobsTask)")
        #expect(task.json["subject"] == "Call Bob", "\(task.text)")
    }

    private func expectCertificate(_ contacts: HTTPClient, _ path: String) async throws {
        let answer = try await contacts.get(path).json
        let certificate = answer["certificate"]!
        let parts = certificate["services"]?.array ?? []
        #expect(parts.map { $0["service"]!.text! } == Self.services.sorted())
        #expect(parts.allSatisfy { $0["reported_at"]?.text != nil })
        #expect(parts.allSatisfy { $0["left"] == [] && $0["mentions"] == [] }, "\(parts)")
        #expect(certificate["reason"] == "Asked for by letter." && certificate["finished_at"]?.text != nil)
        func rows(_ service: String, _ table: String) -> Int {
            let tables = parts.first { $0["service"]?.text == service }?["tables"]?.array ?? []
            return tables.first { $0["table"]?.text == table }?["rows"]?.int ?? 0
        }
        #expect(rows("contacts", "contacts.contact") == 3 && rows("contacts", "contacts.activity") == 1)
        #expect(rows("opportunities", "opportunities.lead") == 2 && rows("tickets", "tickets.ticket_comment") == 1)
        #expect(rows("contacts", "contacts.import_error") == 2 && rows("opportunities", "opportunities.outbox") >= 1)
        func proof(_ certificate: JSONValue) async throws -> JSONValue {
            try await contacts.post(
                "/v1/erasures/verification",
                ["certificate": .string(certificate.encoded), "signature": answer["signature"]!]
            ).json
        }
        #expect(try await proof(certificate)["valid"] == true)
        guard case .object(var forged) = certificate else { return }
        forged["reason"] = "Another."
        let refused = try await proof(.object(forged))
        #expect(refused["valid"] == false && refused["signed"] == false && refused["known"] == false)
    }

    /// Only what a certificate covers may be empty; every other byte still counts.
    private func expectTamperingFound(
        _ platform: TestPlatform, _ owner: Database, _ key: String, _ person: Person
    ) async throws {
        let ada = "record_type = 'contact' and record_id = '\(person.ada)' and version = 1"
        let bob = "record_type = 'contact' and record_id = '\(person.bob)' and version = 1"
        let changes: [(change: String, undo: String, code: String)] = [
            (
                "update contacts.history set actor = actor || 'x' where \(ada)",
                "update contacts.history set actor = left(actor, -1) where \(ada)", "entry_changed"
            ),
            (
                "update contacts.history set changes = replace(changes::text, '\"Bern\"', '\"x\"')::json where \(bob)",
                "update contacts.history set changes = replace(changes::text, '\"x\"', '\"Bern\"')::json where \(bob)",
                "entry_changed"
            ),
            (
                "update contacts.history_redaction set version = 99 where \(ada)",
                "update contacts.history_redaction set version = 1 where \(ada.replacing("= 1", with: "= 99"))",
                "entry_changed"
            ),
            (
                // Somebody who knows how digests are made empties another's entry, as an erasure would.
                """
                insert into contacts.history_redaction (tenant_id, record_type, record_id, version, erasure_id, batch, digest)
                select e.tenant_id, e.record_type, e.record_id, e.version, r.erasure_id, 1,
                    sha256(e.digest || uuid_send(r.erasure_id) || convert_to(row(e.record_type,
                    e.record_id, e.version, extract(epoch from e.at), e.actor, e.request_id, e.change_set, e.operation)::text
                    || e.changes::text, 'UTF8'))
                from contacts.history e, (select erasure_id from contacts.history_redaction limit 1) r where \(bob)
                """,
                "delete from contacts.history_redaction where \(bob)", "redaction_changed"
            ),
        ]
        for (change, undo, code) in changes {
            _ = try await owner.query(tenant: nil, Statement(change))
            let found = try await Self.verification(platform, "contacts", key)
            #expect(found["faults"]?.array?.contains { $0["code"]?.text == code } == true, "\(change): \(found)")
            _ = try await owner.query(tenant: nil, Statement(undo))
            #expect(try await Self.verification(platform, "contacts", key)["verified"] == true, "\(undo)")
        }
    }

    private static func verification(
        _ platform: TestPlatform, _ service: String, _ key: String
    ) async throws -> JSONValue {
        let client = platform.client(service, token: key)
        let started = try await client.post("/v1/history/verification", [:])
        return try await platform.finished(client, job: started.json["job_id"]!.text!)["result"]!
    }

    /// Where her traces stand: every row of every table, as PostgreSQL prints it, bytes as text too.
    private static func found(_ owner: Database) async throws -> [String] {
        let tables = try await owner.query(
            tenant: nil,
            Statement(
                """
                select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname in ('platform', 'contacts', 'opportunities', 'tickets', 'analytics')
                and c.relkind in ('r', 'p') and not c.relispartition order by 1
                """))
        var found: [String] = []
        for index in 0..<tables.count {
            let table = tables.text(index, 0)!
            let rows = try await owner.query(tenant: nil, Statement("select lower(t::text) from \(table) t"))
            for row in 0..<rows.count {
                let text = rows.text(row, 0)!
                for trace in traces {
                    let hexadecimal = trace.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
                    if text.contains(trace) || text.contains(hexadecimal) {
                        found.append("\(trace) in \(table): \(text.prefix(400))")
                    }
                }
            }
        }
        return found
    }
}

/// A woman known in every corner of every service, and Bob, who stays.
private struct Person {
    let contacts: HTTPClient
    let sales: HTTPClient
    let service: HTTPClient
    let ada: String
    let twin: String
    let bob: String
    let bobsTask: String
    /// Change sets that others may want to undo.
    let change: String
    let merge: String

    init(_ platform: TestPlatform, key: String) async throws {
        let contacts = platform.client("contacts", token: key)
        let sales = platform.client("opportunities", token: key)
        let service = platform.client("tickets", token: key)
        self.contacts = contacts
        self.sales = sales
        self.service = service
        func create(_ client: HTTPClient, _ path: String, _ body: JSONValue) async throws -> JSONValue {
            let answer = try await client.post(path, body, key: UUID().uuidString)
            #expect(answer.status == 201, "\(path): \(answer.text)")
            return answer.json["id"] ?? .null
        }
        let bob = try await create(
            contacts, "/v1/contacts", ["given_name": "Bob", "family_name": "Bleibtreu", "region": "Bern"])
        let ada = try await create(
            contacts, "/v1/contacts",
            [
                "given_name": "Adalgisa", "family_name": "Quellenbrunn", "birth_date": "1977-03-04",
                "emails": [["value": "old.q@distinct.example"]], "phones": [["value": "+49 30 55443322"]],
                "addresses": [["street": "Irrlichtgasse", "house_number": "7", "country": "DE"]],
                "identifiers": [["value": "ZZ-778812", "kind": "national"]], "socials": [["value": "@adaq"]],
                "source": "shop", "external_id": "quellenbrunn-1", "needs": ["seltene Taube"],
            ])
        let patched = try await contacts.patch(
            "/v1/contacts/\(ada.text!)",
            ["emails": [["value": "ada.q@distinct.example"]], "phones": [["value": "+49 30 99887766"]]])
        #expect(patched.status == 200, "\(patched.text)")
        change = patched.header("x-change-set") ?? ""
        let twin = try await create(
            contacts, "/v1/contacts?allow_duplicates=true", ["given_name": "Adalgisa", "family_name": "Kellenbrun"])
        let merged = try await contacts.post("/v1/merges", ["survivor": ada, "merged": twin])
        #expect(merged.status == 201, "\(merged.text)")
        merge = merged.json["id"]!.text!
        self.ada = ada.text!
        self.twin = twin.text!
        self.bob = bob.text!

        _ = try await create(
            contacts, "/v1/activities",
            ["contact_id": ada, "kind": "call", "subject": "Adalgisa rang", "body": "Seltene Taube, Frau Quellenbrunn"])
        let appointment = try await create(
            contacts, "/v1/appointments",
            [
                "contact_id": ada, "subject": "Tea with Adalgisa", "starts_at": "2030-01-01T10:00:00Z",
                "attendees": [["name": "Adalgisa", "email": "ada.q@distinct.example"]],
            ])
        _ = try await create(
            contacts, "/v1/tasks",
            ["subject": "Room for Quellenbrunn", "linked_type": "appointment", "linked_id": appointment])
        bobsTask = try await create(contacts, "/v1/tasks", ["subject": "Call Bob", "contact_id": bob]).text!
        _ = try await create(
            contacts, "/v1/relationships",
            ["contact_id": bob, "other_contact_id": ada, "kind": "friend", "note": "met Adalgisa in school"])

        try await Self.sell(sales, ada, create)
        let ticket = try await create(
            service, "/v1/tickets",
            ["contact_id": ada, "subject": "Quellenbrunn waits", "description": "Irrlichtgasse is closed"])
        _ = try await create(
            service, "/v1/ticket_comments", ["ticket_id": ticket, "body": "Dear Frau Quellenbrunn", "author": "agent"])
        _ = try await create(
            service, "/v1/survey_responses",
            [
                "ticket_id": ticket, "comment": "Adalgisa is pleased",
                "answers": [["item": "Speed", "expectation": 6, "performance": 8]],
            ])
        try await Self.files(contacts, platform)
        // Her lead became a contact of its own, which is her too.
        try await eventually("the lead's person is here") {
            try await contacts.get("/v1/contacts?filter[source]=lead").json["items"]?.array?.count == 1
        }
        let adopted = try await contacts.get("/v1/contacts?filter[source]=lead").json["items"]!.array![0]["id"]!
        let second = try await contacts.post("/v1/merges", ["survivor": ada, "merged": adopted])
        #expect(second.status == 201, "\(second.text)")
    }

    private static func sell(
        _ sales: HTTPClient, _ ada: JSONValue, _ create: (HTTPClient, String, JSONValue) async throws -> JSONValue
    ) async throws {
        let pipeline = try await create(sales, "/v1/pipelines", ["name": "Sales", "is_default": true])
        for (position, kind) in ["open", "won", "lost"].enumerated() {
            let stage = try await sales.post(
                "/v1/stages",
                [
                    "pipeline_id": pipeline, "name": .string(kind), "position": JSONValue(position),
                    "kind": .string(kind),
                ])
            #expect(stage.status == 201, "\(stage.text)")
        }
        let order = try await create(
            sales, "/v1/orders",
            ["contact_id": ada, "currency": "EUR", "lines": [["product": "Tea", "quantity": 1, "unit_price": 500]]])
        _ = try await create(
            sales, "/v1/payments",
            ["order_id": order, "amount": ["amount": 500, "currency": "EUR"], "reference": "Quellenbrunn tea"])
        _ = try await create(
            sales, "/v1/opportunities",
            ["contact_id": ada, "name": "Deal with Quellenbrunn", "next_step": "ask Adalgisa"])
        // One that nobody has linked yet, and one that becomes a contact.
        _ = try await create(
            sales, "/v1/leads",
            ["family_name": "Quellenbrunn", "email": "Ada.Q@distinct.example", "phone": "+493099887766"])
        let lead = try await create(
            sales, "/v1/leads",
            ["given_name": "Adalgisa", "family_name": "Quellenbrunn", "email": "old.q@distinct.example"])
        let conversion = try await sales.post("/v1/leads/\(lead.text!)/conversion", ["name": "Quellenbrunn again"])
        #expect(conversion.status == 202, "\(conversion.text)")
        try await eventually("the lead is converted") {
            try await sales.get("/v1/leads/\(lead.text!)").json["conversion"] == "done"
        }
    }

    /// Files in both directions, one with a row of hers that stays out.
    private static func files(_ contacts: HTTPClient, _ platform: TestPlatform) async throws {
        let csv = "given_name,family_name,email,birth_date\nAdalgisa,Quellenbrunn,x@y,1977-03-44\n"
        let upload = try await contacts.upload(options: ["type": "contact"], file: Array(csv.utf8))
        let imported = try await platform.finished(contacts, job: upload.json["job_id"]!.text!)
        #expect(imported["result"]?["failed"] == 1, "\(imported)")
        let filter: JSONValue = ["field": "family_name", "op": "eq", "value": "Quellenbrunn"]
        for options in [["type": "contact", "format": "vcard"], ["type": "contact", "filter": filter]] as [JSONValue] {
            let export = try await contacts.post("/v1/exports", options)
            let job = try await platform.finished(contacts, job: export.json["job_id"]!.text!)
            #expect(job["state"] == "done", "\(job)")
        }
    }
}

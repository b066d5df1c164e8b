import Database
import Foundation
import Records
import TestSupport
import Testing

@Suite("Merging contacts", .serialized)
struct MergeTests {
    @Test("a merge takes everything along in all services, the old id answers with the survivor, and it can be undone")
    func mergeAndUndo() async throws {
        let platform = try await TestPlatform([
            "contacts serve", "contacts work", "opportunities serve", "opportunities work", "tickets serve",
            "tickets work",
        ])
        let tenant = try await platform.tenant("merging")
        let contacts = platform.client("contacts", token: tenant.key)
        let sales = platform.client("opportunities", token: tenant.key)
        let service = platform.client("tickets", token: tenant.key)
        func person(_ body: JSONValue) async throws -> JSONValue {
            let answer = try await contacts.post("/v1/contacts?allow_duplicates=true", body)
            #expect(answer.status == 201, "\(answer.text)")
            return answer.json["id"]!
        }
        let ada = try await person([
            "given_name": "Ada", "family_name": "Jansen", "emails": [["value": "ada@example.eu", "primary": true]],
        ])
        let twin = try await person([
            "given_name": "Ada", "family_name": "Janssen", "region": "Leiden", "do_not_contact": true,
            "emails": [["value": "a.jansen@example.eu", "primary": true]], "source": "shop", "external_id": "7",
        ])
        let call = try await contacts.post(
            "/v1/activities", ["contact_id": twin, "kind": "call", "occurred_at": "2026-01-05T10:00:00Z"])
        #expect(call.status == 201, "\(call.text)")
        let order = try await sales.post(
            "/v1/orders",
            ["contact_id": twin, "currency": "EUR", "lines": [["product": "Tea", "quantity": 1, "unit_price": 500]]])
        #expect(order.status == 201, "\(order.text)")
        let ticket = try await service.post("/v1/tickets", ["subject": "Cold tea", "contact_id": twin])
        #expect(ticket.status == 201, "\(ticket.text)")

        let wish: JSONValue = ["survivor": ada, "merged": twin, "fields": ["family_name": "merged"]]
        let dry = try await contacts.post("/v1/merges?dry_run=true", wish)
        #expect(dry.status == 200 && dry.json["changes"]?.array?.count == 3, "\(dry.text)")
        #expect(try await contacts.get("/v1/contacts/\(twin.text!)").json["id"] == twin)
        let merge = try await contacts.post("/v1/merges", wish)
        #expect(merge.status == 201, "\(merge.text)")

        let survivor = try await contacts.get("/v1/contacts/\(twin.text!)")
        #expect(survivor.json["id"] == ada && survivor.json["family_name"] == "Janssen")
        #expect(survivor.json["region"] == "Leiden" && survivor.json["external_id"] == "7")
        #expect(survivor.json["do_not_contact"] == true, "a wish not to be contacted holds for the person")
        #expect(survivor.json["emails"]?.array?.map { $0["value"]! } == ["ada@example.eu", "a.jansen@example.eu"])
        #expect(survivor.header("content-location")?.hasSuffix(ada.text!) == true)
        let late = try await contacts.patch("/v1/contacts/\(twin.text!)", ["region": "x"])
        #expect(late.status == 409 && late.json["code"] == "merged", "\(late.text)")

        func owner(_ client: HTTPClient, _ path: String) async throws -> JSONValue? {
            try await client.get(path).json["contact_id"]
        }
        let places = [
            (contacts, call.header("location")!), (sales, order.header("location")!),
            (service, ticket.header("location")!),
        ]
        for (client, path) in places {
            try await eventually("\(path) follows") { try await owner(client, path) == ada }
        }

        // What happens in between stays, and is named.
        #expect(try await contacts.patch("/v1/contacts/\(ada.text!)", ["region": "Delft"]).status == 200)
        let id = merge.json["id"]!.text!
        let refused = try await contacts.post("/v1/merges/\(id)/undo", [:])
        #expect(
            refused.status == 409 && refused.json["conflicts"]?.array?.map { $0["field"] } == ["region"],
            "\(refused.text)")
        #expect(try await contacts.patch("/v1/contacts/\(ada.text!)", ["region": "Leiden"]).status == 200)
        let undone = try await contacts.post("/v1/merges/\(id)/undo", ["on_conflict": "skip"])
        #expect(undone.status == 200, "\(undone.text)")
        #expect(try await contacts.get("/v1/contacts/\(twin.text!)").json["external_id"] == "7")
        for (client, path) in places {
            try await eventually("\(path) goes back") { try await owner(client, path) == twin }
        }
    }

    @Test("merges in a chain leave nothing behind, what was undone can be done again, and every history verifies")
    func chains() async throws {
        let platform = try await TestPlatform([
            "contacts serve", "contacts work", "opportunities serve", "opportunities work",
        ])
        let tenant = try await platform.tenant("chains")
        let contacts = platform.client("contacts", token: tenant.key)
        let sales = platform.client("opportunities", token: tenant.key)
        var people: [JSONValue] = []
        for name in ["Ada", "Bea", "Cleo"] {
            people.append(try await contacts.post("/v1/contacts", ["given_name": .string(name)]).json["id"]!)
        }
        let (ada, bea, cleo) = (people[0], people[1], people[2])
        let order = try await sales.post(
            "/v1/orders",
            ["contact_id": ada, "currency": "EUR", "lines": [["product": "Tea", "quantity": 1, "unit_price": 500]]])
        let payment = try await sales.post(
            "/v1/payments", ["order_id": order.json["id"]!, "amount": ["amount": 500, "currency": "EUR"]])
        #expect(payment.status == 201, "\(payment.text)")
        // An activity that nobody may change by hand any more.
        let call = try await contacts.post("/v1/activities", ["contact_id": ada, "kind": "call"])
        let owner = platform.database.pool(role: "postgres")
        defer { owner.close() }
        for table in ["activity", "history"] {
            let column = table == "activity" ? "created_at" : "at"
            _ = try await owner.query(
                tenant: nil,
                Statement(
                    """
                    update contacts.\(table) set \(column) = \(column) - interval '2 hours'\(table == "activity"
                        ? ", updated_at = updated_at - interval '2 hours'" : "")
                    where \(table == "activity" ? "true" : "record_type = 'activity'")
                    """))
        }
        let paths = [(sales, order), (sales, payment), (contacts, call)].map { ($0.0, $0.1.header("location")!) }
        func eventuallyAll(_ contact: JSONValue, _ what: String) async throws {
            for (client, path) in paths {
                try await eventually("\(what): \(path)") { try await client.get(path).json["contact_id"] == contact }
            }
        }
        let first = try await contacts.post("/v1/merges", ["survivor": bea, "merged": ada])
        let second = try await contacts.post("/v1/merges", ["survivor": cleo, "merged": bea])
        #expect(first.status == 201 && second.status == 201, "\(first.text) \(second.text)")
        try await eventuallyAll(cleo, "both merges")
        #expect(try await contacts.get("/v1/contacts/\(ada.text!)").json["id"] == cleo)
        #expect(try await contacts.post("/v1/contacts/\(ada.text!)/restore", [:]).json["code"] == "merged")

        let secondPath = "/v1/merges/\(second.json["id"]!.text!)/undo"
        let undone = try await contacts.post(secondPath, [:])
        #expect(undone.status == 200, "\(undone.text)")
        #expect(try await contacts.post(secondPath, [:]).json["code"] == "already_undone")
        // Undoing the undoing merges again, in all services.
        let redo = try await contacts.post("/v1/change-sets/\(undone.json["change_set"]!.text!)/undo", [:])
        #expect(redo.status == 200, "\(redo.text)")
        try await eventuallyAll(cleo, "done again")
        #expect(try await contacts.get("/v1/contacts/\(bea.text!)").json["id"] == cleo)

        for (client, name) in [(contacts, "contacts"), (sales, "opportunities")] {
            let started = try await client.post("/v1/history/verification", [:])
            let job = try await platform.finished(client, job: started.json["job_id"]!.text!)
            let faults = job["result"]?["faults"]?.array ?? []
            // The activity's times were changed behind the service's back: its entry shows it, and nothing else does.
            #expect(faults.allSatisfy { $0["record_type"] == "activity" }, "\(name): \(faults)")
        }
    }
}

import Foundation
import Records
import TestSupport
import Testing

/// One customer's story over HTTP alone, with a ledger of what must come of it.
///
/// Contacts are imported, a lead is converted, the deal won, an order paid in two parts, a ticket left overdue until it
/// is escalated, solved, and a survey answered. Every write carries an idempotency key, so that a request whose answer
/// was lost can be sent again.
struct Story {
    let gateway: HTTPClient
    let tenant: String

    /// What the customer's summary and the dashboard must show at the end.
    struct Ledger {
        var contacts = 0
        var paid = 0
        var surveysGap = 0.0
        var contact = ""
    }

    private func create(_ path: String, _ body: JSONValue, key: String) async throws -> JSONValue {
        let answer = try await gateway.insist(
            "POST", path, json: body, headers: ["Idempotency-Key": "\(tenant)-\(key)"])
        guard answer.status < 300 else { throw TestFailure("POST \(path): \(answer.status) \(answer.text)") }
        return answer.json
    }

    private func change(_ path: String, _ body: JSONValue, key: String) async throws -> JSONValue {
        let answer = try await gateway.insist(
            "PATCH", path, json: body, headers: ["Idempotency-Key": "\(tenant)-\(key)", "If-Match": "*"])
        guard answer.status < 300 else { throw TestFailure("PATCH \(path): \(answer.status) \(answer.text)") }
        return answer.json
    }

    private func get(_ path: String) async throws -> JSONValue { try await gateway.insist("GET", path).json }

    /// - Parameter step: called eight times on the way, with the id of the import's job, which may still run.
    func run(imported: Int, between step: @Sendable (String) async throws -> Void = { _ in }) async throws -> Ledger {
        var ledger = Ledger()
        // An import is one request whose answer can be lost: without a key it would be sent twice, so it is sent while
        // nothing is killed, and killed afterwards.
        let file =
            "external_id,given_name,family_name,email\n"
            + (0..<imported).map { "X\($0),Name\($0),Family 关系 \($0),p\($0)@example.com" }.joined(separator: "\n")
        let upload = try await gateway.upload(
            "/contacts/v1/imports", options: ["type": "contact", "source": "story"], file: Array(file.utf8))
        guard upload.status == 202, let job = upload.json["job_id"]?.text else {
            throw TestFailure("import: \(upload.status) \(upload.text)")
        }
        try await step(job)
        ledger.contacts = imported

        let pipeline = try await create(
            "/opportunities/v1/pipelines", ["name": "Standard", "is_default": true], key: "pipeline-1")
        var stages: [String] = []
        for (index, kind) in ["open", "open", "won", "lost"].enumerated() {
            let stage = try await create(
                "/opportunities/v1/stages",
                [
                    "pipeline_id": pipeline["id"]!, "name": .string("Stage \(index)"), "position": JSONValue(index),
                    "kind": .string(kind),
                ], key: "stage-\(index)-x")
            stages.append(stage["id"]!.text!)
        }
        let team = try await create("/tickets/v1/teams", ["name": "Leads"], key: "team-0001")
        _ = try await create(
            "/tickets/v1/sla_policies",
            [
                "name": "Fast", "is_default": true, "escalation_team_id": team["id"]!,
                "targets": [["priority": "normal", "resolution_seconds": 4]],
            ], key: "policy-01")
        try await step(job)

        let lead = try await create(
            "/opportunities/v1/leads",
            ["given_name": "Ada", "family_name": "Jansen", "company": "Nordwind", "email": "ada@nordwind.eu"],
            key: "lead-0001")
        let leadPath = "/opportunities/v1/leads/\(lead["id"]!.text!)"
        // A second try after a lost answer gets the first one's.
        let converted = try await gateway.insist(
            "POST", leadPath + "/conversion", json: ["name": "Tea", "amount": ["amount": 120_000, "currency": "EUR"]],
            headers: ["Idempotency-Key": "\(tenant)-conversion-1"])
        #expect(converted.status == 202, "\(converted.text)")
        try await step(job)
        try await eventually(within: 120, "the lead is converted") { try await get(leadPath)["conversion"] == "done" }
        let done = try await get(leadPath)
        let contact = done["contact_id"]!.text!
        ledger.contact = contact
        ledger.contacts += 1
        let person = try await get("/contacts/v1/contacts/\(contact)")
        #expect(person["display_name"] == "Ada Jansen")
        #expect(person["organization_id"] == done["organization_id"])

        let deal = "/opportunities/v1/opportunities/\(done["opportunity_id"]!.text!)"
        _ = try await change(deal, ["stage_id": .string(stages[1])], key: "move-0001")
        try await step(job)
        let won = try await change(deal, ["stage_id": .string(stages[2])], key: "win-00001")
        #expect(won["status"] == "won")
        let order = try await create(
            "/opportunities/v1/orders",
            [
                "contact_id": .string(contact), "opportunity_id": done["opportunity_id"]!, "currency": "EUR",
                "lines": [["product": "Tea", "quantity": 10, "unit_price": 10_084, "tax_percent": 19]],
            ], key: "order-001")
        #expect(order["total"]?["amount"] == 120_000)
        for (part, amount) in [50_000, 70_000].enumerated() {
            _ = try await create(
                "/opportunities/v1/payments",
                ["order_id": order["id"]!, "amount": ["amount": JSONValue(amount), "currency": "EUR"]],
                key: "payment-\(part)")
            ledger.paid += amount
            try await step(job)
        }
        #expect(try await get("/opportunities/v1/orders/\(order["id"]!.text!)")["status"] == "paid")

        let ticket = try await create(
            "/tickets/v1/tickets", ["subject": "Late", "contact_id": .string(contact), "kind": "complaint"],
            key: "ticket-01")
        let ticketPath = "/tickets/v1/tickets/\(ticket["id"]!.text!)"
        #expect(ticket["resolution_due"] != .null)
        try await step(job)
        try await eventually(within: 120, "the ticket is escalated") { try await get(ticketPath)["escalations"] == 1 }
        let escalated = try await get(ticketPath)
        #expect(escalated["priority"] == "high")
        #expect(escalated["team_id"] == team["id"])
        _ = try await change(ticketPath, ["status": "solved"], key: "solve-001")
        _ = try await create(
            "/tickets/v1/survey_responses",
            [
                "ticket_id": ticket["id"]!,
                "answers": [
                    ["item": "Speed", "expectation": 8, "performance": 5],
                    ["item": "Kindness", "expectation": 6, "performance": 8],
                ],
            ], key: "survey-01")
        ledger.surveysGap = -0.5
        try await step(job)
        try await isImported(job)
        return ledger
    }

    func isImported(_ job: String) async throws {
        try await eventually(within: 180, "the import is done") {
            let status = try await get("/contacts/v1/jobs/\(job)")
            if ["failed", "dead", "cancelled"].contains(status["state"]?.text) {
                throw TestFailure("import: \(status)")
            }
            return status["state"] == "done"
        }
    }

    /// Waits until the summary and the dashboard show the ledger, then compares every figure.
    func expect(_ ledger: Ledger) async throws {
        func figure(_ dashboard: JSONValue, _ metric: String) -> JSONValue? {
            dashboard["totals"]?.array?.first { $0["metric"]?.text == metric }
        }
        try await eventually(within: 120, "the figures have arrived") {
            let dashboard = try await get("/analytics/v1/dashboard")
            let summary = try await get("/contacts/v1/contacts/\(ledger.contact)/summary")
            return figure(dashboard, "contacts")?["count"] == JSONValue(ledger.contacts)
                && figure(dashboard, "surveys")?["count"] == 1 && summary["satisfaction_gap"] != .null
                && summary["paid"]?["EUR"] == JSONValue(ledger.paid) && summary["open_tickets"] == 0
        }
        let summary = try await get("/contacts/v1/contacts/\(ledger.contact)/summary")
        #expect(summary["paid"] == ["EUR": JSONValue(ledger.paid)])
        #expect(summary["purchases"] == 1)
        #expect(summary["won_deals"] == 1)
        #expect(summary["open_deals"] == 0)
        #expect(summary["tickets"] == 1)
        #expect(summary["open_tickets"] == 0)
        #expect(summary["satisfaction_gap"] == .number("\(ledger.surveysGap)"))
        #expect(summary["days_since_last_contact"] == 0)
        let dashboard = try await get("/analytics/v1/dashboard")
        #expect(figure(dashboard, "contacts")?["count"] == JSONValue(ledger.contacts))
        #expect(figure(dashboard, "payments")?["count"] == 2)
        #expect(figure(dashboard, "payments")?["amount"]?["amount"] == JSONValue(ledger.paid))
        #expect(figure(dashboard, "orders")?["amount"]?["amount"] == 120_000)
        #expect(figure(dashboard, "deals_won")?["count"] == 1)
        #expect(figure(dashboard, "tickets_solved")?["count"] == 1)
        #expect(figure(dashboard, "tickets_open")?["count"] ?? 0 == 0)
    }
}

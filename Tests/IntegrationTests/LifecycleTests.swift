import Contracts
import Database
import Foundation
import Jobs
import Records
import TestSupport
import Testing

@testable import Analytics
@testable import Contacts

@Suite("Lifecycle and playbooks", .serialized)
struct LifecycleTests {
    private func summary(
        _ contact: UUID, _ sequence: Int, _ stage: LifecycleStage, rule: String = "steady"
    ) -> CustomerSummary {
        CustomerSummary(
            contact: contact, sequence: sequence, firstPurchase: nil, lastPurchase: nil, purchases: 1, paid: [:],
            openDeals: 0, wonDeals: 0, tickets: 0, openTickets: 0, satisfactionGap: nil, lastContact: nil,
            computedAt: Date(), stage: StageAssessment(stage: stage, rule: rule, figures: ["purchases": 1]))
    }

    @Test("an order makes a first purchase, over all services, and its playbook runs once")
    func story() async throws {
        let platform = try await TestPlatform([
            "contacts serve", "contacts work", "opportunities serve", "opportunities work", "analytics work",
        ])
        let tenant = try await platform.tenant("story")
        let contacts = platform.client("contacts", token: tenant.key)
        let sales = platform.client("opportunities", token: tenant.key)
        let owner = UUID().uuidString.lowercased()
        let contact = try await contacts.post(
            "/v1/contacts", ["given_name": "Mei", "owner_id": .string(owner)])
        let path = contact.header("location")!
        let playbook = try await contacts.post(
            "/v1/playbooks",
            [
                "name": "Welcome", "stage": "first_purchase",
                "actions": [
                    ["kind": "create_task", "title": "Say thanks", "due_days": 3],
                    ["kind": "create_task", "title": "Sell more", "channel": "email", "purpose": "marketing"],
                    ["kind": "notify_owner"], ["kind": "enrol_in_campaign"],
                ],
            ])
        #expect(playbook.status == 201, "\(playbook.text)")
        _ = try await contacts.post("/v1/playbooks", ["name": "Not this", "stage": "mature"])
        let order = try await sales.post(
            "/v1/orders",
            [
                "contact_id": contact.json["id"]!, "currency": "EUR",
                "lines": [["product": "Tea", "quantity": 1, "unit_price": 500]],
            ])
        #expect(order.status == 201, "\(order.text)")
        try await eventually("the playbook ran") {
            try await contacts.get(path + "/lifecycle").json["changes"]?.array?.first?["runs"]?.array?.isEmpty == false
        }
        let story = try await contacts.get(path + "/lifecycle").json
        #expect(story["stage"] == "first_purchase" && story["group"] == "trial", "\(story)")
        let change = story["changes"]!.array![0]
        #expect(change["from"] == "prospect" && change["rule"] == "one_purchase")
        #expect(change["figures"]?["purchases"]?.int == 1)
        let told = try await contacts.get(path + "/timeline?kinds=lifecycle").json["items"]!.array!
        #expect(told.first?["title"] == "first_purchase", "\(told)")
        #expect(told.first?["detail"] == ["from": "prospect", "to": "first_purchase", "rule": "one_purchase"])
        let overview = try await contacts.get(path + "/360").json
        #expect(overview["figures"]?["lifecycle_stage"]?["value"] == "first_purchase")
        #expect(
            overview["figures"]?["lifecycle_stage"]?["computed_at"]?.text.flatMap(Timestamp.parse)
                == change["computed_at"]?.text.flatMap(Timestamp.parse))
        let actions = change["runs"]!.array![0]["actions"]!.array!.map {
            "\($0["kind"]!.text!) \($0["outcome"]!.text!) \($0["reason"]?.text ?? "")"
        }
        #expect(
            actions == [
                "create_task done ", "create_task refused no_address", "notify_owner done ",
                "enrol_in_campaign refused no_campaign",
            ])
        let tasks = try await contacts.get("/v1/tasks").json["items"]!.array!
        #expect(tasks.map { $0["subject"]! } == ["Say thanks"] && tasks[0]["assignee_id"] == .string(owner))
        #expect(tasks[0]["priority"] == "normal" && tasks[0]["due_at"] != .null)
        let notes = try await contacts.get("/v1/notifications").json["items"]!.array!
        #expect(notes.map { $0["subject"]! } == ["Welcome"] && notes[0]["user_id"] == .string(owner))
        let read = try await contacts.get(path).json
        #expect(read["lifecycle_stage"] == "first_purchase" && read["version"] == 1, "a figure, no change")
        let found = try await contacts.get("/v1/contacts?filter[lifecycle_stage]=first_purchase").json["items"]?.array
        #expect(found?.count == 1)
    }

    @Test(
        "an older stage never replaces a newer, the same one changes nothing, and each change runs its playbooks once")
    func order() async throws {
        let bed = try await JobBed(contactsService, keeping: [CampaignEnrolmentRequested.name])
        let tenant = try await bed.bed.tenant("order")
        let contact = try await bed.create(
            "contact", ["given_name": "Ada", "emails": [["value": "ada@example.eu"]]], tenant)
        let id = JSONValue.string(contact.uuidString.lowercased())
        _ = try await bed.create(
            "consent", ["contact_id": id, "channel": "email", "purpose": "marketing", "state": "granted"], tenant)
        let campaign = UUID()
        _ = try await bed.create(
            "playbook",
            [
                "name": "Grow", "stage": "growth",
                "actions": [
                    ["kind": "enrol_in_campaign", "campaign_id": .string(campaign.uuidString)],
                    ["kind": "create_task", "title": "Call"],
                ],
            ], tenant)
        let stages: [(Int, LifecycleStage)] = [
            (2, .growth), (1, .firstPurchase), (2, .growth), (3, .growth), (4, .mature),
        ]
        for (sequence, stage) in stages {
            try await bed.run(ApplySummariesJob(summaries: [summary(contact, sequence, stage)]), tenant)
        }
        try await bed.runAll(named: RunPlaybooksJob.name, tenant)
        // The same change once more, as another job would bring it: nothing is done again.
        let changes = try await bed.store.database.query(
            tenant: tenant,
            Statement(
                "select id, from_stage, to_stage from contacts.lifecycle_change where tenant_id = $1 order by sequence",
                [tenant.parameter]))
        #expect(
            (0..<changes.count).map { changes.text($0, 1)! + " " + changes.text($0, 2)! } == [
                "prospect growth", "growth mature",
            ])
        try await bed.run(RunPlaybooksJob(change: changes.uuid(0, 0)!, contact: contact), tenant)
        let told = try await bed.told(CampaignEnrolmentRequested.self, tenant)
        #expect(told.map(\.campaign) == [campaign] && told[0].contact == contact && told[0].channel == .email)
        let tasks = try await bed.store.database.query(
            tenant: tenant, Statement("select count(*) from contacts.task where tenant_id = $1", [tenant.parameter]))
        #expect(tasks.int(0, 0) == 1)
        #expect(try await bed.record("contact", contact, tenant)["lifecycle_group"] == "stable")
    }

    @Test("facts give a stage, and the nightly look finds whoever has fallen silent")
    func night() async throws {
        let bed = try await JobBed(analyticsService, keeping: [])
        let tenant = try await bed.bed.tenant("silent")
        let customer = UUID()
        func order(daysAgo: Double) -> Fact {
            Fact(
                id: UUID(), version: 1, contact: customer, at: Date(timeIntervalSinceNow: -daysAgo * 86_400),
                state: "placed", amount: 500, currency: "EUR")
        }
        func sent() async throws -> [CustomerSummary] {
            let rows = try await bed.admin.query(
                tenant: nil,
                Statement(
                    "select payload from analytics.outbox where tenant_id = $1 and name = $2 order by id",
                    [tenant.parameter, .text(ApplySummariesJob.name)]))
            return try (0..<rows.count).flatMap {
                try JobCoding.decode(ApplySummariesJob.self, from: Array(rows.text($0, 0)!.utf8)).summaries
            }
        }
        let facts = FactStore(outbox: bed.store.outbox)
        try await facts.take([50, 40, 30, 20, 10].map { order(daysAgo: $0) }, kind: "order", bed.context(tenant))
        var last = try await sent().last
        #expect(last?.stage?.stage == .mature && last?.stage?.figures["mean_interval_days"] == 10, "\(last as Any)")
        try await bed.run(ReviewLifecyclesJob(), tenant)
        #expect(try await sent().count == 1, "nobody is due")
        // Two months pass: the facts lie so much further back.
        _ = try await bed.admin.query(
            tenant: nil,
            Statement(
                "update analytics.fact set at = at - interval '60 days' where tenant_id = $1", [tenant.parameter]))
        _ = try await bed.admin.query(
            tenant: nil,
            Statement(
                "update analytics.customer set review_at = review_at - interval '60 days' where tenant_id = $1",
                [tenant.parameter]))
        try await bed.run(ReviewLifecyclesJob(), tenant)
        last = try await sent().last
        #expect(last?.stage?.stage == .ended && last?.stage?.rule == "silent_too_long" && last?.sequence == 2)
        try await bed.run(ReviewLifecyclesJob(), tenant)
        #expect(try await sent().count == 2, "whoever has gone is not looked at every night")
    }
}

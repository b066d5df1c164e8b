import Database
import Foundation
import Jobs
import Records
import TestSupport
import Testing

@testable import Contacts

@Suite("Loyalty", .serialized)
struct LoyaltyTests {
    private static func account(_ client: HTTPClient, expiry: JSONValue = .null) async throws -> String {
        let program = try await client.post(
            "/v1/loyalty_programs",
            [
                "name": "Tea club", "expiry_months": expiry,
                "tiers": [["name": "Silver", "threshold": 100], ["name": "Gold", "threshold": 1000]],
            ])
        #expect(program.status == 201, "\(program.text)")
        let contact = try await client.post("/v1/contacts?allow_duplicates=true", ["given_name": "Ada"])
        let account = try await client.post(
            "/v1/loyalty_accounts", ["contact_id": contact.json["id"]!, "program_id": program.json["id"]!])
        #expect(account.status == 201 && account.json["balance"] == 0, "\(account.text)")
        let second = try await client.post(
            "/v1/loyalty_accounts", ["contact_id": contact.json["id"]!, "program_id": program.json["id"]!])
        #expect(second.status == 409)
        return account.header("location")!
    }

    @Test(
        "points come and go, each reference once, oldest first; a spend is taken back, and the balance is the ledger's")
    func life() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("points")
        let client = platform.client("contacts", token: tenant.key)
        let path = try await Self.account(client, expiry: 12)
        func post(_ body: JSONValue) async throws -> Answer { try await client.post(path + "/entries", body) }
        let earned = Date(timeIntervalSinceNow: -50 * 86_400)
        let first = try await post([
            "kind": "earn", "points": 80, "reference": "order-1", "at": .string(Timestamp.rfc3339(earned)),
        ])
        #expect(first.status == 201 && first.json["balance_after"] == 80, "\(first.text)")
        let lasts = (first.json["expires_at"]?.text.flatMap(Timestamp.parse) ?? earned).timeIntervalSince(earned)
        #expect((365 * 86_400.0...368 * 86_400).contains(lasts), "twelve months, to the end of the day")
        let again = try await post(["kind": "earn", "points": 80, "reference": "order-1"])
        #expect(again.status == 200 && again.json["id"] == first.json["id"], "\(again.text)")
        let other = try await post(["kind": "earn", "points": 81, "reference": "order-1"])
        #expect(other.status == 409 && other.json["code"] == "reference_reused")
        let second = try await post(["kind": "earn", "points": 40])
        #expect(second.json["balance_after"] == 120)
        var account = try await client.get(path).json
        #expect(account["balance"] == 120 && account["tier"] == "Silver" && account["version"] == 1, "\(account)")

        let spend = try await post(["kind": "spend", "points": 100])
        #expect(spend.json["points"] == -100 && spend.json["balance_after"] == 20)
        #expect(
            spend.json["lots"] == [
                ["entry_id": first.json["id"]!, "points": 80], ["entry_id": second.json["id"]!, "points": 20],
            ])
        let tooMuch = try await post(["kind": "spend", "points": 21])
        #expect(tooMuch.status == 409 && tooMuch.json["code"] == "insufficient_points" && tooMuch.json["balance"] == 20)
        let dry = try await client.post(path + "/entries?dry_run=true", ["kind": "spend", "points": 20])
        #expect(dry.status == 200 && dry.json["record"]?["balance_after"] == 0, "\(dry.text)")

        let back = "/v1/loyalty_entries/\(spend.json["id"]!.text!)/reversal"
        let reversed = try await client.post(back, ["reason": "returned"])
        #expect(reversed.status == 201 && reversed.json["points"] == 100 && reversed.json["balance_after"] == 120)
        #expect(try await client.post(back, [:]).json["code"] == "already_reversed")
        #expect(try await client.get("/v1/loyalty_entries/\(first.json["id"]!.text!)").json["remaining"] == 80)
        // An earning that is taken back counts for no tier.
        let gone = try await client.post("/v1/loyalty_entries/\(first.json["id"]!.text!)/reversal", [:])
        #expect(gone.status == 201 && gone.json["points"] == -80, "\(gone.text)")
        account = try await client.get(path).json
        #expect(account["balance"] == 40 && account["earned_12_months"] == 40 && account["tier"] == .null, "\(account)")
        #expect(try await post(["kind": "adjust", "points": 5, "is_debit": true]).json["balance_after"] == 35)
        let proof = try await client.get(path + "/verification").json
        #expect(proof["is_balanced"] == true && proof["ledger"] == 35 && proof["lots"] == 35, "\(proof)")

        let wrong: [JSONValue] = [
            [:], ["kind": "expire", "points": 1], ["kind": "earn", "points": 0],
            ["kind": "earn", "points": .number("1.5")],
            ["kind": "earn", "points": 1, "at": "2090-01-01T00:00:00Z"], ["kind": "earn", "points": 1, "x": 1],
        ]
        for body in wrong { #expect(try await post(body).status == 422, "\(body.encoded)") }
        let entry = "/v1/loyalty_entries/\(first.json["id"]!.text!)"
        #expect(try await client.send("DELETE", entry, headers: ["If-Match": "*"]).status == 405)
    }

    @Test("fifty spends at once never take more than there is")
    func concurrent() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("rush")
        let client = platform.client("contacts", token: tenant.key)
        let path = try await Self.account(client)
        for points in [100, 100, 105] {
            #expect(
                try await client.post(path + "/entries", ["kind": "earn", "points": JSONValue(points)]).status == 201)
        }
        let answers = try await withThrowingTaskGroup(of: Answer.self) { group in
            for number in 0..<50 {
                group.addTask {
                    try await client.post(
                        path + "/entries",
                        ["kind": "spend", "points": 10, "reference": .string("till-\(number)")])
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.count { $0.status == 201 } == 30)
        let refused = answers.filter { $0.status != 201 }
        #expect(refused.allSatisfy { $0.status == 409 && $0.json["code"] == "insufficient_points" })
        let proof = try await client.get(path + "/verification").json
        #expect(proof["balance"] == 5 && proof["is_balanced"] == true && proof["entries"] == 33, "\(proof)")
    }

    @Test("at night expired points go, once, and tiers follow; a merge leaves no point behind")
    func night() async throws {
        let bed = try await JobBed(contactsService)
        let tenant = try await bed.bed.tenant("night")
        let program = try await bed.create(
            "loyalty_program",
            ["name": "Tea", "expiry_months": 12, "tiers": [["name": "Silver", "threshold": 50]]], tenant)
        func account(_ name: String) async throws -> (contact: UUID, account: UUID) {
            let contact = try await bed.create("contact", ["given_name": .string(name)], tenant)
            let body: JSONValue = [
                "contact_id": .string(contact.uuidString.lowercased()),
                "program_id": .string(program.uuidString.lowercased()),
            ]
            return (contact, try await bed.create("loyalty_account", body, tenant))
        }
        let (ada, bob) = (try await account("Ada"), try await account("Bob"))
        func post(_ points: Int, _ account: UUID, daysAgo: Double = 0) async throws {
            let context = bed.bed.context(tenant)
            try await bed.store.database.withTenant(tenant) { transaction in
                let record = try await bed.store.lock(LoyaltyAccount.type, account, in: transaction)!
                _ = try await LoyaltyStore(store: bed.store).post(
                    LoyaltyStore.Posting(
                        kind: points > 0 ? .earn : .spend, points: points,
                        at: Date(timeIntervalSinceNow: -daysAgo * 86_400)), to: record, context, in: transaction)
            }
        }
        try await post(100, ada.account, daysAgo: 400)
        try await post(60, ada.account, daysAgo: 300)
        try await post(-30, ada.account)
        try await post(10, bob.account, daysAgo: 500)
        // As if the 60 had been earned a year and a half ago, but last longer.
        _ = try await bed.admin.query(
            tenant: nil,
            Statement(
                "update contacts.loyalty_entry set at = now() - interval '550 days' where points = 60 and tenant_id = $1",
                [tenant.parameter]))
        let job = try PendingJob(ReviewLoyaltyJob())
        try await bed.run(job, tenant)
        await #expect(throws: JobIsSettled.self) { try await bed.run(job, tenant) }
        try await bed.run(ReviewLoyaltyJob(), tenant)
        func proof(_ account: UUID) async throws -> JSONValue {
            try await bed.store.database.withTenant(tenant) { transaction in
                try await LoyaltyStore(store: bed.store).verify(account, in: transaction)
            }
        }
        // 30 of the 100 were spent, the other 70 went in one entry.
        let left = try await proof(ada.account)
        #expect(left["balance"] == 60 && left["is_balanced"] == true && left["entries"] == 4, "\(left)")
        #expect(try await proof(bob.account)["balance"] == 0)
        let record = try await bed.record("loyalty_account", ada.account, tenant)
        #expect(record["tier"] == .null && record["earned_12_months"] == 0, "\(record)")

        try await post(25, bob.account)
        let repointing = Repointing(store: bed.store, target: "contact")
        let note = MergeNote(merge: UUID(), merged: bob.contact, survivor: ada.contact, version: 1)
        try await bed.store.database.withTenant(tenant) { transaction in
            _ = try await transaction.query(
                "update contacts.contact set merged_into = $2 where tenant_id = $1 and id = $3",
                [tenant.parameter, .uuid(ada.contact), .uuid(bob.contact)])
        }
        try await repointing.move(note, bed.context(tenant))
        let moved = try await bed.record("loyalty_account", bob.account, tenant)
        #expect(moved["contact_id"]?.text == ada.contact.uuidString.lowercased())
        #expect(moved["superseded_by"]?.text == ada.account.uuidString.lowercased() && moved["balance"] == 25)
        try await post(-25, bob.account)
        #expect(try await proof(bob.account)["is_balanced"] == true)
    }
}

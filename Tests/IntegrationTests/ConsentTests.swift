import Contracts
import Database
import Foundation
import Records
import TestSupport
import Testing

@testable import Contacts

@Suite("Consent", .serialized)
struct ConsentTests {
    @Test("consents are kept as they were given, the newest counts, and whoever would reach the person is told")
    func ledger() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let tenant = try await platform.tenant("consents")
        let client = platform.client("contacts", token: tenant.key)
        let ada = try await client.post(
            "/v1/contacts",
            [
                "given_name": "Ada", "emails": [["value": "ada@example.eu"]],
                "channel_preference": [["channel": "sms"], ["channel": "email"]],
            ])
        #expect(ada.status == 201 && ada.json["lifecycle_stage"] == "prospect", "\(ada.text)")
        let path = ada.header("location")!
        func ask(_ purpose: String, _ channel: String? = nil) async throws -> JSONValue {
            let answer = try await client.get(
                "\(path)/contactability?purpose=\(purpose)" + (channel.map { "&channel=\($0)" } ?? ""))
            #expect(answer.status == 200, "\(answer.text)")
            return answer.json
        }
        var marketing = try await ask("marketing")
        #expect(marketing["is_allowed"] == false && marketing["best_channel"] == .null)
        let reasons = marketing["channels"]!.array!.map { "\($0["channel"]!.text!) \($0["reason"]!.text!)" }
        #expect(reasons.prefix(3) == ["sms no_address", "email no_consent", "phone no_address"])
        #expect(try await ask("service")["best_channel"] == "email", "no number for the preferred one is known")

        func say(_ state: String, at: String, evidence: String? = nil) async throws -> Answer {
            let answer = try await client.post(
                path + "/consents",
                [
                    "channel": "email", "purpose": "marketing", "state": .string(state), "at": .string(at),
                    "source": "form", "evidence": JSONValue(evidence),
                ])
            #expect(answer.status == 201, "\(answer.text)")
            return answer
        }
        let granted = try await say("granted", at: "2025-03-01T10:00:00Z", evidence: "ticked on the order form 4711")
        marketing = try await ask("marketing", "email")
        #expect(marketing["is_allowed"] == true && marketing["channels"]!.array![0]["since"] == "2025-03-01T10:00:00Z")
        _ = try await say("withdrawn", at: "2025-04-01T10:00:00Z")
        // Written down late: it was said before.
        _ = try await say("granted", at: "2025-02-01T10:00:00Z")
        #expect(try await ask("marketing", "email")["channels"]!.array![0]["reason"] == "withdrawn")
        let list = try await client.get(path + "/consents")
        #expect(list.json["items"]?.array?.map { $0["state"]! } == ["withdrawn", "granted", "granted"])
        #expect(list.json["current"]?.array?.count == 1 && list.json["current"]?.array?[0]["state"] == "withdrawn")
        // The ledger only grows.
        let entry = granted.header("location")!
        #expect(try await client.get(entry).json["evidence"] == "ticked on the order form 4711")
        #expect(try await client.patch(entry, ["state": "withdrawn"]).status == 405)
        #expect(try await client.send("DELETE", entry, headers: ["If-Match": "*"]).status == 405)
        let undo = try await client.post("/v1/change-sets/\(granted.header("x-change-set")!)/undo", [:])
        #expect(undo.status == 409 && undo.text.contains("not_undoable"), "\(undo.text)")

        let refused = try await client.post(
            "/v1/tasks",
            [
                "subject": "Offer", "contact_id": ada.json["id"]!, "channel": "email", "purpose": "marketing",
            ])
        #expect(refused.status == 409 && refused.json["reason"] == "withdrawn", "\(refused.text)")
        let service = try await client.post(
            "/v1/tasks",
            ["subject": "Answer", "contact_id": ada.json["id"]!, "channel": "email", "purpose": "service"])
        #expect(service.status == 201, "\(service.text)")
        let planned = try await client.post(
            "/v1/activities",
            [
                "contact_id": ada.json["id"]!, "kind": "email", "direction": "outbound", "purpose": "marketing",
                "occurred_at": "2090-01-01T00:00:00Z",
            ])
        #expect(planned.status == 409 && planned.json["code"] == "not_yet_happened", "\(planned.text)")

        #expect(try await client.patch(path, ["do_not_contact": true]).status == 200)
        #expect(try await ask("service", "email")["channels"]!.array![0]["reason"] == "do_not_contact")
        #expect(try await ask("transactional", "email")["is_allowed"] == true)

        // The consents of a contact that became part of another go with it.
        let twin = try await client.post("/v1/contacts?allow_duplicates=true", ["given_name": "Adda"])
        #expect(
            try await client.post(
                twin.header("location")! + "/consents", ["channel": "phone", "purpose": "survey", "state": "withdrawn"]
            ).status == 201)
        let merge = try await client.post("/v1/merges", ["survivor": ada.json["id"]!, "merged": twin.json["id"]!])
        #expect(merge.status == 201, "\(merge.text)")
        try await eventually("the consent has moved") {
            try await client.get(path + "/consents").json["current"]?.array?.count == 2
        }

        let wrong: [(JSONValue, Int)] = [
            ([:], 422), (["channel": "fax", "purpose": "survey", "state": "granted"], 422),
            (["channel": "sms", "purpose": "survey", "state": "granted", "contact_id": ada.json["id"]!], 422),
        ]
        for (body, status) in wrong {
            #expect(try await client.post(path + "/consents", body).status == status, "\(body.encoded)")
        }
        for query in ["", "?purpose=fun", "?purpose=survey&channel=fax", "?purpose=survey&x=1"] {
            #expect(try await client.get(path + "/contactability" + query).status == 400, "\(query)")
        }
        #expect(try await client.get("/v1/contacts/\(UUID().uuidString)/contactability?purpose=survey").status == 404)
    }

    @Test("other services are told of every consent and every wish not to be contacted")
    func events() async throws {
        let bed = try await JobBed(contactsService, keeping: [ConsentChanged.name])
        let tenant = try await bed.bed.tenant("told")
        let quiet = try await bed.create("contact", ["given_name": "Ada"], tenant)
        let blocked = try await bed.create("contact", ["given_name": "Bob", "do_not_contact": true], tenant)
        let consent = try await bed.create(
            "consent",
            [
                "contact_id": .string(quiet.uuidString.lowercased()), "channel": "email", "purpose": "marketing",
                "state": "granted", "at": "2025-03-01T10:00:00Z",
            ], tenant)
        _ = try await bed.store.update(
            Contact.type, blocked, ["do_not_contact": false], precondition: .any, bed.bed.context(tenant))
        let told = try await bed.told(ConsentChanged.self, tenant)
        #expect(
            told.flatMap(\.blocks) == [
                ContactBlock(contact: blocked, version: 1, isBlocked: true),
                ContactBlock(contact: blocked, version: 2, isBlocked: false),
            ])
        let notes = told.flatMap(\.consents)
        #expect(notes.map(\.id) == [consent] && notes[0].state.isGranted && notes[0].contact == quiet)
        #expect(notes[0].state.at == Timestamp.parse("2025-03-01T10:00:00Z"))
    }
}

import Contracts
import Foundation
import Jobs
import Testing

@testable import Accounts

@Suite("Webhooks' rules")
struct WebhookRuleTests {
    @Test("attempts are spaced as configured, a little later by chance, and later still where the receiver asks")
    func delays() {
        var settings = WebhookSettings()
        settings.retries = [5, 300]
        #expect(settings.delay(afterFailures: 1, asked: nil, jitter: 0) == 5)
        #expect(settings.delay(afterFailures: 2, asked: nil, jitter: 1) == 330)
        #expect(settings.delay(afterFailures: 1, asked: .seconds(60), jitter: 0) == 60)
        #expect(settings.delay(afterFailures: 2, asked: .seconds(60), jitter: 0) == 300)
        #expect(settings.delay(afterFailures: 3, asked: .seconds(60), jitter: 0) == nil)
    }

    @Test("an event of many records is told record by record, without personal data, money as money")
    func notes() throws {
        let (first, second) = (UUID(), UUID())
        let at = Date(timeIntervalSince1970: 1_800_000_000)
        let event = OrderChanged(facts: [
            Fact(id: first, version: 3, contact: second, at: at, state: "placed", amount: 120, currency: "EUR"),
            Fact(id: second, version: 1, contact: nil, at: at, state: "deleted"),
        ])
        let notes = try #require(WebhookEvent.named(OrderChanged.name)).notes(try JobCoding.encode(event))
        #expect(notes.map(\.record) == [first, second])
        #expect(notes.map(\.version) == [3, 1])
        #expect(
            notes[0].data == [
                "id": .string(first.uuidString.lowercased()), "version": 3, "state": "placed",
                "at": "2027-01-15T08:00:00Z", "contact_id": .string(second.uuidString.lowercased()),
                "amount": ["amount": 120, "currency": "EUR"],
            ])
        #expect(notes[1].data["contact_id"] == nil && notes[1].data["amount"] == nil)
    }

    @Test("a subscription may name an event, a kind of record, a service, or all")
    func patterns() {
        #expect(
            WebhookEvent.patterns(of: "contacts.contact.created")
                == ["contacts.contact.created", "*", "contacts.*", "contacts.contact.*"])
        #expect(WebhookEvent.patterns.contains("opportunities.order.*"))
        #expect(!WebhookEvent.patterns.contains("contacts.contact.identified"))
    }

    @Test("the log keeps whole characters within a kilobyte")
    func response() {
        #expect(WebhookAttempt.start(of: "short") == "short")
        #expect(WebhookAttempt.start(of: String(repeating: "关", count: 400)).utf8.count == 1_023)
    }
}

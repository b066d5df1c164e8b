import Database
import Foundation
import Tenancy
import Testing

@testable import Records
@testable import Tickets

@Suite("Clocks of a ticket")
struct ServiceClockTests {
    private static let start = Timestamp.parse("2026-11-23T09:00:00Z")!
    private let policy = AppliedPolicy(
        id: "a", calendar: .always, escalationTeam: nil, firstResponse: ["normal": 3600, "urgent": 600],
        resolution: ["normal": 8 * 3600, "urgent": 2 * 3600])

    /// The ticket after `changes` at `hours` after its creation.
    private func ticket(_ before: Record?, at hours: Double, _ changes: [String: String]) -> Record {
        let now = Self.start.addingTimeInterval(hours * 3600)
        let record =
            before
            ?? Record(
                id: .v7(), version: 1, createdAt: now, updatedAt: now, deletedAt: nil,
                values: ["status": ["new"], "priority": ["normal"]])
        var draft = Draft(
            before: before, record: record,
            defaults: TenantDefaults(country: "DE", currency: "EUR", timeZone: "UTC"), user: nil, now: now)
        for (field, value) in changes { draft[field] = value }
        ServiceClock.set(&draft, policy, previous: policy)
        return draft.record
    }

    private func hours(_ record: Record, _ field: String) -> Double? {
        record.time(field).map { ($0.timeIntervalSince(Self.start)).rounded() / 3600 }
    }

    @Test("another priority moves the clocks by what the target changed")
    func priority() {
        let new = ticket(nil, at: 0, [:])
        #expect(hours(new, "resolution_due") == 8)
        let urgent = ticket(new, at: 0.5, ["priority": "urgent"])
        #expect(hours(urgent, "resolution_due") == 2)
        // Ten minutes to answer were over twenty minutes ago: it is due at once.
        #expect(hours(urgent, "first_response_due") == 0.5)
    }

    @Test("a pause is not counted, whenever the priority changes")
    func pauses() {
        let new = ticket(nil, at: 0, [:])
        let pending = ticket(new, at: 1, ["status": "pending"])
        #expect(pending.time("resolution_due") == nil)
        #expect(pending.double("resolution_left")?.rounded() == 25_200.0)

        let raised = ticket(pending, at: 5, ["priority": "urgent"])
        #expect(raised.double("resolution_left")?.rounded() == 3600.0)
        let resumed = ticket(raised, at: 10, ["status": "open"])
        #expect(hours(resumed, "resolution_due") == 11)

        let open = ticket(pending, at: 5, ["status": "open"])
        #expect(hours(open, "resolution_due") == 12)
        #expect(hours(ticket(open, at: 5.5, ["priority": "urgent"]), "resolution_due") == 6)
    }

    @Test("a clock that ran out is not started again; a reopened ticket starts anew")
    func endings() {
        var late = ticket(nil, at: 0, [:])
        late.values["resolution_due"] = [nil]
        #expect(ticket(late, at: 9, ["priority": "urgent"]).time("resolution_due") == nil)

        let solved = ticket(late, at: 10, ["status": "solved"])
        #expect(solved.time("resolution_due") == nil)
        #expect(hours(ticket(solved, at: 20, ["status": "open"]), "resolution_due") == 28)
    }
}

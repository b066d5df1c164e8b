import Database
import Foundation
import Jobs
import Records

/// A clock of a ticket runs out at `due`.
struct EscalateTicketJob: Job {
    enum Clock: String, Codable, CaseIterable, Sendable {
        case firstResponse = "first_response"
        case resolution

        /// The ticket's field that holds the clock's end.
        var field: String { self == .firstResponse ? "first_response_due" : "resolution_due" }
    }

    static let name = "tickets.escalate-ticket"
    let ticket: UUID
    let clock: Clock
    let due: Date
}

/// What happens when a ticket is not answered or solved in time: one priority higher, to the policy's team, counted.
struct Escalation {
    let store: RecordStore

    func run(_ job: EscalateTicketJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            guard let ticket = try await store.lock(Ticket.type, job.ticket, in: transaction) else { return }
            // The clock may have been moved or stopped since the job left for Redis: only the ticket knows.
            guard let due = ticket.time(job.clock.field), abs(due.timeIntervalSince(job.due)) < 0.001 else { return }
            let policy = try await AppliedPolicy.find(ticket.text("sla_policy_id"), transaction)
            let write = try await WriteContext(job: "escalate-ticket", context, transaction)
            var values: [String: [String?]] = [
                "escalations": ["\((ticket.int("escalations") ?? 0) + 1)"],
                job.clock.field: [nil],
            ]
            if let index = Ticket.priorities.firstIndex(of: ticket.text("priority") ?? "normal"), index < 3 {
                values["priority"] = [Ticket.priorities[index + 1]]
            }
            if let team = policy?.escalationTeam { values["team_id"] = [team] }
            try await store.change(Ticket.type, ticket, setting: values, write, in: transaction)
        }
    }
}

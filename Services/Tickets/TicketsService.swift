import Contracts
import Jobs
import Records
import ServiceKit

/// Tickets: what customers ask and complain of, answered in time.
package let ticketsService = ServiceDescription(
    name: "tickets",
    types: [
        Team.type, WorkingCalendarRecord.type, ServiceLevelPolicy.type, Ticket.type, TicketComment.type,
        SurveyResponse.type,
    ],
    migrations: [M0002CreateTickets.migration],
    jobs: { registry, store in
        registry.handle(EscalateTicketJob.self) { job, context in
            try await Escalation(store: store).run(job, context)
        }
        let references = Repointing(store: store, target: "contact")
        registry.on(ContactMerged.self, queue: "tickets.events") { event, context in
            try await references.move(event.merged, to: event.survivor, merge: event.merge, context)
        }
        registry.on(ContactUnmerged.self, queue: "tickets.events") { event, context in
            try await references.undo(merge: event.merge, context)
        }
    }
)

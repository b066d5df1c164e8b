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
        let erasure = PersonErasure(store: store, target: "contact")
        registry.on(ErasureRequested.self, queue: "tickets.events") { event, context in
            try await erasure.run(event, context)
        }
        registry.handle(OpenTicketJob.self) { job, context in try await TicketOpening(store: store).run(job, context) }
        let references = Repointing(store: store, target: "contact")
        registry.on(ContactMerged.self, queue: "tickets.events") { event, context in
            try await references.move(MergeNote(event), context)
        }
        registry.on(ContactUnmerged.self, queue: "tickets.events") { event, context in
            try await references.undo(MergeNote(event), context)
        }
    }
)

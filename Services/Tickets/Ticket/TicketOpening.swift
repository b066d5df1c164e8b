import Contracts
import Database
import Foundation
import Jobs
import Records

/// Opens a ticket for another service: one for each key of a source, however often it is asked.
struct TicketOpening {
    let store: RecordStore

    func run(_ job: OpenTicketJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            let known = try await transaction.query(
                """
                select id from tickets.ticket where tenant_id = $1 and source = $2 and external_id = $3
                order by created_at limit 1
                """, [transaction.tenant.parameter, .text(job.source), .text(job.key)])
            let ticket: UUID
            if let id = known.isEmpty ? nil : known.uuid(0, 0) {
                ticket = id
            } else {
                let write = try await WriteContext(job: "open-ticket", context, transaction)
                ticket = try await store.create(
                    Ticket.type,
                    [
                        "subject": .string(job.subject), "description": JSONValue(job.description),
                        "contact_id": JSONValue(job.contact?.lowercased), "kind": .string(job.kind),
                        "channel": .string(job.channel), "source": .string(job.source), "external_id": .string(job.key),
                    ], write, in: transaction
                ).id
            }
            guard job.source == OpenTicketJob.community, let topic = UUID(uuidString: job.key) else { return }
            let answer = LinkTopicTicketJob(topic: topic, ticket: ticket)
            store.outbox.enqueue(
                [try PendingJob(answer, traceparent: context.traceparent)], in: transaction)
        }
    }
}

import Contracts
import Jobs
import Records
import ServiceKit

/// Contacts: who the customers are, and what passed between them and us.
package let contactsService = ServiceDescription(
    name: "contacts",
    types: [Contact.type, Organization.type, Activity.type],
    migrations: [M0002CreateContacts.migration, M0003CreateMatching.migration],
    queues: ["contacts.matching"],
    endpoints: { store in
        [CustomerSummaryEndpoint(store: store).endpoint] + MergeEndpoints(store: store).all
            + DuplicateEndpoints(store: store).all
    },
    jobs: { registry, store in
        registry.handle(AdoptLeadJob.self) { job, context in
            try await LeadAdoption(store: store).run(job, context)
        }
        registry.handle(ApplySummariesJob.self) { job, context in
            try await SummaryStore(store: store).apply(job.summaries, context)
        }
        let matching = DuplicateMatching(store: store)
        registry.on(ContactIdentified.self, queue: "contacts.matching") { event, context in
            try await matching.take(event, context)
        }
        registry.handle(ScanDuplicatesJob.self) { _, context in try await matching.scan(context) }
        let references = Repointing(store: store, target: "contact")
        registry.on(ContactMerged.self, queue: "contacts.events") { event, context in
            try await references.move(MergeNote(event), context)
        }
        registry.on(ContactUnmerged.self, queue: "contacts.events") { event, context in
            try await references.undo(MergeNote(event), context)
        }
    }
)

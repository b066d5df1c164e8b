import Contracts
import Jobs
import Records
import ServiceKit

/// Contacts: who the customers are, and what passed between them and us.
package let contactsService = ServiceDescription(
    name: "contacts",
    types: [Contact.type, Organization.type, Activity.type],
    migrations: [M0002CreateContacts.migration],
    endpoints: { store in [CustomerSummaryEndpoint(store: store).endpoint] },
    jobs: { registry, store in
        registry.handle(AdoptLeadJob.self) { job, context in
            try await LeadAdoption(store: store).run(job, context)
        }
        registry.handle(ApplySummariesJob.self) { job, context in
            try await SummaryStore(store: store).apply(job.summaries, context)
        }
    }
)

import Contracts
import Jobs
import Records
import ServiceKit

/// Opportunities: from a lead to the money.
package let opportunitiesService = ServiceDescription(
    name: "opportunities",
    types: [Lead.type, Pipeline.type, Stage.type, Opportunity.type, Order.type, Payment.type],
    migrations: [M0002CreateOpportunities.migration],
    endpoints: { store in
        [LeadConversion(store: store).endpoint, StageHistoryEndpoint(store: store).endpoint]
    },
    jobs: { registry, store in
        registry.handle(FinishConversionJob.self) { job, context in
            try await LeadConversion(store: store).finish(job, context)
        }
        let erasure = PersonErasure(store: store, target: "contact")
        registry.on(ErasureRequested.self, queue: "opportunities.events") { event, context in
            try await erasure.run(event, context)
        }
        let references = Repointing(store: store, target: "contact")
        registry.on(ContactMerged.self, queue: "opportunities.events") { event, context in
            try await references.move(MergeNote(event), context)
        }
        registry.on(ContactUnmerged.self, queue: "opportunities.events") { event, context in
            try await references.undo(MergeNote(event), context)
        }
    }
)

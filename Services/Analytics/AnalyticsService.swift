import Contracts
import Jobs
import Records
import ServiceKit

/// Analytics: what the other services' events add up to.
package let analyticsService = ServiceDescription(
    name: "analytics",
    types: [],
    migrations: [M0002CreateFacts.migration, M0003AddLifecycle.migration],
    endpoints: { store in [DashboardEndpoint(store: store).endpoint] },
    jobs: { registry, store in
        let facts = FactStore(outbox: store.outbox)
        func take<E: FactEvent>(_ type: E.Type) {
            registry.on(type, queue: "analytics.events") { event, context in
                try await facts.take(event.facts, kind: E.kind, context)
            }
        }
        take(ContactCreated.self)
        take(ContactUpdated.self)
        take(ActivityLogged.self)
        take(OpportunityChanged.self)
        take(OrderChanged.self)
        take(PaymentChanged.self)
        take(TicketChanged.self)
        take(SurveyAnswered.self)
        // Figures stay; there is nothing of a person here but what lies in queues and files.
        let erasure = PersonErasure(store: store, target: "contact")
        registry.on(ErasureRequested.self, queue: "analytics.events") { event, context in
            try await erasure.run(event, context)
        }
        registry.handle(ReviewLifecyclesJob.self) { _, context in
            try await LifecycleReview(outbox: store.outbox).run(context)
        }
        registry.every(CronSchedule("35 2 * * *")!, ReviewLifecyclesJob())
    }
)

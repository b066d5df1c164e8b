import Contracts
import Jobs
import Records
import ServiceKit

/// Contacts: who the customers are, and what passed between them and us.
package let contactsService = ServiceDescription(
    name: "contacts",
    types: [
        Contact.type, Organization.type, Activity.type, Relationship.type, PlannedTask.type, Appointment.type,
        Notification.type, Segment.type, Consent.type, LoyaltyProgram.type, LoyaltyAccount.type, LoyaltyEntry.type,
        Playbook.type, CallLine.type, Call.type, CommunityTopic.type, CommunityPost.type,
    ],
    migrations: [
        M0002CreateContacts.migration, M0003CreateMatching.migration, M0004CreatePlanner.migration,
        M0005CreateCustomerCare.migration, M0006CreateTimeline.migration, M0007CreateCommunity.migration,
        M0008CreateErasure.migration,
    ],
    queues: ["contacts.matching"],
    endpoints: { store in
        [
            CustomerSummaryEndpoint(store: store).endpoint, RelationshipEndpoint(store: store).endpoint,
            CallEndpoint(store: store).endpoint, CustomerOverview(store: store).endpoint,
            LifecycleEndpoint(store: store).endpoint,
        ] + MergeEndpoints(store: store).all + DuplicateEndpoints(store: store).all
            + SegmentEndpoints(store: store).all + ConsentEndpoints(store: store).all
            + LoyaltyEndpoints(store: store).all + TimelineEndpoints(store: store).all
            + CommunityEndpoints(store: store).all + ErasureEndpoints(store: store).all
    },
    jobs: { registry, store in
        registry.handle(AdoptLeadJob.self) { job, context in
            try await LeadAdoption(store: store).run(job, context)
        }
        registry.handle(ApplySummariesJob.self) { job, context in
            try await SummaryStore(store: store).apply(job.summaries, context)
        }
        registry.handle(RemindOfAppointmentJob.self) { job, context in
            try await AppointmentReminder(store: store).run(job, context)
        }
        let matching = DuplicateMatching(store: store)
        registry.on(ContactIdentified.self, queue: "contacts.matching") { event, context in
            try await matching.take(event, context)
        }
        registry.handle(IndexContactsJob.self) { _, context in try await matching.index(context) }
        registry.handle(ScanDuplicatesJob.self) { job, context in try await matching.scan(job, context) }
        let segments = SegmentRefresh(store: store)
        registry.handle(RefreshSegmentsJob.self) { job, context in try await segments.start(job, context) }
        registry.handle(RefreshSegmentJob.self) { job, context in try await segments.run(job, context) }
        registry.every(CronSchedule("*/15 * * * *")!, RefreshSegmentsJob())
        registry.handle(ReviewLoyaltyJob.self) { _, context in try await LoyaltyReview(store: store).run(context) }
        registry.every(CronSchedule("10 0 * * *")!, ReviewLoyaltyJob())
        registry.handle(RunPlaybooksJob.self) { job, context in
            try await PlaybookRun(store: store).run(job, context)
        }
        let erasure = ContactErasure(store: store)
        registry.handle(EraseContactJob.self) { job, context in try await erasure.run(job, context) }
        registry.handle(RecordErasureJob.self) { job, context in try await erasure.take(job, context) }
        let timeline = TimelineStore(store: store)
        registry.on(CustomerStoriesTold.self, queue: "contacts.events") { event, context in
            try await timeline.take(event.stories, context)
        }
        registry.on(ActivityLogged.self, queue: "contacts.events") { event, context in
            try await timeline.take(.activity, event.facts.map(\.id), context)
        }
        registry.on(PlanChanged.self, queue: "contacts.events") { event, context in
            try await timeline.take(event.source, event.ids, context)
        }
        registry.handle(BackfillTimelineJob.self) { _, context in try await timeline.backfill(context) }
        let topics = TopicEscalation(store: store)
        registry.handle(EscalateTopicJob.self) { job, context in try await topics.run(job, context) }
        registry.handle(LinkTopicTicketJob.self) { job, context in try await topics.link(job, context) }
        let references = Repointing(store: store, target: "contact")
        registry.on(ContactMerged.self, queue: "contacts.events") { event, context in
            try await segments.follow(event.merge, merged: event.merged, context)
            try await timeline.note(MergeNote(event), isUndone: false, context)
            try await references.move(MergeNote(event), context)
        }
        registry.on(ContactUnmerged.self, queue: "contacts.events") { event, context in
            try await segments.follow(event.merge, merged: event.merged, context)
            try await timeline.note(MergeNote(event), isUndone: true, context)
            try await references.undo(MergeNote(event), context)
        }
    },
    liveViews: CallEndpoint.views
)

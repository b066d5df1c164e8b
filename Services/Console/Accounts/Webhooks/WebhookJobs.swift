import Jobs
import Records

/// What workers do for webhooks.
enum WebhookJobs {
    static func register(in registry: inout JobRegistry, _ store: RecordStore) {
        let fanOut = WebhookFanOut(store: store)
        registry.onTenantsWish(WebhookEvent.all.map(\.name), queue: Webhook.queue) { try await fanOut.take($0) }
        let delivery = WebhookDelivery(store: store, settings: .current)
        registry.handle(DeliverWebhookJob.self) { job, context in try await delivery.run(job, context) }
        let replay = WebhookReplay(store: store)
        registry.handle(ReplayWebhookJob.self) { job, context in try await replay.run(job, context) }
        registry.handle(ForgetWebhookDeliveriesJob.self) { job, context in try await job.run(context) }
        registry.every(CronSchedule("23 3 * * *")!, ForgetWebhookDeliveriesJob())
    }
}

import Database
import Foundation
import Jobs
import Records
import Webhooks

/// Sends one delivery, once. `run` tells it from jobs that were replaced: by a replay, or by an earlier delivery that
/// made way.
struct DeliverWebhookJob: Job {
    static let name = "accounts.deliver-webhook"
    static let queue = Webhook.queue
    /// After the events of its tenant: they take no time, and an ordered delivery waits for them.
    static let options = JobOptions().with {
        $0.priority = .low
        $0.cost = 100
    }
    let delivery: UUID
    let run: Int
}

/// Takes events in and makes a delivery of them for every webhook that wants them.
struct WebhookFanOut {
    let store: RecordStore

    func take(_ context: JobContext) async throws {
        guard let event = WebhookEvent.named(context.envelope.name) else { return }
        let notes = try event.notes(context.envelope.payload)
        try await context.once { transaction in
            for webhook in try await WebhookStore.wanting(event.name, in: transaction) {
                let deliveries = notes.enumerated().map { part, note in
                    WebhookStore.NewDelivery(
                        webhook: webhook, event: event.name, eventID: context.jobID, part: part, record: note.record,
                        version: note.version,
                        body: WebhookEvent.body(type: event.name, at: context.jobID.v7Time, data: note.data))
                }
                WebhookStore.insert(deliveries, in: transaction)
                store.outbox.enqueue(
                    try deliveries.map {
                        try PendingJob(
                            DeliverWebhookJob(delivery: $0.id, run: 1), traceparent: context.traceparent)
                    }, in: transaction)
            }
        }
    }
}

/// Makes the attempts: signs, sends, and writes down what came of it.
///
/// A worker that dies between the sending and the writing leaves its job to another, which sends again under the same
/// `webhook-id`: at least once. No thread and no connection to PostgreSQL is held while a receiver takes its time.
struct WebhookDelivery {
    let store: RecordStore
    let client: HTTPDelivery
    let settings: WebhookSettings

    init(store: RecordStore, settings: WebhookSettings) {
        self.store = store
        self.settings = settings
        let timeout = Duration.seconds(settings.timeout)
        // How many go to one receiver at once is the queue's cap on its tenant.
        client = HTTPDelivery(
            .init(
                policy: settings.policy, connectTimeout: min(timeout, .seconds(10)), totalTimeout: timeout,
                perHost: 64, atOnce: 256))
    }

    /// Why a delivery is not sent now.
    private enum Obstacle {
        case disabled
        /// An earlier one of its record is under way; its end starts this one anew.
        case earlierDelivery
        /// An event that may be an earlier one of its record has not been taken in yet.
        case earlierEvent
        case rest(until: Date)
    }

    private struct Due {
        let webhook: UUID
        let body: [UInt8]
        let attempts: Int
        let url: String
        let secrets: [WebhookSecret]
        /// The event of an ordered delivery, all before which have been taken in when nothing is in the way.
        let event: UUID?
        let obstacle: Obstacle?

        init(_ rows: Rows) throws {
            webhook = rows.uuid(0, 0)!
            body = Array(rows.text(0, 1)!.utf8)
            attempts = rows.int(0, 2)!
            url = rows.text(0, 3)!
            secrets = try (rows.text(0, 8) ?? "").split(separator: " ").map { try WebhookSecret(String($0)) }
            event = rows.uuid(0, 9)
            if rows.bool(0, 4) != true {
                obstacle = .disabled
            } else if rows.bool(0, 6) == true {
                obstacle = .earlierDelivery
            } else if rows.bool(0, 7) == true {
                obstacle = .earlierEvent
            } else {
                obstacle = rows.time(0, 5).map { .rest(until: $0) }
            }
        }
    }

    func run(_ job: DeliverWebhookJob, _ context: JobContext) async throws {
        let rows = try await store.database.query(
            tenant: context.tenant, WebhookStore.due(job.delivery, run: job.run, tenant: context.tenant),
            readOnly: true)
        if rows.isEmpty { return }
        let due = try Due(rows)
        if let obstacle = due.obstacle { return try await give(way: obstacle, job, context) }
        let time = Date()
        let outcome = try await send(due, job, at: time)
        let verdict = DeliveryVerdict(outcome, now: Int(time.timeIntervalSince1970))
        let attempt = WebhookAttempt(outcome, verdict, at: time)
        context.logger.debug(
            "webhook", metadata: ["delivery": "\(job.delivery)", "address": "\(outcome.remoteAddress ?? "")"])
        try await context.once { transaction in
            WebhookStore.note(attempt, of: job.delivery, in: transaction)
            if let event = due.event { WebhookStore.noteTaken(event, by: due.webhook, in: transaction) }
            try await conclude(due, verdict, attempt, job, context, transaction)
        }
    }

    private func send(_ due: Due, _ job: DeliverWebhookJob, at time: Date) async throws -> DeliveryOutcome {
        let target: WebhookTarget
        do {
            target = try WebhookTarget(due.url, allowsHTTP: settings.allowsHTTP, policy: settings.policy)
        } catch {
            // It was allowed when it was set, and the configuration has changed since.
            return DeliveryOutcome(
                result: .failure(DeliveryFailure(code: .addressRefused, message: error.message)))
        }
        let signature = try WebhookSignature(
            id: job.delivery.lowercased, timestamp: Int(time.timeIntervalSince1970), body: due.body,
            secrets: due.secrets)
        let request = try DeliveryRequest(target: target, body: due.body, headers: signature.headers)
        let outcome = await client.post(request)
        // Cancelled with the worker, not refused by the receiver: another worker sends it again.
        if case .failure(let failure) = outcome.result, failure.code == .cancelled { throw CancellationError() }
        return outcome
    }

    private func give(way obstacle: Obstacle, _ job: DeliverWebhookJob, _ context: JobContext) async throws {
        switch obstacle {
        case .earlierDelivery: return
        case .earlierEvent:
            try await again(job, at: Date(timeIntervalSinceNow: 0.2), context)
        case .rest(let time):
            try await again(job, at: time.addingTimeInterval(.random(in: 0...5)), context)
        case .disabled:
            try await context.once { transaction in
                let isEnded = try await WebhookStore.end(
                    job.delivery, run: job.run, as: .failed, error: "The webhook is disabled.", wasAttempt: false,
                    in: transaction)
                if isEnded { try await makeWay(for: job, transaction) }
            }
        }
    }

    /// The same run later: no attempt was made.
    private func again(_ job: DeliverWebhookJob, at time: Date, _ context: JobContext) async throws {
        try await context.once { transaction in
            store.outbox.enqueue([try PendingJob(job, runAt: time)], in: transaction)
        }
    }

    private func conclude(
        _ due: Due, _ verdict: DeliveryVerdict, _ attempt: WebhookAttempt, _ job: DeliverWebhookJob,
        _ context: JobContext, _ transaction: TenantTransaction
    ) async throws {
        let error = attempt.failure?.message
        var asked: Duration?
        switch verdict {
        case .delivered:
            guard
                try await WebhookStore.end(
                    job.delivery, run: job.run, as: .delivered, status: attempt.status, error: nil, in: transaction)
            else { return }
            WebhookStore.noteSuccess(due.webhook, in: transaction)
            return try await makeWay(for: job, transaction)
        case .disable: break
        case .retry(let pause, _):
            asked = pause
            if let delay = settings.delay(
                afterFailures: due.attempts + 1, asked: asked, jitter: .random(in: 0...1))
            {
                let time = Date(timeIntervalSinceNow: delay)
                guard
                    try await WebhookStore.postpone(
                        job.delivery, run: job.run, to: time, status: attempt.status, error: error, in: transaction)
                else { return }
                _ = try await WebhookStore.noteFailure(due.webhook, in: transaction)
                let next = DeliverWebhookJob(delivery: job.delivery, run: job.run + 1)
                return store.outbox.enqueue([try PendingJob(next, runAt: time)], in: transaction)
            }
        }
        guard
            try await WebhookStore.end(
                job.delivery, run: job.run, as: .failed, status: attempt.status, error: error, in: transaction)
        else { return }
        let since = try await WebhookStore.noteFailure(due.webhook, in: transaction)
        try await makeWay(for: job, transaction)
        if case .disable = verdict {
            try await disable(due.webhook, "gone", context, transaction)
        } else if since <= Date(timeIntervalSinceNow: -86_400 * Double(settings.patience)) {
            try await disable(due.webhook, "failing", context, transaction)
        }
    }

    /// Lets the record's next delivery go, where one waited for this one.
    private func makeWay(for job: DeliverWebhookJob, _ transaction: TenantTransaction) async throws {
        guard let next = try await WebhookStore.next(after: job.delivery, in: transaction) else { return }
        store.outbox.enqueue([try PendingJob(next)], in: transaction)
    }

    private func disable(
        _ webhook: UUID, _ reason: String, _ context: JobContext, _ transaction: TenantTransaction
    ) async throws {
        guard let record = try await store.lock(Webhook.type, webhook, in: transaction),
            record.text("status") == "active"
        else { return }
        context.logger.notice("webhook disabled", metadata: ["webhook": "\(webhook)", "reason": "\(reason)"])
        let write = try await WriteContext(job: "deliver-webhook", context, transaction)
        try await store.change(
            Webhook.type, record, setting: ["status": ["disabled"], "disabled_reason": [reason]], write,
            in: transaction)
        let detail: JSONValue = ["reason": .string(reason)]
        transaction.later(
            Statement(
                "select platform.append_audit($1, 'webhook.disabled', $2, $3::jsonb, $4, null)",
                [
                    .text(write.actor), .text("webhook:\(webhook.lowercased)"), .text(detail.encoded),
                    .text(write.requestID),
                ]))
    }
}

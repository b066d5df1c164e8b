import Database
import Foundation
import Records
import Webhooks

/// The deliveries of webhooks, their log and the secrets that sign them.
enum WebhookStore {
    // MARK: Secrets

    /// The statement that keeps a webhook's secret.
    static func keep(_ secret: WebhookSecret, of webhook: UUID, tenant: TenantID) -> Statement {
        Statement(
            "insert into accounts.webhook_secret (tenant_id, webhook_id, id, secret) values ($1, $2, $3, $4)",
            [tenant.parameter, .uuid(webhook), .uuid(.v7()), .text(secret.text)])
    }

    /// How long the secret before signs too.
    static let overlap = "24 hours"

    /// A new secret signs from now on, and with it the one before for a day; one before that no longer.
    static func rotate(_ webhook: UUID, in transaction: TenantTransaction) {
        let parameters = [transaction.tenant.parameter, Parameter.uuid(webhook)]
        transaction.later(
            Statement(
                """
                delete from accounts.webhook_secret
                where tenant_id = $1 and webhook_id = $2 and expires_at is not null
                """, parameters))
        transaction.later(
            Statement(
                """
                update accounts.webhook_secret set expires_at = now() + interval '\(overlap)'
                where tenant_id = $1 and webhook_id = $2
                """, parameters))
        transaction.later(keep(.random(), of: webhook, tenant: transaction.tenant))
    }

    /// The secrets that sign now, the newest first.
    static func secrets(_ webhook: UUID, tenant: TenantID) -> Statement {
        Statement(
            """
            select secret, expires_at from accounts.webhook_secret
            where tenant_id = $1 and webhook_id = $2 and (expires_at is null or expires_at > now())
            order by expires_at nulls first
            """, [tenant.parameter, .uuid(webhook)])
    }

    // MARK: New deliveries

    /// A delivery before its first attempt.
    struct NewDelivery {
        let id = UUID.v7()
        let webhook: UUID
        let event: String
        let eventID: UUID
        var part = 0
        var record: UUID?
        var version = 0
        let body: String
    }

    static func insert(_ deliveries: [NewDelivery], in transaction: TenantTransaction) {
        transaction.later(
            Statement(
                """
                insert into accounts.webhook_delivery
                    (tenant_id, id, webhook_id, event, event_id, part, record_id, record_version, body)
                select $1, * from unnest($2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::int[], $7::uuid[],
                    $8::bigint[], $9::text[])
                """,
                [
                    transaction.tenant.parameter, .array(deliveries.map(\.id.lowercased)),
                    .array(deliveries.map(\.webhook.lowercased)), .array(deliveries.map(\.event)),
                    .array(deliveries.map(\.eventID.lowercased)), .array(deliveries.map { String($0.part) }),
                    .array(deliveries.map { $0.record?.lowercased }), .array(deliveries.map { String($0.version) }),
                    .array(deliveries.map(\.body)),
                ]))
    }

    /// The active webhooks that want the event `name`.
    static func wanting(_ name: String, in transaction: TenantTransaction) async throws -> [UUID] {
        let rows = try await transaction.query(
            """
            select id from accounts.webhook
            where tenant_id = $1 and deleted_at is null and status = 'active' and events ?| $2::text[] order by id
            """, [transaction.tenant.parameter, .array(WebhookEvent.patterns(of: name))])
        return (0..<rows.count).map { rows.uuid($0, 0)! }
    }

    // MARK: Sending

    /// Everything that an attempt needs to know. No row for a job that another has replaced.
    ///
    /// What holds an ordered delivery up is read in the same snapshot as its run: an earlier one that ends afterwards
    /// starts a run of its own for this one.
    static func due(_ delivery: UUID, run: Int, tenant: TenantID) -> Statement {
        Statement(
            """
            select d.webhook_id, d.body, d.attempts, w.url, w.deleted_at is null and w.status = 'active',
                case when w.rest_until > now() then w.rest_until end,
                \(isOrdered) and exists (
                    select 1 from accounts.webhook_delivery e
                    where e.tenant_id = d.tenant_id and e.webhook_id = d.webhook_id and e.record_id = d.record_id
                    and e.state = 'waiting'
                    and (e.record_version, e.event_id, e.part) < (d.record_version, d.event_id, d.part)),
                case when \(isOrdered) then platform.has_earlier_event($4, \(untaken), d.event_id) else false end,
                (select string_agg(s.secret, ' ' order by s.expires_at nulls first) from accounts.webhook_secret s
                    where s.tenant_id = d.tenant_id and s.webhook_id = d.webhook_id
                    and (s.expires_at is null or s.expires_at > now())),
                case when \(isOrdered) then d.event_id end
            from accounts.webhook_delivery d
            join accounts.webhook w on w.tenant_id = d.tenant_id and w.id = d.webhook_id
            where d.tenant_id = $1 and d.id = $2 and d.run = $3 and d.state = 'waiting'
            """, [tenant.parameter, .uuid(delivery), .int(run), .text(Webhook.queue)])
    }

    private static let isOrdered = "w.ordered = 'per_record' and d.record_id is not null"
    /// From where events may not have been taken in yet: a day back at most.
    private static let untaken = """
        least(d.event_id, coalesce(w.taken_until, platform.uuid_lower_bound(d.created_at - interval '1 day')))
        """

    /// Remembers that what came before `event` was found taken in, less a minute for transactions that commit late; once
    /// a minute is enough.
    static func noteTaken(_ event: UUID, by webhook: UUID, in transaction: TenantTransaction) {
        let bounds = [60.0, 120].map { Parameter.uuid(.v7LowerBound(at: event.v7Time.addingTimeInterval(-$0))) }
        transaction.later(
            Statement(
                """
                update accounts.webhook set taken_until = $3
                where tenant_id = $1 and id = $2 and (taken_until is null or taken_until < $4)
                """, [transaction.tenant.parameter, .uuid(webhook)] + bounds))
    }

    /// Notes an attempt in the log.
    static func note(_ attempt: WebhookAttempt, of delivery: UUID, in transaction: TenantTransaction) {
        transaction.later(
            Statement(
                """
                insert into accounts.webhook_attempt
                    (tenant_id, delivery_id, id, at, duration_ms, status, error_code, error_message, response)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                """,
                [
                    transaction.tenant.parameter, .uuid(delivery), .uuid(.v7()), .time(attempt.at),
                    .int(attempt.milliseconds), attempt.status.map(Parameter.int) ?? .null,
                    .optional(attempt.failure?.code.rawValue), .optional(attempt.failure?.message),
                    .optional(attempt.response),
                ]))
    }

    /// What a delivery has come to.
    enum End: String {
        case delivered, failed
    }

    /// Ends a run of a delivery. False when another run has taken its place meanwhile: then nothing changes.
    static func end(
        _ delivery: UUID, run: Int, as end: End, status: Int? = nil, error: String?, wasAttempt: Bool = true,
        in transaction: TenantTransaction
    ) async throws -> Bool {
        let rows = try await transaction.query(
            """
            update accounts.webhook_delivery set state = $4, finished_at = now(), next_attempt_at = null,
                attempts = attempts + $7, last_status = $5, last_error = $6
            where tenant_id = $1 and id = $2 and run = $3 and state = 'waiting'
            """,
            [
                transaction.tenant.parameter, .uuid(delivery), .int(run), .text(end.rawValue),
                status.map(Parameter.int) ?? .null, .optional(error), .int(wasAttempt ? 1 : 0),
            ])
        return rows.affected == 1
    }

    /// Puts the next attempt down for `time`. False as in `end`.
    static func postpone(
        _ delivery: UUID, run: Int, to time: Date, status: Int? = nil, error: String?,
        in transaction: TenantTransaction
    ) async throws -> Bool {
        let rows = try await transaction.query(
            """
            update accounts.webhook_delivery set run = run + 1, attempts = attempts + 1, next_attempt_at = $4,
                last_status = $5, last_error = $6
            where tenant_id = $1 and id = $2 and run = $3 and state = 'waiting'
            """,
            [
                transaction.tenant.parameter, .uuid(delivery), .int(run), .time(time),
                status.map(Parameter.int) ?? .null, .optional(error),
            ])
        return rows.affected == 1
    }

    /// In an ordered webhook, the delivery of the same record that comes next, with a new run of it; nil for none.
    static func next(after delivery: UUID, in transaction: TenantTransaction) async throws -> DeliverWebhookJob? {
        let rows = try await transaction.query(
            """
            update accounts.webhook_delivery n set run = n.run + 1, next_attempt_at = now()
            where n.tenant_id = $1 and n.id = (
                select d.id from accounts.webhook_delivery d, accounts.webhook_delivery over
                join accounts.webhook w on w.tenant_id = over.tenant_id and w.id = over.webhook_id
                where over.tenant_id = $1 and over.id = $2 and w.ordered = 'per_record'
                and d.tenant_id = $1 and d.webhook_id = over.webhook_id and d.record_id = over.record_id
                and d.state = 'waiting' and d.id <> over.id
                order by d.record_version, d.event_id, d.part limit 1)
            returning n.id, n.run
            """, [transaction.tenant.parameter, .uuid(delivery)])
        return rows.isEmpty ? nil : DeliverWebhookJob(delivery: rows.uuid(0, 0)!, run: rows.int(0, 1)!)
    }

    // MARK: Figures

    /// Notes a success: to the minute, so that a busy webhook's row is not written by every delivery.
    static func noteSuccess(_ webhook: UUID, in transaction: TenantTransaction) {
        transaction.later(
            Statement(
                """
                update accounts.webhook set last_success_at = now(), consecutive_failures = 0, failing_since = null,
                    rest_until = null
                where tenant_id = $1 and id = $2 and (failing_since is not null or consecutive_failures > 0
                    or last_success_at is null or last_success_at < now() - interval '1 minute')
                """, [transaction.tenant.parameter, .uuid(webhook)]))
    }

    /// Ends the rest that failures brought.
    static func endRest(_ webhook: UUID, in transaction: TenantTransaction) {
        transaction.later(
            Statement(
                "update accounts.webhook set rest_until = null where tenant_id = $1 and id = $2",
                [transaction.tenant.parameter, .uuid(webhook)]))
    }

    /// Notes a failure. From the tenth in a row on, the receiver is left alone for longer and longer, up to a quarter
    /// of an hour, so that what waits for it does not take its tenant's turns again and again.
    ///
    /// Gives since when nothing has succeeded.
    static func noteFailure(_ webhook: UUID, in transaction: TenantTransaction) async throws -> Date {
        let rows = try await transaction.query(
            """
            update accounts.webhook set consecutive_failures = consecutive_failures + 1,
                failing_since = coalesce(failing_since, now()),
                rest_until = case when consecutive_failures >= 9 then now()
                    + least(interval '15 minutes', interval '5 seconds' * power(2, least(consecutive_failures - 9, 10)))
                    end
            where tenant_id = $1 and id = $2
            returning failing_since
            """, [transaction.tenant.parameter, .uuid(webhook)])
        return rows.time(0, 0) ?? Date()
    }
}

/// One attempt, as the log keeps it.
struct WebhookAttempt: Sendable {
    let at: Date
    let milliseconds: Int
    var status: Int?
    var failure: DeliveryFailure?
    /// The first 1,024 bytes of what the receiver said.
    var response: String?

    /// What came of a transfer, judged by `verdict`.
    init(_ outcome: DeliveryOutcome, _ verdict: DeliveryVerdict, at time: Date) {
        at = time
        milliseconds = Int(outcome.duration / .milliseconds(1))
        if case .success(let answer) = outcome.result {
            status = answer.status
            response = Self.start(of: answer.body)
        }
        switch verdict {
        case .delivered: failure = nil
        case .retry(_, let reason), .disable(let reason): failure = reason
        }
    }

    /// Whole characters within 1,024 bytes.
    static func start(of text: String) -> String {
        var kept = text.prefix(1_024)
        while kept.utf8.count > 1_024 { kept.removeLast() }
        return String(kept)
    }
}

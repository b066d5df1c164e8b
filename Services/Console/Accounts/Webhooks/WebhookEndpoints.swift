import Database
import Foundation
import Jobs
import Records
import ServiceKit
import Webhooks

/// What a webhook's owner does with it: its secret, a try, and what failed once more.
struct WebhookEndpoints {
    let store: RecordStore

    var all: [Endpoint] {
        [secret, rotateSecret, test, replayAll] + WebhookDeliveryEndpoints(store: store).all
    }

    // MARK: Secret

    private static let secretSchema: JSONValue = [
        "type": "object", "required": ["secret", "previous_expires_at"],
        "properties": [
            "secret": ["type": "string"], "previous_expires_at": ["type": ["string", "null"], "format": "date-time"],
        ],
    ]

    private var secret: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = Self.secretSchema
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/webhooks/{id}/secret", "What the webhook's deliveries are signed with",
            documentation: documentation
        ) { request in
            try request.allow([])
            let id = try await store.get(Webhook.type, try request.id(), fields: [], request.context).id
            return EndpointResponse(json: try await secret(of: id, request.context))
        }
    }

    private func secret(of id: UUID, _ context: WriteContext) async throws -> JSONValue {
        let rows = try await store.database.query(
            tenant: context.tenant, WebhookStore.secrets(id, tenant: context.tenant), readOnly: true)
        guard rows.count > 0 else { throw Problem.notFound("webhook") }
        let expiry = rows.count > 1 ? rows.time(1, 1) : nil
        return [
            "secret": JSONValue(rows.text(0, 0)), "previous_expires_at": JSONValue(expiry.map(Timestamp.rfc3339)),
        ]
    }

    /// The answer is read afterwards: a secret must not be kept with an idempotency key.
    private var rotateSecret: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.idempotencyKey]
            $0.response = Self.secretSchema
            $0.refusals = [404, 409, 422]
        }
        return Endpoint(
            .post, "/v1/webhooks/{id}/secret", "A new secret; for 24 hours the one before signs as well",
            documentation: documentation
        ) { request in
            try request.allow([])
            let (id, context, author) = (try request.id(), request.context, Author(request))
            _ = try await store.writing(Webhook.type, dryRun: false, context) { transaction in
                let scope = try context.scope(of: .update, on: Webhook.type)
                _ = try await store.found(Webhook.type, id, scope, context, in: transaction)
                WebhookStore.rotate(id, in: transaction)
                transaction.later(author.audit("webhook.secret_rotated", "webhook:\(id.lowercased)"))
                return WriteResult(status: 200, id: nil, version: nil, body: [])
            }
            return EndpointResponse(json: try await secret(of: id, context))
        }
    }

    // MARK: Deliveries by hand

    private var test: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.idempotencyKey]
            $0.status = 202
            $0.response = WebhookDeliveryEndpoints.summarySchema
            $0.refusals = [404, 409, 422]
            $0.links = [("id", "/v1/webhook-deliveries/{id}")]
        }
        return Endpoint(
            .post, "/v1/webhooks/{id}/test", "Send an event webhook.test, to see whether it arrives",
            documentation: documentation
        ) { request in
            try request.allow([])
            let (id, context) = (try request.id(), request.context)
            let result = try await store.writing(Webhook.type, dryRun: false, context) { transaction in
                try await active(id, context, transaction)
                let delivery = WebhookStore.NewDelivery(
                    webhook: id, event: "webhook.test", eventID: .v7(),
                    body: WebhookEvent.body(
                        type: "webhook.test", at: Date(), data: ["webhook_id": .string(id.lowercased)]))
                WebhookStore.insert([delivery], in: transaction)
                store.outbox.enqueue(
                    [
                        try PendingJob(
                            DeliverWebhookJob(delivery: delivery.id, run: 1), traceparent: context.traceparent)
                    ], in: transaction)
                let body = try await WebhookDeliveryEndpoints.summary(delivery.id, in: transaction)
                return WriteResult(status: 202, id: delivery.id, version: nil, body: body)
            }
            return EndpointResponse(result, to: request, at: "/v1/webhook-deliveries")
        }
    }

    /// The webhook, locked, its rest over: whoever asks by hand has mended it. 409 while it is disabled.
    private func active(_ id: UUID, _ context: WriteContext, _ transaction: TenantTransaction) async throws {
        let scope = try context.scope(of: .update, on: Webhook.type)
        let record = try await store.found(Webhook.type, id, scope, context, in: transaction)
        if record.text("status") != "active" { throw WebhookReplay.isDisabled }
        WebhookStore.endRest(id, in: transaction)
    }

    private var replayAll: Endpoint {
        let time: JSONValue = [
            "type": "string", "description": "Since when: a time as in RFC 3339, at most 30 days ago.",
            "pattern":
                #"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"#,
        ]
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "required": ["since"], "additionalProperties": false, "properties": ["since": time],
            ]
            $0.status = 202
            $0.response = EndpointDocumentation.startsJob.response
            $0.refusals = [404, 409]
            $0.links = EndpointDocumentation.startsJob.links
        }
        return Endpoint(
            .post, "/v1/webhooks/{id}/replay", "Send again, by a job, what failed since a time",
            documentation: documentation
        ) { request in
            try request.allow([])
            let (id, context) = (try request.id(), request.context)
            let body = try await request.json()
            guard let members = body.object else {
                throw Problem.invalid("", "not_an_object", "An object belongs here.")
            }
            for name in members.keys.sorted() where name != "since" {
                throw Problem.invalid("/\(name)", "unknown_field", "There is no such field.")
            }
            guard let since = members["since"]?.text.flatMap(Timestamp.parse) else {
                throw Problem.invalid("/since", "not_a_time", "A time as in RFC 3339 belongs here.")
            }
            let job = try PendingJob(
                ReplayWebhookJob(webhook: id, since: since, before: Date()), traceparent: context.traceparent)
            let result = try await store.start(job, note: "deliveries", context) { transaction in
                try await active(id, context, transaction)
            }
            return EndpointResponse(started: result, for: request)
        }
    }
}

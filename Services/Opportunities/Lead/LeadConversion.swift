import Contracts
import Database
import Foundation
import Jobs
import Records
import ServiceKit
import Tenancy

/// A lead becomes contact, organization and opportunity: a flow of two jobs across two services.
///
/// 1. `POST /v1/leads/{id}/conversion` marks the lead and asks Contacts to adopt it, in one transaction.
/// 2. Contacts makes contact and organization and answers, in one transaction.
/// 3. Here the opportunity is made and the lead marked as converted, in one transaction.
///
/// Each step happens once and the next follows from its commit, so the flow ends, whatever dies on the way.
struct LeadConversion {
    let store: RecordStore

    var endpoint: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "additionalProperties": false,
                "properties": [
                    "name": [
                        "type": "string", "minLength": 1, "maxLength": 200,
                        "pattern": #"^[A-Za-z0-9][A-Za-z0-9 ]*[A-Za-z0-9]$"#,
                    ],
                    "amount": [
                        "type": "object", "required": ["amount", "currency"], "additionalProperties": false,
                        "properties": [
                            "amount": ["type": "integer", "minimum": 0, "maximum": 1_000_000_000],
                            "currency": ["type": "string", "enum": ["EUR", "USD", "CNY"]],
                        ],
                    ],
                ],
            ]
            $0.response = RecordDocumentation.record
            $0.status = 202
            $0.refusals = [404, 409]
        }
        return Endpoint(.post, "/v1/leads/{id}/conversion", "Convert a lead", documentation: documentation) { request in
            try request.allow([])
            let id = try request.id()
            let body = try await request.json()
            let wanted = try Self.wanted(body, request.context.defaults)
            let scope = try request.context.scope(of: .update, on: Lead.type)
            _ = try request.context.scope(of: .create, on: Opportunity.type)
            let result = try await store.writing(Lead.type, dryRun: false, request.context) { transaction in
                let lead = try await store.found(Lead.type, id, scope, request.context, in: transaction)
                guard try await Opportunity.hasFirstStage(transaction) else {
                    throw Opportunity.noStage("/pipeline_id")
                }
                guard lead.text("conversion") != "running", lead.text("conversion") != "done" else {
                    throw Problem(409, "already_converted", "The lead is being converted, or is converted already.")
                }
                var values = wanted
                values["conversion"] = ["running"]
                let job = AdoptLeadJob(
                    lead: id, givenName: lead.text("given_name"), familyName: lead.text("family_name"),
                    email: lead.text("email"), phone: lead.text("phone"), company: lead.text("company"),
                    owner: lead.uuid("owner_id"))
                store.outbox.enqueue([try PendingJob(job, traceparent: request.context.traceparent)], in: transaction)
                let marked = try await store.change(Lead.type, lead, setting: values, request.context, in: transaction)
                return WriteResult(
                    status: 202, id: id, version: marked.version, body: request.context.json(marked, Lead.type))
            }
            return EndpointResponse(result, to: request)
        }
    }

    private static func wanted(_ body: JSONValue, _ defaults: TenantDefaults) throws -> [String: [String?]] {
        guard let members = body.object else { throw Problem.invalid("", "not_an_object", "An object belongs here.") }
        let reader = FieldReader(defaults: defaults)
        var values: [String: [String?]] = [:]
        for (name, value) in members {
            switch name {
            case "name": values["deal_name"] = try reader.read(value, as: Lead.type.field("deal_name")!, at: "/name")
            case "amount":
                values["deal_amount"] = try reader.read(value, as: Lead.type.field("deal_amount")!, at: "/amount")
            default: throw Problem.invalid("/\(name)", "unknown_field", "There is no such field.")
            }
        }
        return values
    }

    /// The last step: the opportunity, and the lead's end.
    func finish(_ job: FinishConversionJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            let write = try await WriteContext(job: "finish-conversion", context, transaction)
            guard let lead = try await store.lock(Lead.type, job.lead, in: transaction) else { return }
            var body: [String: JSONValue] = [
                "name": JSONValue(lead.text("deal_name") ?? lead.text("company") ?? lead.text("family_name") ?? "Deal"),
                "contact_id": .string(job.contact.lowercased),
                "organization_id": JSONValue(job.organization?.lowercased),
                "owner_id": JSONValue(lead.text("owner_id")), "team_id": JSONValue(lead.text("team_id")),
            ]
            if let amount = lead.money("deal_amount") {
                body["amount"] = ["amount": JSONValue(amount.amount), "currency": .string(amount.currency)]
            }
            let fields = body
            let opportunity: Record
            do {
                opportunity = try await transaction.savepoint {
                    try await store.create(Opportunity.type, .object(fields), write, in: transaction)
                }
            } catch let problem as Problem where problem.status < 500 {
                // The last stage may have gone meanwhile: the lead is free again, for whoever mends that.
                try await store.change(
                    Lead.type, lead, setting: ["conversion": ["none"], "contact_id": [job.contact.lowercased]], write,
                    in: transaction)
                return
            }
            try await store.change(
                Lead.type, lead,
                setting: [
                    "conversion": ["done"], "status": ["qualified"], "contact_id": [job.contact.lowercased],
                    "organization_id": [job.organization?.lowercased], "opportunity_id": [opportunity.id.lowercased],
                ], write, in: transaction)
            try store.outbox.publish(
                LeadConverted(lead: job.lead, contact: job.contact, opportunity: opportunity.id), in: transaction,
                traceparent: context.traceparent)
        }
    }
}

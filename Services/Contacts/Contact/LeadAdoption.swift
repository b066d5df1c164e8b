import Contracts
import Database
import Foundation
import Jobs
import Records

/// Takes a lead's person in as a contact and answers with its id. The lead's id is the contact's external id, so that
/// asking twice gives the same contact, whatever died in between.
struct LeadAdoption {
    let store: RecordStore

    func run(_ job: AdoptLeadJob, _ context: JobContext) async throws {
        try await context.once { transaction in
            let write = try await WriteContext(job: "adopt-lead", context, transaction)
            let organization = try await organization(job, write, transaction, context)
            let contact = try await contact(job, organization, write, transaction, context)
            let answer = FinishConversionJob(lead: job.lead, contact: contact, organization: organization)
            store.outbox.enqueue(
                [try PendingJob(answer, traceparent: context.traceparent)], in: transaction)
        }
    }

    private func organization(
        _ job: AdoptLeadJob, _ write: WriteContext, _ transaction: TenantTransaction, _ context: JobContext
    ) async throws -> UUID? {
        guard let company = job.company else { return nil }
        let known = try await transaction.query(
            """
            select id from contacts.organization
            where tenant_id = $1 and lower(name) = lower($2) and deleted_at is null order by created_at limit 1
            """, [transaction.tenant.parameter, .text(company)])
        if let id = known.isEmpty ? nil : known.uuid(0, 0) { return id }
        return try await store.create(Organization.type, ["name": .string(company)], write, in: transaction).id
    }

    private func contact(
        _ job: AdoptLeadJob, _ organization: UUID?, _ write: WriteContext, _ transaction: TenantTransaction,
        _ context: JobContext
    ) async throws -> UUID {
        let lead = job.lead.lowercased
        let known = try await transaction.query(
            """
            select id from contacts.contact
            where tenant_id = $1 and source = 'lead' and external_id = $2 and deleted_at is null
            """, [transaction.tenant.parameter, .text(lead)])
        if let id = known.isEmpty ? nil : known.uuid(0, 0) { return id }
        var body: [String: JSONValue] = [
            "source": "lead", "external_id": .string(lead), "given_name": JSONValue(job.givenName),
            "family_name": JSONValue(job.familyName), "organization_id": JSONValue(organization?.lowercased),
            "owner_id": JSONValue(job.owner?.lowercased),
        ]
        if let email = job.email { body["emails"] = [["value": .string(email), "primary": true]] }
        if let phone = job.phone { body["phones"] = [["value": .string(phone), "primary": true]] }
        return try await store.create(Contact.type, .object(body), write, in: transaction).id
    }
}

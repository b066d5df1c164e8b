import Database
import Jobs
import Tenancy

extension WriteContext {
    /// For a job's handler, with the tenant's settings as they are now.
    package init(job name: String, _ context: JobContext, _ transaction: TenantTransaction) async throws {
        self.init(
            tenant: transaction.tenant, job: name, defaults: try await TenantDefaults(transaction),
            requestID: "job:\(context.jobID.lowercased)", traceparent: context.traceparent)
    }
}

extension TenantDefaults {
    /// The settings of the transaction's tenant.
    package convenience init(_ transaction: TenantTransaction) async throws {
        let rows = try await transaction.query(
            "select default_country, default_currency, time_zone, custom_fields from platform.tenant_settings()")
        guard rows.count == 1 else { throw PermanentFailure(code: "no_tenant", message: "the tenant is gone") }
        self.init(
            country: rows.text(0, 0)!, currency: rows.text(0, 1)!, timeZone: rows.text(0, 2)!,
            customFields: CustomFields(json: rows.text(0, 3)))
    }
}

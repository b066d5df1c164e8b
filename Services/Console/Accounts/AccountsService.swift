import Jobs
import Records
import ServiceKit
import Tenancy

/// Accounts: who belongs to a tenant, what they may do, how they prove who they are, and the trail of all changes to that;
/// the webhooks that tell a tenant's own systems what happens, and the fields that tenants add to record types.
package let accountsService = ServiceDescription(
    name: "accounts",
    types: [Webhook.type, CustomFieldDefinition.type],
    migrations: [M0002CreateAccounts.migration, M0010CreateWebhooks.migration, M0011CreateCustomFields.migration],
    queues: [Webhook.queue],
    // What is sent waits for its receiver most of the time: many at once, but few of one tenant.
    shares: [Webhook.queue: QueueShare(concurrency: 256, perTenant: 4)],
    configure: WebhookSettings.bootstrap,
    endpoints: { store in
        let passwords = PasswordVerifier()
        return UserEndpoints(store: store).all
            + InvitationEndpoints(store: store, passwords: passwords).all
            + ProfileEndpoints(store: store, passwords: passwords).all
            + SecondFactorEndpoints(store: store).all
            + RoleEndpoints(store: store).all
            + KeyEndpoints(store: store).all
            + SettingsEndpoints(store: store).all
            + AuditEndpoints(store: store).all
            + WebhookEndpoints(store: store).all
    },
    jobs: { registry, store in
        registry.handle(VerifyAuditTrailJob.self) { _, context in
            try await AuditVerification(store: store).run(context)
        }
        WebhookJobs.register(in: &registry, store)
    }
)

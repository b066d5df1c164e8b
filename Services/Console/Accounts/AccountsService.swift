import Jobs
import Records
import ServiceKit
import Tenancy

/// Accounts: who belongs to a tenant, what they may do, how they prove who they are, and the trail of all changes to that.
package let accountsService = ServiceDescription(
    name: "accounts",
    types: [],
    migrations: [M0002CreateAccounts.migration],
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
    },
    jobs: { registry, store in
        registry.handle(VerifyAuditTrailJob.self) { _, context in
            try await AuditVerification(store: store).run(context)
        }
    }
)

import Jobs
import Records
import ServiceKit

/// Accounts: who belongs to a tenant, what they may do, and how they prove who they are.
package let accountsService = ServiceDescription(
    name: "accounts",
    types: [],
    migrations: []
)

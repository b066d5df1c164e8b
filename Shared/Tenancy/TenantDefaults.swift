/// What a tenant's values are read by: what stands where a country or a currency is left out, where its days begin, and
/// the fields it added. One instance for all requests of a bearer: a request hands it on to whoever reads a value.
package final class TenantDefaults: Sendable {
    package let country: String
    package let currency: String
    package let timeZone: String
    /// The fields that the tenant added.
    package let customFields: CustomFields

    /// Of no tenant: for values whose reading must not depend on who reads.
    package static let neutral = TenantDefaults(country: "US", currency: "USD", timeZone: "UTC")

    package init(country: String, currency: String, timeZone: String, customFields: CustomFields = .none) {
        self.country = country
        self.currency = currency
        self.timeZone = timeZone
        self.customFields = customFields
    }
}

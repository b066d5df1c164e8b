import Foundation

/// One person as the matcher sees it: the stored values, unchanged. Any of them may be missing; a missing value
/// neither speaks for nor against a match.
package struct MatchProfile: Sendable, Equatable {
    package var id: UUID
    package var givenName: String?
    package var familyName: String?
    /// Read only where both names are missing; "Family, Given", "Given Family" and Chinese order are understood.
    package var displayName: String?
    /// "YYYY-MM-DD" or "YYYYMMDD"; a date that does not exist counts as missing.
    package var birthDate: String?
    /// Taken from the street where it is missing here.
    package var houseNumber: String?
    package var street: String?
    package var addressLine2: String?
    package var city: String?
    package var postalCode: String?
    package var region: String?
    package var country: String?
    /// The first eight are compared, as are the first eight of the other lists.
    package var emails: [String]
    /// E.164, or at least digits.
    package var phones: [String]
    /// Numbers that only one person has, such as a national id.
    package var identifiers: [String]

    /// A profile with the given values and nothing else.
    package init(
        id: UUID, givenName: String? = nil, familyName: String? = nil, displayName: String? = nil,
        birthDate: String? = nil, houseNumber: String? = nil, street: String? = nil, addressLine2: String? = nil,
        city: String? = nil, postalCode: String? = nil, region: String? = nil, country: String? = nil,
        emails: [String] = [], phones: [String] = [], identifiers: [String] = []
    ) {
        self.id = id
        self.givenName = givenName
        self.familyName = familyName
        self.displayName = displayName
        self.birthDate = birthDate
        self.houseNumber = houseNumber
        self.street = street
        self.addressLine2 = addressLine2
        self.city = city
        self.postalCode = postalCode
        self.region = region
        self.country = country
        self.emails = emails
        self.phones = phones
        self.identifiers = identifiers
    }
}

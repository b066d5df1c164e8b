import Database
import Foundation
import Matching
import Records

extension MatchProfile {
    /// The columns of a contact that `init(_:_:)` reads, in its order.
    static let columns = """
        id, given_name, family_name, display_name, birth_date, emails, phones, addresses, identifiers
        """

    /// Reads row `row` of a result that selected `columns`.
    init(_ rows: Rows, _ row: Int) {
        self.init(
            id: rows.uuid(row, 0)!, givenName: rows.text(row, 1), familyName: rows.text(row, 2),
            displayName: rows.text(row, 3), birthDate: rows.text(row, 4), emails: rows.text(row, 5),
            phones: rows.text(row, 6), addresses: rows.text(row, 7), identifiers: rows.text(row, 8))
    }

    /// A contact that is about to be written.
    init(_ record: Record) {
        self.init(
            id: record.id, givenName: record.text("given_name"), familyName: record.text("family_name"),
            displayName: record.text("display_name"), birthDate: record.text("birth_date"),
            emails: record.text("emails"), phones: record.text("phones"), addresses: record.text("addresses"),
            identifiers: record.text("identifiers"))
    }

    private init(
        id: UUID, givenName: String?, familyName: String?, displayName: String?, birthDate: String?, emails: String?,
        phones: String?, addresses: String?, identifiers: String?
    ) {
        func entries(_ text: String?) -> [JSONValue] {
            guard let text, text != "[]" else { return [] }
            return (try? JSONParser.parse(text.utf8))?.array ?? []
        }
        func values(_ text: String?) -> [String] { entries(text).compactMap { $0["value"]?.text } }
        let address = entries(addresses).first
        self.init(id: id)
        self.givenName = givenName
        self.familyName = familyName
        self.displayName = displayName
        self.birthDate = birthDate
        houseNumber = address?["house_number"]?.text
        street = address?["street"]?.text
        addressLine2 = address?["additional"]?.text
        city = address?["city"]?.text
        postalCode = address?["postal_code"]?.text
        region = address?["region"]?.text
        country = address?["country"]?.text
        self.emails = values(emails)
        self.phones = values(phones)
        self.identifiers = values(identifiers)
    }

    /// The fields of a contact that tell who it is.
    static let identifyingFields = [
        "given_name", "family_name", "display_name", "birth_date", "emails", "phones", "addresses", "identifiers",
    ]
}

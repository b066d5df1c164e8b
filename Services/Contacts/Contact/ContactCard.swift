import Database
import Foundation
import Records
import VCard

/// Contacts as vCards: what vCard has a property for stands in it, the rest in properties `X-GUANXI-…`, so that a card
/// that we wrote gives the same contact again.
enum ContactCard {
    static let format = RecordFormat(
        name: "vcard", mediaTypes: ["text/vcard", "application/vcard", "text/x-vcard"], fileExtension: "vcf",
        reader: { ContactCardReader(from: $0) },
        write: { record, out in VCardWriter().append(card(record), to: &out) },
        property: property)

    /// What begins the names of properties and parameters that vCard does not know.
    static let prefix = "X-GUANXI-"
    /// Marks a card as ours; its value is the version of this mapping.
    static let mark = prefix + "CARD"
    /// Names what is null where reading would otherwise give its usual value.
    static let nothing = prefix + "NULL"

    /// Fields that a property of vCard holds as a whole.
    static let texts = [("FN", "display_name"), ("TITLE", "job_title"), ("ROLE", "occupation"), ("BDAY", "birth_date")]
    /// Lists of values that are each a property.
    static let channels = [("EMAIL", "emails"), ("TEL", "phones"), ("X-SOCIALPROFILE", "socials")]
    /// Fields that stand in properties of vCard; all others have a property of our own.
    static let standard = Set(
        (texts + channels).map(\.1) + ["given_name", "family_name", "addresses", "needs"])

    /// The property of our own for a field.
    static func own(_ field: String) -> String {
        prefix + field.uppercased().replacing("_", with: "-")
    }

    /// `/emails/0/value` is about EMAIL.
    private static func property(_ pointer: String) -> String {
        let field = pointer.split(separator: "/").first.map(String.init) ?? ""
        let named = (texts + channels).first { $0.1 == field }?.0
        switch field {
        case "": return ""
        case "given_name", "family_name": return "N"
        case "addresses": return "ADR"
        case "needs": return "CATEGORIES"
        case "organization_id": return "ORG"
        default: return named ?? own(field)
        }
    }

    // MARK: Writing

    /// The card of a contact, given as JSON with all or some of its fields.
    static func card(_ record: [String: JSONValue]) -> VCard {
        var card = VCard(properties: [VCard.Property(mark, "1")])
        func add(_ property: VCard.Property) { card.properties.append(property) }
        let (given, family) = (record["given_name"]?.text, record["family_name"]?.text)
        for (name, field) in texts {
            if let text = record[field]?.text { add(VCard.Property(name, text)) }
            if name == "FN", given != nil || family != nil {
                add(VCard.Property("N", components: [family ?? "", given ?? "", "", "", ""]))
            }
        }
        for (name, field) in channels {
            for entry in record[field]?.array ?? [] { add(channel(name, entry)) }
        }
        for entry in record["addresses"]?.array ?? [] { add(address(entry)) }
        if let needs = record["needs"]?.array, !needs.isEmpty {
            add(VCard.Property("CATEGORIES", .list(needs.compactMap(\.text))))
        }
        var nulls: [String] = []
        for field in Contact.type.fields where !field.isReadOnly {
            guard let value = record[field.name] else { continue }
            if value == .null {
                if field.defaultValue != nil { nulls.append(field.name) }
            } else if !standard.contains(field.name), value != field.defaultValue {
                add(VCard.Property(own(field.name), value.text ?? value.encoded))
            }
        }
        if !nulls.isEmpty { add(VCard.Property(nothing, nulls.joined(separator: " "))) }
        if let id = record["id"]?.text { add(VCard.Property("UID", "urn:uuid:\(id)")) }
        if let time = record["updated_at"]?.text.flatMap({ Timestamp.parse($0) }) {
            add(VCard.Property("REV", revision(time)))
        }
        return card
    }

    /// RFC 6350 §4.3.5: `20261122T115817Z`.
    private static func revision(_ time: Date) -> String {
        Timestamp.rfc3339(time).prefix(19).filter { $0 != "-" && $0 != ":" } + "Z"
    }

    private static func channel(_ name: String, _ entry: JSONValue) -> VCard.Property {
        VCard.Property(name, parameters: parameters(entry), .text(entry["value"]?.text ?? ""))
    }

    private static func address(_ entry: JSONValue) -> VCard.Property {
        func text(_ member: String) -> String? { entry[member]?.text }
        // Street and number are two values of one component: to others they read as one line.
        let street =
            text("house_number").map { [text("street") ?? "", $0] } ?? [text("street")].compactMap { $0 }
        let components: [[String]] =
            [[], [text("additional")].compactMap { $0 }, street]
            + ["city", "region", "postal_code", "country"].map { [text($0)].compactMap { $0 } }
        return VCard.Property("ADR", parameters: parameters(entry), .structured(components))
    }

    /// Kind, rank and the rest of an entry of a list.
    private static func parameters(_ entry: JSONValue) -> [VCard.Parameter] {
        let members = entry.object ?? [:]
        var parameters: [VCard.Parameter] = []
        switch members["kind"]?.text {
        case "mobile": parameters.append(VCard.Parameter("TYPE", ["cell"]))
        case "other", nil: break
        case let kind?: parameters.append(VCard.Parameter("TYPE", [kind]))
        }
        if members["primary"] == true { parameters.append(VCard.Parameter("PREF", ["1"])) }
        if members["verified"] == true { parameters.append(VCard.Parameter(prefix + "VERIFIED", ["true"])) }
        let nulls = ["kind", "primary", "verified"].filter { members[$0] == .null }
        if !nulls.isEmpty { parameters.append(VCard.Parameter(nothing, nulls)) }
        return parameters
    }
}

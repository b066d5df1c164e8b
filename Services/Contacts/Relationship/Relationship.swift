import Foundation
import Records

/// What two people, or a person and a company, are to each other; kept once, read from both sides.
enum Relationship {
    static let type = RecordType(
        "relationship", plural: "relationships", schema: "contacts", label: Label("Relationship", "关系"),
        fields: [
            Field("contact_id", .reference("contact"), Label("Contact", "联系人")).required(),
            Field("kind", .choice(kinds), Label("Kind", "关系类型")).required(),
            Field("other_contact_id", .reference("contact"), Label("Other contact", "对方联系人")),
            Field("organization_id", .reference("organization"), Label("Organization", "公司")),
            Field("since", .date, Label("Since", "始于")),
            Field("note", .text(max: 1_000, multiline: true), Label("Note", "备注")),
        ],
        rules: RecordRules(prepare: prepare))

    /// Read from the contact: "is … of", or "was …".
    static let kinds = [
        "family", "friend", "colleague", "referred_by", "reports_to", "employee_of", "decision_maker", "other",
    ]
    /// Those that a person has with a company.
    private static let ofCompanies = ["employee_of", "decision_maker", "other"]
    /// Those that hold in the same way from both sides.
    static let mutual = ["family", "friend", "colleague", "other"]

    private static func prepare(_ draft: inout Draft) throws {
        let (other, company) = (draft["other_contact_id"], draft["organization_id"])
        if (other == nil) == (company == nil) {
            throw FieldError(
                "/other_contact_id", "one_of_two", "Either another contact or an organization belongs here.")
        }
        if other == draft["contact_id"] {
            throw FieldError("/other_contact_id", "same_record", "Nobody is related to themselves.")
        }
        if company != nil, let kind = draft["kind"], !ofCompanies.contains(kind) {
            throw FieldError("/kind", "not_a_choice", "With an organization: \(ofCompanies.joined(separator: ", ")).")
        }
    }
}

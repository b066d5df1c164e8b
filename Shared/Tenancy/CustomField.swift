import Foundation

/// A field that a tenant gave a record type of its own: what its values are, and what people call it.
package struct CustomField: Sendable, Codable, Equatable {
    /// What a value is. It never changes: values of a kind may stand in any record.
    package enum Kind: String, Sendable, Codable, CaseIterable {
        case text, integer, number, boolean, date, timestamp, choice, tags, email, phone
        case longText = "long_text"

        /// Whether an index can find records by such values.
        package var isIndexable: Bool {
            switch self {
            case .text, .integer, .number, .date, .timestamp, .choice, .email, .phone: true
            case .longText, .boolean, .tags: false
            }
        }
    }

    package let name: String
    package let kind: Kind
    package let labelEn: String
    package let labelZh: String
    /// For a choice, what can be chosen.
    package let choices: [String]?
    package let isRequired: Bool
    /// The index of its values is complete, and can be asked.
    package let isIndexed: Bool

    private enum CodingKeys: String, CodingKey {
        case name, kind, choices
        case labelEn = "label_en"
        case labelZh = "label_zh"
        case isRequired = "is_required"
        case isIndexed = "is_indexed"
    }
}

/// A tenant's custom fields, by record type and name.
package struct CustomFields: Sendable {
    package static let none = CustomFields([:])

    private let byType: [String: [String: CustomField]]

    private init(_ byType: [String: [String: CustomField]]) { self.byType = byType }

    /// Reads `{"contact": [{"name": …}]}`, as the database gives it; nil for none. A definition that this version does
    /// not know is as if it were not there.
    package init(json: String?) {
        struct Known: Decodable {
            let field: CustomField?
            init(from decoder: any Decoder) { field = try? CustomField(from: decoder) }
        }
        let all = json.flatMap { try? JSONDecoder().decode([String: [Known]].self, from: Data($0.utf8)) } ?? [:]
        byType = all.mapValues { list in
            Dictionary(list.compactMap(\.field).map { ($0.name, $0) }, uniquingKeysWith: { $1 })
        }
    }

    /// Those of a record type, by name.
    package subscript(type: String) -> [String: CustomField] { byType[type] ?? [:] }
}

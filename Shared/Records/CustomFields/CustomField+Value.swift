import Database
import Tenancy

extension RecordType {
    /// Where a record keeps the values of the fields that its tenant added.
    static func custom(of type: String) -> Field {
        Field("custom", .custom(of: type), Label("Custom fields", "自定义字段"))
    }
}

extension CustomField {
    /// The field as any other is described.
    package var field: Field {
        let kind: FieldKind =
            switch self.kind {
            case .text: .text(max: 500)
            case .longText: .text(max: 10_000, multiline: true)
            // What a number of 64 bits with a point holds exactly: so it is compared where it is indexed.
            case .integer: .integer(min: -9_007_199_254_740_991, max: 9_007_199_254_740_991)
            case .number: .number(min: -1e15, max: 1e15)
            case .boolean: .boolean
            case .date: .date
            case .timestamp: .timestamp
            case .choice: .choice(choices ?? [])
            case .tags: .tags(max: 50)
            case .email: .email
            case .phone: .phone
            }
        return Field(name, kind, Label(labelEn, labelZh))
    }
}

extension CustomField.Kind {
    /// Which column of the index has its values.
    var indexColumn: String {
        switch self {
        case .integer, .number: "number_value"
        case .date, .timestamp: "time_value"
        case .text, .longText, .choice, .email, .phone, .boolean, .tags: "text_value"
        }
    }
}

extension FieldReader {
    /// Merges `value` (RFC 7396) into the values that a record has of the custom fields of `type`, `current`: null for one
    /// takes it away, null for all takes all. Gives the column's text, and every wrong value.
    func custom(
        _ value: JSONValue, of type: String, over current: JSONValue?, at pointer: String
    ) -> (columns: [String?], errors: [FieldError]) {
        let fields = defaults.customFields[type]
        var merged = value == .null ? [:] : current?.object ?? [:]
        var errors: [FieldError] = []
        guard value == .null || value.object != nil else {
            return ([nil], [FieldError(pointer, "not_an_object", "An object belongs here.")])
        }
        for (name, value) in (value.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let custom = fields[name] else {
                errors.append(FieldError("\(pointer)/\(name)", "unknown_field", "There is no such custom field."))
                continue
            }
            let field = custom.field
            do throws(FieldError) {
                let columns = try read(value, as: field, at: "\(pointer)/\(name)")
                merged.removeValue(forKey: name)
                if columns[0] != nil { merged[name] = RecordJSON.value(of: field, columns: columns) }
            } catch {
                errors.append(error)
            }
        }
        for custom in fields.values where custom.isRequired && merged[custom.name] == nil {
            // Who added the field did not change the records that were there: only taking a value away is refused.
            guard current?[custom.name] != nil else { continue }
            errors.append(
                FieldError("\(pointer)/\(custom.name)", "required", "\(custom.labelEn) must not be empty."))
        }
        return ([merged.isEmpty ? nil : JSONValue.object(merged).encoded], errors.sorted { $0.pointer < $1.pointer })
    }

    /// What a new record of `type` lacks of its required custom fields.
    func missing(of type: String, in values: JSONValue?) -> [FieldError] {
        defaults.customFields[type].values.filter { $0.isRequired && values?[$0.name] == nil }
            .sorted { $0.name < $1.name }
            .map { FieldError("/custom/\($0.name)", "required", "\($0.labelEn) is required.") }
    }
}

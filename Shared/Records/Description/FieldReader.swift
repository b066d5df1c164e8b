import Database
import Foundation
import Tenancy

/// Brings JSON values into the form that is stored: each field's column texts, as PostgreSQL prints them.
package struct FieldReader: Sendable {
    package let defaults: TenantDefaults

    package init(defaults: TenantDefaults) { self.defaults = defaults }

    /// The column texts of `value` for `field`; nils for JSON null. Throws a `FieldError` whose pointer is `pointer`.
    package func read(_ value: JSONValue, as field: Field, at pointer: String) throws(FieldError) -> [String?] {
        if case .null = value {
            if field.isRequired { throw FieldError(pointer, "required", "\(field.label.en) must not be empty.") }
            return field.columns.map { _ in nil }
        }
        switch field.kind {
        case .money:
            return try money(value, at: pointer)
        case .tags(let maximum):
            return [try tags(value, maximum: maximum, at: pointer)]
        case .json(let maximum):
            guard value.object != nil else { throw FieldError(pointer, "not_an_object", "An object belongs here.") }
            let text = value.encoded
            guard text.utf8.count <= maximum else {
                throw FieldError(pointer, "too_long", "At most \(maximum) bytes of JSON.")
            }
            return [text]
        case .list(let fields, let maximum):
            return [try list(value, of: fields, maximum: maximum, at: pointer)]
        case .condition:
            return [try condition(value, at: pointer)]
        case .custom(let type):
            let (columns, errors) = custom(value, of: type, over: nil, at: pointer)
            if let error = errors.first { throw error }
            return columns
        default:
            return [try scalar(value, as: field, at: pointer)]
        }
    }

    private func scalar(_ value: JSONValue, as field: Field, at pointer: String) throws(FieldError) -> String? {
        switch field.kind {
        case .integer(let minimum, let maximum):
            guard let number = value.int else {
                throw FieldError(pointer, "not_an_integer", "A whole number belongs here.")
            }
            guard number >= minimum, number <= maximum else {
                throw FieldError(pointer, "out_of_range", "The number must lie between \(minimum) and \(maximum).")
            }
            return String(number)
        case .number(let minimum, let maximum):
            guard case .number(let text) = value, let number = Double(text), number.isFinite else {
                throw FieldError(pointer, "not_a_number", "A number belongs here.")
            }
            guard number >= minimum, number <= maximum else {
                throw FieldError(pointer, "out_of_range", "The number must lie between \(minimum) and \(maximum).")
            }
            return "\(number)"
        case .boolean:
            guard let flag = value.bool else {
                throw FieldError(pointer, "not_a_boolean", "true or false belongs here.")
            }
            return flag ? "t" : "f"
        default:
            guard let text = value.text else { throw FieldError(pointer, "not_text", "Text belongs here.") }
            let normal = try self.text(text, as: field, at: pointer)
            if normal == nil && field.isRequired {
                throw FieldError(pointer, "required", "\(field.label.en) must not be empty.")
            }
            return normal
        }
    }

    private func text(_ text: String, as field: Field, at pointer: String) throws(FieldError) -> String? {
        let trimmed = Normaliser.trimmed(text)
        switch field.kind {
        case .text(let maximum, let multiline):
            guard text.unicodeScalars.count <= maximum else {
                throw FieldError(pointer, "too_long", "At most \(maximum) characters.")
            }
            let isClean = text.unicodeScalars.allSatisfy { scalar in
                if scalar.value == 10 || scalar.value == 13 || scalar.value == 9 { return multiline }
                return scalar.value >= 32 && !(127...159).contains(scalar.value)
            }
            guard isClean else { throw FieldError(pointer, "control_character", "Control characters can't be kept.") }
            return trimmed.isEmpty ? nil : trimmed
        case .date:
            guard let day = Timestamp.parseDay(trimmed), Self.years.contains(day.year) else {
                throw FieldError(pointer, "not_a_date", "A day belongs here, as YYYY-MM-DD.")
            }
            return trimmed
        case .timestamp:
            guard let date = Timestamp.parse(trimmed), Self.times.contains(date) else {
                throw FieldError(
                    pointer, "not_a_time", "A time belongs here, as RFC 3339 has it: 2026-01-31T09:30:00Z.")
            }
            return Timestamp.sqlText(date)
        case .choice(let choices):
            guard choices.contains(trimmed) else {
                throw FieldError(pointer, "not_a_choice", "One of: \(choices.joined(separator: ", ")).")
            }
            return trimmed
        case .reference, .foreignID:
            guard let id = UUID(uuidString: trimmed) else {
                throw FieldError(pointer, "not_an_id", "A UUID belongs here.")
            }
            return id.lowercased
        case .email:
            guard let address = Normaliser.email(trimmed) else {
                throw FieldError(pointer, "not_an_email", "This is not an e-mail address.")
            }
            return address
        case .phone:
            guard let number = Normaliser.phone(trimmed, country: defaults.country) else {
                throw FieldError(pointer, "not_a_phone", "This is not a telephone number.")
            }
            return number
        case .country:
            let code = trimmed.uppercased()
            guard Normaliser.isCountry(code) else {
                throw FieldError(pointer, "not_a_country", "Two letters of ISO 3166 belong here.")
            }
            return code
        case .currency:
            let code = trimmed.uppercased()
            guard Normaliser.isCurrency(code) else {
                throw FieldError(pointer, "not_a_currency", "Three letters of ISO 4217 belong here.")
            }
            return code
        default:
            return trimmed
        }
    }

    /// The years that a customer's story can lie in: beyond them a date is a typing error.
    package static let years = 1800...2199
    static let times =
        Date(timeIntervalSince1970: -5_364_662_400)..<Date(timeIntervalSince1970: 7_258_118_400)

    private func money(_ value: JSONValue, at pointer: String) throws(FieldError) -> [String?] {
        guard let members = value.object else {
            throw FieldError(pointer, "not_money", #"Money is {"amount": minor units, "currency": "EUR"}."#)
        }
        for name in members.keys where name != "amount" && name != "currency" {
            throw FieldError("\(pointer)/\(name)", "unknown_field", "There is no such field.")
        }
        guard let amount = members["amount"]?.int, (-Self.largestAmount...Self.largestAmount).contains(amount) else {
            throw FieldError("\(pointer)/amount", "not_an_integer", "A whole number of minor units belongs here.")
        }
        guard let code = (members["currency"] ?? .string(defaults.currency)).text?.uppercased(),
            Normaliser.isCurrency(code)
        else { throw FieldError("\(pointer)/currency", "not_a_currency", "Three letters of ISO 4217 belong here.") }
        return [String(amount), code]
    }

    /// Sums of many amounts must stay within 64 bits.
    package static let largestAmount = 1_000_000_000_000_000

    private func tags(_ value: JSONValue, maximum: Int, at pointer: String) throws(FieldError) -> String {
        guard let values = value.array else { throw FieldError(pointer, "not_a_list", "A list of texts belongs here.") }
        guard values.count <= maximum else { throw FieldError(pointer, "too_many", "At most \(maximum).") }
        var seen: Set<String> = []
        var tags: [JSONValue] = []
        for (index, value) in values.enumerated() {
            let tag = Field("tag", .text(max: 60), Label("Tag", "标签")).required()
            if let text = try scalar(value, as: tag, at: "\(pointer)/\(index)"), seen.insert(text).inserted {
                tags.append(.string(text))
            }
        }
        return JSONValue.array(tags).encoded
    }

    /// Whether its fields exist, and can be asked so, is for the type's rules: they know the other type.
    private func condition(_ value: JSONValue, at pointer: String) throws(FieldError) -> String {
        do throws(Problem) { _ = try Filter.parse(value) } catch {
            throw FieldError(pointer, "invalid_filter", error.detail)
        }
        let text = value.encoded
        guard text.utf8.count <= 50_000 else { throw FieldError(pointer, "too_long", "At most 50,000 bytes.") }
        return text
    }

    private func list(
        _ value: JSONValue, of fields: [Field], maximum: Int, at pointer: String
    ) throws(FieldError) -> String {
        guard let values = value.array else { throw FieldError(pointer, "not_a_list", "A list belongs here.") }
        guard values.count <= maximum else { throw FieldError(pointer, "too_many", "At most \(maximum).") }
        var entries: [JSONValue] = []
        for (index, value) in values.enumerated() {
            guard let members = value.object else {
                throw FieldError("\(pointer)/\(index)", "not_an_object", "An object belongs here.")
            }
            entries.append(try entry(members, of: fields, at: "\(pointer)/\(index)"))
        }
        return JSONValue.array(entries).encoded
    }

    private func entry(
        _ members: [String: JSONValue], of fields: [Field], at pointer: String
    ) throws(FieldError) -> JSONValue {
        if let unknown = members.keys.sorted().first(where: { name in !fields.contains { $0.name == name } }) {
            throw FieldError("\(pointer)/\(unknown)", "unknown_field", "There is no such field.")
        }
        var entry: [String: JSONValue] = [:]
        for field in fields {
            let value = members[field.name] ?? field.defaultValue ?? .null
            let columns = try read(value, as: field, at: "\(pointer)/\(field.name)")
            entry[field.name] = RecordJSON.value(of: field, columns: columns)
        }
        return .object(entry)
    }
}

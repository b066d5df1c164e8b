import Foundation
import Tenancy

/// Which column goes to which field: `emails.work` puts a value of kind `work` into the list `emails`.
package struct ImportMapping: Sendable {
    /// Where one column's text goes.
    enum Target: Sendable {
        case field(Field)
        /// A list field whose entries have `value` and `kind`.
        case entry(list: Field, kind: String)
        /// A whole list as JSON, as an export writes it; a plain text becomes its one entry.
        case list(Field)
        /// One member of the list's first entry: `addresses.city`.
        case member(list: Field, member: Field)
        /// A field that the tenant added: `custom.tier`.
        case custom(name: String)
    }

    private(set) var targets: [(column: String, target: Target)]

    /// The same mapping with its columns in the order of the file: of two columns of one field the first comes first.
    func ordered(by header: [String]) -> ImportMapping {
        let places = Dictionary(
            header.enumerated().map { ($0.element, $0.offset) }, uniquingKeysWith: { first, _ in first })
        var copy = self
        copy.targets.sort { places[$0.column] ?? .max < places[$1.column] ?? .max }
        return copy
    }

    /// The mapping a caller gave. Throws 422 with every path that leads nowhere.
    package init(_ mapping: [String: String], type: RecordType) throws {
        var errors: [FieldError] = []
        var targets: [(String, Target)] = []
        for (column, path) in mapping.sorted(by: { $0.key < $1.key }) {
            if let target = Self.target(path, type: type) {
                targets.append((column, target))
            } else {
                errors.append(
                    FieldError("/mapping/\(column)", "unknown_field", "\(path) is no field that can be imported."))
            }
        }
        if !errors.isEmpty { throw Problem.invalid(errors) }
        self.targets = targets
    }

    /// A mapping guessed from the header: a column named like a field, in either language or a usual other name.
    package init(guessing header: [String], type: RecordType) {
        // An export has both the ids: the other system's own is the one that is meant.
        let hasExternalID = header.contains("external_id")
        targets = header.compactMap { column in
            if hasExternalID && Self.usualNames[column] == "external_id" { return nil }
            let plain = column.lowercased().replacingOccurrences(of: " ", with: "_").replacingOccurrences(
                of: "-", with: "_")
            if let target = Self.target(plain, type: type) { return (column, target) }
            if let usual = Self.usualNames[plain].flatMap({ Self.target($0, type: type) }) { return (column, usual) }
            let byLabel = type.fields.first { $0.label.zh == column || $0.label.en.lowercased() == column.lowercased() }
            return byLabel.flatMap { Self.target($0.name, type: type) }.map { (column, $0) }
        }
    }

    /// The mapping as paths, for the job's result.
    package var paths: [String: String] {
        Dictionary(
            targets.map { column, target in
                switch target {
                case .field(let field): (column, field.name)
                case .list(let list): (column, list.name)
                case .entry(let list, let kind): (column, "\(list.name).\(kind)")
                case .member(let list, let member): (column, "\(list.name).\(member.name)")
                case .custom(let name): (column, "custom.\(name)")
                }
            }, uniquingKeysWith: { $1 })
    }

    /// The fields that the columns go to.
    var fields: Set<String> {
        Set(
            targets.map { _, target in
                switch target {
                case .field(let field), .list(let field), .entry(let field, _), .member(let field, _): field.name
                case .custom: "custom"
                }
            })
    }

    private static func target(_ path: String, type: RecordType) -> Target? {
        let parts = path.split(separator: ".", maxSplits: 1).map(String.init)
        guard let head = parts.first, let field = type.field(head), !field.isReadOnly else { return nil }
        if case .custom = field.kind, parts.count == 2 { return .custom(name: parts[1]) }
        guard case .list(let inner, _) = field.kind else { return parts.count == 1 ? .field(field) : nil }
        if parts.count == 1 { return .list(field) }
        if let member = inner.first(where: { $0.name == parts[1] }) { return .member(list: field, member: member) }
        guard let kind = inner.first(where: { $0.name == "kind" }), case .choice(let choices) = kind.kind,
            choices.contains(parts[1])
        else { return nil }
        return .entry(list: field, kind: parts[1])
    }

    private static let usualNames: [String: String] = [
        "first_name": "given_name", "firstname": "given_name", "last_name": "family_name", "lastname": "family_name",
        "surname": "family_name", "email": "emails.work", "e_mail": "emails.work", "mail": "emails.work",
        "phone": "phones.work", "mobile": "phones.mobile", "telephone": "phones.work", "rec_id": "external_id",
        "id": "external_id", "date_of_birth": "birth_date", "dob": "birth_date", "birthday": "birth_date",
        "company": "name", "title": "job_title", "street": "addresses.street", "address": "addresses.street",
        "city": "addresses.city", "suburb": "addresses.city", "postcode": "addresses.postal_code",
        "zip": "addresses.postal_code", "postal_code": "addresses.postal_code", "state": "addresses.region",
        "country": "addresses.country", "street_number": "addresses.house_number",
        "house_number": "addresses.house_number", "address_1": "addresses.street", "address1": "addresses.street",
        "address_2": "addresses.additional", "address2": "addresses.additional", "soc_sec_id": "identifiers.national",
        "ssn": "identifiers.national", "national_id": "identifiers.national", "tax_id": "identifiers.tax",
    ]

    /// Throws 422 with every column that goes to a custom field which the tenant does not have.
    func require(_ custom: [String: CustomField]) throws {
        let errors = targets.compactMap { column, target -> FieldError? in
            guard case .custom(let name) = target, custom[name] == nil else { return nil }
            return FieldError("/mapping/\(column)", "unknown_field", "There is no custom field \(name.prefix(60)).")
        }
        if !errors.isEmpty { throw Problem.invalid(errors) }
    }

    /// One row as a record's JSON. Texts become numbers, booleans and days where the field, or the custom field of that
    /// name, wants them.
    func record(
        header: [String: Int], fields: [String], constants: [String: JSONValue], custom: [String: CustomField]
    ) throws -> JSONValue {
        var members = constants
        var errors: [FieldError] = []
        for (column, target) in targets {
            guard let index = header[column], index < fields.count else { continue }
            let text = ExportText.unguarded(Normaliser.trimmed(fields[index]))
            if text.isEmpty { continue }
            switch target {
            case .field(let field):
                guard let value = Self.value(text, field) else {
                    errors.append(
                        FieldError(column, "not_readable", "\(text.prefix(60)) is not a value of \(field.name)."))
                    continue
                }
                members[field.name] = value
            case .custom(let name):
                let value = custom[name].map { Self.value(text, $0.field) } ?? .string(text)
                guard let value else {
                    errors.append(FieldError(column, "not_readable", "\(text.prefix(60)) is not a value of \(name)."))
                    continue
                }
                members["custom"] = .object((members["custom"]?.object ?? [:]).merging([name: value]) { $1 })
            case .list(let list):
                let value = text.hasPrefix("[") ? try? JSONParser.parse(text.utf8) : [["value": .string(text)]]
                guard let value else {
                    errors.append(FieldError(column, "not_json", "A list is JSON, or one plain value."))
                    continue
                }
                members[list.name] = value
            case .entry(let list, let kind):
                var entries = members[list.name]?.array ?? []
                var entry: [String: JSONValue] = ["value": .string(text), "kind": .string(kind)]
                if case .list(let inner, _) = list.kind, inner.contains(where: { $0.name == "primary" }) {
                    entry["primary"] = .bool(entries.isEmpty)
                }
                entries.append(.object(entry))
                members[list.name] = .array(entries)
            case .member(let list, let member):
                var entry = members[list.name]?.array?.first?.object ?? [:]
                guard let value = Self.value(text, member) else {
                    errors.append(
                        FieldError(column, "not_readable", "\(text.prefix(60)) is not a value of \(member.name)."))
                    continue
                }
                // Two columns of one member (two address lines, say) stand one after the other.
                if let earlier = entry[member.name]?.text, let text = value.text {
                    entry[member.name] = .string("\(earlier), \(text)")
                } else {
                    entry[member.name] = value
                }
                members[list.name] = [.object(entry)]
            }
        }
        if !errors.isEmpty { throw Problem.invalid(errors) }
        return .object(members)
    }

    /// Which column a field error of a record belongs to.
    func column(of pointer: String) -> String? {
        let parts = pointer.split(separator: "/").map(String.init)
        guard let head = parts.first else { return nil }
        var candidates: [String] = []
        for (column, target) in targets {
            switch target {
            case .field(let field) where field.name == head: return column
            case .entry(let list, _) where list.name == head: candidates.append(column)
            case .list(let list) where list.name == head: return column
            case .custom(let name) where head == "custom" && parts.last == name: return column
            case .member(let list, let member) where list.name == head:
                if parts.last == member.name { return column }
            default: break
            }
        }
        // The step may be a name from the file that reads as a number, a negative one too.
        if let index = parts.dropFirst().first.flatMap({ Int($0) }), candidates.indices.contains(index) {
            return candidates[index]
        }
        return candidates.first
    }

    private static func value(_ text: String, _ field: Field) -> JSONValue? {
        switch field.kind {
        case .integer, .number:
            guard let value = try? JSONParser.parse(text.utf8), case .number = value else { return nil }
            return value
        case .boolean:
            switch text.lowercased() {
            case "true", "yes", "1", "y", "t", "是": return true
            case "false", "no", "0", "n", "f", "否": return false
            default: return nil
            }
        case .date:
            // Eight digits are a day too: many exports write them so.
            if text.utf8.count == 8, text.utf8.allSatisfy({ (48...57).contains($0) }) {
                return .string("\(text.prefix(4))-\(text.dropFirst(4).prefix(2))-\(text.suffix(2))")
            }
            return .string(text)
        case .tags:
            if text.hasPrefix("["), let list = try? JSONParser.parse(text.utf8) { return list }
            return .array(text.split(separator: ";").map { .string(Normaliser.trimmed(String($0))) })
        case .condition, .custom:
            return try? JSONParser.parse(text.utf8)
        case .money:
            let parts = text.split(separator: " ")
            guard let amount = parts.first.flatMap({ Int($0) }) else { return nil }
            return parts.count > 1
                ? ["amount": JSONValue(amount), "currency": .string(String(parts[1]))] : ["amount": JSONValue(amount)]
        default:
            return .string(text)
        }
    }
}

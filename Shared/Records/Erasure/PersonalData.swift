import Database

/// Where a service keeps what it knows of a person: which types of records, how their records are found, and which
/// fields go. A pure reading of the descriptions, so that a new type is covered by being described.
///
/// A type holds a person when it has a field that refers to them, or when its records belong (by a required reference
/// that never changes) to records that do. Texts, addresses, tags and lists that hold such go; choices, numbers, times,
/// money and references stay, so that figures hold. A field says so itself where that is not what it means.
struct PersonalData: Sendable {
    struct Place: Sendable {
        let type: RecordType
        /// How its records refer to the person, each in the terms of SQL.
        let links: [Link]
        let fields: [Field]
        /// The person's own records: they end, and answer with what is left.
        let isSubject: Bool

        /// By field, what stands there afterwards.
        var pseudonyms: [String: JSONValue] {
            Dictionary(uniqueKeysWithValues: fields.map { ($0.name, $0.pseudonym(in: type)) })
        }
    }

    enum Link: Sendable {
        case own
        case field(String)
        case parent(field: String, table: String, links: [String])
        /// No link yet, but the same address.
        case email(field: String, unless: String?)
        case loose(field: String)
    }

    /// In the order in which they go: what is only found through others comes after them, the person last.
    let places: [Place]

    init(_ catalogue: Catalogue, target: String) {
        func links(_ type: RecordType) -> [String] {
            type.fields.filter { $0.target == target && $0.name != "merged_into" }.map(\.name)
        }
        var places: [Place] = []
        var through: [Place] = []
        for type in catalogue.types where type.name != target {
            let fields = type.fields.filter(\.isPersonal)
            if fields.isEmpty { continue }
            let direct = links(type)
            var found = direct.map { Link.field($0) }
            for field in type.fields {
                if case .email = field.kind { found.append(.email(field: field.name, unless: direct.first)) }
                guard direct.isEmpty, field.isRequired, field.isImmutable, case .reference(let name) = field.kind,
                    let parent = catalogue.type(named: name), !links(parent).isEmpty
                else { continue }
                found.append(.parent(field: field.name, table: parent.table, links: links(parent)))
            }
            if !found.isEmpty {
                places.append(Place(type: type, links: found, fields: fields, isSubject: false))
            }
            let loose = type.fields.filter(\.isLooseLink).map { Link.loose(field: $0.name) }
            if !loose.isEmpty { through.append(Place(type: type, links: loose, fields: fields, isSubject: false)) }
        }
        let subject = catalogue.type(named: target).map {
            Place(type: $0, links: [.own], fields: $0.fields.filter(\.isPersonal), isSubject: true)
        }
        self.places = places + through + [subject].compactMap { $0 }
    }
}

extension PersonalData.Place {
    /// The condition that finds the records, aliased `r`, that refer to `subjects` or have one of `emails`.
    func condition(schema: String, subjects: String, emails: String, erasure: String) -> String {
        let conditions = links.map { link in
            switch link {
            case .own: "r.id = any(\(subjects))"
            case .field(let name): "r.\(name) = any(\(subjects))"
            case .email(let name, let unless):
                "(lower(r.\(name)) = any(\(emails))\(unless.map { " and r.\($0) is null" } ?? ""))"
            case .parent(let name, let table, let links):
                """
                r.\(name) in (select p.id from \(table) p where p.tenant_id = $1 and (\(
                    links.map { "p.\($0) = any(\(subjects))" }.joined(separator: " or "))))
                """
            case .loose(let name):
                """
                r.\(name) in (select h.record_id from \(schema).history h
                    where h.tenant_id = $1 and h.change_set = \(erasure) and h.operation = 'erase')
                """
            }
        }
        return "(\(conditions.joined(separator: " or ")))"
    }
}

extension Field {
    /// Whether its value says something of the person that a record is about.
    var isPersonal: Bool {
        if let erasure { return erasure }
        switch kind {
        case .text, .email, .phone, .tags, .json, .custom: return true
        case .list(let fields, _): return fields.contains(where: \.isPersonal)
        case .integer, .number, .boolean, .date, .timestamp, .choice, .reference, .foreignID, .country, .currency,
            .money, .condition:
            return false
        }
    }

    /// What stands in its place where a value was. A text that must be there, or that names the record, says so.
    func pseudonym(in type: RecordType) -> JSONValue {
        switch kind {
        case .tags, .list: return []
        case .email where isRequired: return "erased@invalid.invalid"
        case .text where isRequired || name == type.title?.name: return "erased"
        default: return .null
        }
    }
}

extension RecordType {
    /// The condition on rows aliased `r` of records that answer: the living, and what is left of erased persons.
    var isAnswering: String {
        field("erased_at") == nil ? "r.deleted_at is null" : "(r.deleted_at is null or r.erased_at is not null)"
    }
}

extension Problem {
    /// 409: the person was erased, for good.
    package static func erased(_ type: RecordType) -> Problem {
        Problem(409, "erased", "This \(type.name) was erased: nothing of it can be changed or brought back.")
    }
}

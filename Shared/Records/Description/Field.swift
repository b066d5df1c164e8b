/// A name for people in the languages of the product.
package struct Label: Sendable {
    package let en: String
    package let zh: String

    package init(_ en: String, _ zh: String) {
        self.en = en
        self.zh = zh
    }
}

/// What a field holds, and so how it is checked, stored, filtered and shown.
package indirect enum FieldKind: Sendable {
    /// Text of at most `max` characters, without control characters; with `multiline` line breaks and tabs too.
    case text(max: Int, multiline: Bool = false)
    case integer(min: Int, max: Int)
    case number(min: Double, max: Double)
    case boolean
    /// A day, `YYYY-MM-DD`.
    case date
    /// A moment, RFC 3339.
    case timestamp
    case choice([String])
    /// The id of a record of another type of the same service, whose row must exist.
    case reference(String)
    /// The id of something that another service holds: kept, never checked here.
    case foreignID
    /// An address, lower-cased and checked for its syntax.
    case email
    /// A telephone number, brought to E.164 with the tenant's country.
    case phone
    /// Two letters of ISO 3166-1.
    case country
    /// Three letters of ISO 4217.
    case currency
    /// `{"amount": minor units, "currency": "EUR"}`, in two columns.
    case money
    /// A set of short texts.
    case tags(max: Int)
    /// Up to `max` objects of these fields.
    case list([Field], max: Int)
    /// Any JSON object of at most `max` bytes: what it may hold is for the type's rules to say.
    case json(max: Int)
    /// A condition on records of another type of the same service, in the grammar of lists.
    case condition(on: String)
    /// The values of the fields that the tenant added to the type, by name.
    case custom(of: String)
}

/// One field of a record type.
package struct Field: Sendable {
    package let name: String
    package let kind: FieldKind
    package let label: Label
    package var isRequired = false
    /// Set by the service, never by a caller.
    package var isReadOnly = false
    /// A figure that follows from other records, kept beside the history: neither a change nor a conflict.
    package var isDerived = false
    /// May be given at creation, never changed afterwards.
    package var isImmutable = false
    package var isSortable = false
    /// The index that lists go through, newest first, carries the field's column.
    package var isCovered = false
    /// Found by `?q=`; the type's table needs `platform.make_searchable`.
    package var isSearchable = false
    /// What stands where a creation says nothing, as JSON.
    package var defaultValue: JSONValue?
    /// The record type of another service whose id a `foreignID` is: where two of its records become one, it follows.
    package var foreignType: String?
    /// What the OpenAPI document says of the values that are taken, where the rules ask for more than the kind does.
    package var inputSchema: JSONValue?
    /// Whether it goes when a person is erased, where its kind does not say so already.
    var erasure: Bool?
    /// The id of a record of whatever type.
    package var isLooseLink = false

    package init(_ name: String, _ kind: FieldKind, _ label: Label) {
        self.name = name
        self.kind = kind
        self.label = label
    }

    /// The field with a value that must be there.
    package func required() -> Field { with { $0.isRequired = true } }
    /// The field set by the service alone.
    package func readOnly() -> Field { with { $0.isReadOnly = true } }
    /// The field that the service keeps in step with other records, without an entry in the history.
    package func derived() -> Field {
        with {
            $0.isReadOnly = true
            $0.isDerived = true
        }
    }
    /// The field given at creation and never changed.
    package func immutable() -> Field { with { $0.isImmutable = true } }
    /// The field that lists can be ordered by; give its column an index after `tenant_id`.
    package func sortable() -> Field { with { $0.isSortable = true } }
    /// The field that lists are often filtered by: `include` its column in the index on `(tenant_id, created_at, id)`, and
    /// a list is looked up in the index alone, without a look at the records that do not match.
    package func covered() -> Field { with { $0.isCovered = true } }
    /// The field that searches find the record by: a text, or a list whose entries have a `value`.
    package func searchable() -> Field { with { $0.isSearchable = true } }
    /// The field with what stands there when a creation says nothing.
    package func byDefault(_ value: JSONValue) -> Field { with { $0.defaultValue = value } }

    /// The field with what the OpenAPI document says of the values that are taken.
    package func documented(_ schema: JSONValue) -> Field { with { $0.inputSchema = schema } }

    /// The id of a record of another service's `type`.
    package func of(_ type: String) -> Field { with { $0.foreignType = type } }

    /// The field whose value says something of the person that the record is about, though its kind does not show it.
    package func personal() -> Field { with { $0.erasure = true } }
    /// The field that says nothing of a person though it is text: a product, a number of ours.
    package func impersonal() -> Field { with { $0.erasure = false } }
    /// The id of a record of whatever type, which may be one that a person's erasure takes with it.
    package func ofAny() -> Field { with { $0.isLooseLink = true } }

    private func with(_ change: (inout Field) -> Void) -> Field {
        var copy = self
        change(&copy)
        return copy
    }

    /// The type of record that the field refers to, in this service or another.
    package var target: String? {
        if case .reference(let name) = kind { name } else { foreignType }
    }

    /// The table's columns that hold the field.
    package var columns: [String] {
        if case .money = kind { ["\(name)_amount", "\(name)_currency"] } else { [name] }
    }

    /// The PostgreSQL type of each column.
    package var columnTypes: [String] {
        switch kind {
        case .text, .choice, .email, .phone, .country, .currency: ["text"]
        case .integer: ["bigint"]
        case .number: ["double precision"]
        case .boolean: ["boolean"]
        case .date: ["date"]
        case .timestamp: ["timestamptz"]
        case .reference, .foreignID: ["uuid"]
        case .money: ["bigint", "text"]
        case .tags, .list, .json, .condition, .custom: ["jsonb"]
        }
    }
}

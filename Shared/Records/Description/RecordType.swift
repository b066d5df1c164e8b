import Database
import Tenancy

/// One kind of record, described once: from this come validation, SQL, filters, import, history and the OpenAPI
/// document. A domain adds rules and its own endpoints, and nothing else.
package struct RecordType: Sendable {
    /// What the common surface offers for the type.
    package enum Operation: Sendable, CaseIterable {
        case create, update, delete, `import`
    }

    /// `contact`: the name in permissions, history and filters, and the table's unless another is given.
    package let name: String
    /// `contacts`: the path below `/v1`.
    package let plural: String
    /// The PostgreSQL schema, which is the service's name.
    package let schema: String
    package let label: Label
    package let fields: [Field]
    package let operations: Set<Operation>
    /// Owners and administrators alone may so much as read these records, whatever a role says.
    package let isAdministrative: Bool
    package var rules: RecordRules
    /// A file format of the type's own.
    package let format: RecordFormat?
    /// The order of a list that names none: a field, descending with `-`.
    package let defaultSort: String

    /// Position of each field's first column in `columns`.
    let columnOffsets: [String: Int]
    private let fieldsByName: [String: Field]
    /// Every column of the fields, in order.
    package let columns: [String]
    package let columnTypes: [String]
    /// What searches find a record by.
    package let searchFields: [Field]
    /// The text field that names a record among others, for people; nil where none does.
    package let title: Field?
    /// `contacts.contact`.
    package let table: String
    /// What every read selects: the system's columns, then the fields'.
    package let selectList: String
    /// How each field is written as JSON, in the order of `fields`.
    let members: [JSONMember]
    /// What a creation that says nothing sets: defaults, and nil in every other column.
    let blank: [String: [String?]]
    /// The insert of one record: `$1` the tenant, `$2` to `$5` id, version and times, then the fields' columns.
    let insertOneSQL: String

    package init(
        _ name: String, plural: String, schema: String, table: String? = nil, label: Label, fields: [Field],
        operations: Set<Operation> = Set(Operation.allCases), isAdministrative: Bool = false,
        defaultSort: String = "-created_at", title: String? = nil, format: RecordFormat? = nil,
        rules: RecordRules = RecordRules()
    ) {
        self.name = name
        self.plural = plural
        self.schema = schema
        self.label = label
        self.fields =
            fields + Self.ownership.filter { owned in !fields.contains { $0.name == owned.name } }
            + [Self.custom(of: name)]
        self.operations = operations
        self.isAdministrative = isAdministrative
        self.defaultSort = defaultSort
        self.rules = rules
        self.format = format
        var offsets: [String: Int] = [:]
        var columns: [String] = []
        for field in self.fields {
            precondition(offsets[field.name] == nil, "\(name).\(field.name) stands twice")
            offsets[field.name] = columns.count
            columns += field.columns
        }
        columnOffsets = offsets
        self.columns = columns
        columnTypes = self.fields.flatMap(\.columnTypes)
        members = self.fields.map { JSONMember($0, column: offsets[$0.name]! + Self.systemColumns.count) }
        self.table = "\(schema).\(table ?? name)"
        selectList = (Self.systemColumns + columns).joined(separator: ", ")
        let fieldsByName = Dictionary(uniqueKeysWithValues: self.fields.map { ($0.name, $0) })
        self.fieldsByName = fieldsByName
        searchFields = self.fields.filter(\.isSearchable)
        self.title = title.map { fieldsByName[$0]! } ?? searchFields.first
        let places = columnTypes.enumerated().map { "$\($0.offset + 6)::\($0.element)" }.joined(separator: ", ")
        let words = searchFields.isEmpty ? ("", "") : (", words", ", array_to_tsvector($\(columns.count + 6)::text[])")
        insertOneSQL = """
            insert into \(self.table) (tenant_id, id, version, created_at, updated_at,
                \(columns.joined(separator: ", "))\(words.0))
            values ($1, $2, $3, $4, $5, \(places)\(words.1))
            """
        blank = Dictionary(uniqueKeysWithValues: self.fields.map { ($0.name, Self.blank($0)) })
    }

    /// A default is part of the product, never of a tenant: any tenant's reader gives the same columns.
    private static func blank(_ field: Field) -> [String?] {
        guard let value = field.defaultValue else { return field.columns.map { _ in nil } }
        let reader = FieldReader(defaults: .neutral)
        guard let columns = try? reader.read(value, as: field, at: "") else {
            preconditionFailure("the default of \(field.name) is not a value of it")
        }
        return columns
    }

    /// Columns that every record has, before its fields'.
    package static let systemColumns = ["id", "version", "created_at", "updated_at", "deleted_at"]

    /// Who the record belongs to: what the scopes `own` and `team` look at.
    private static let ownership = [
        Field("owner_id", .foreignID, Label("Owner", "负责人")),
        Field("team_id", .foreignID, Label("Team", "团队")),
    ]

    /// Where a record came from: set by imports, unique together.
    package static let origin = [
        Field("source", .text(max: 60), Label("Source", "来源")).impersonal(),
        Field("external_id", .text(max: 200), Label("External id", "外部编号")).sortable().impersonal(),
    ]

    /// The same for records that are people: by what another system calls them they can be found there.
    package static let personalOrigin = [origin[0], origin[1].personal()]

    /// `an organization`, `a ticket comment`: one of them, in a sentence.
    package var oneOf: String {
        let words = name.split(separator: "_").joined(separator: " ")
        return (words.first.map { "aeiou".contains($0) } == true ? "an " : "a ") + words
    }

    /// The field of that name.
    package func field(_ name: String) -> Field? { fieldsByName[name] }

    /// The field whose columns a constraint's name ends in: `…_tenant_id_source_external_id_idx`.
    ///
    /// PostgreSQL withholds the detail of an error on tables with row security, so the name is all there is.
    func field(ofConstraint name: String) -> Field? {
        fields.filter { field in field.columns.contains { name.contains("_\($0)_") } }
            .max { $0.name.utf8.count < $1.name.utf8.count }
    }
}

/// All record types of a service, by name and by path.
package struct Catalogue: Sendable {
    package let types: [RecordType]
    /// Those of which a file can be imported.
    package let importable: [RecordType]
    private let byName: [String: RecordType]
    private let byPlural: [String: RecordType]

    package init(_ types: [RecordType]) {
        self.types = types
        importable = types.filter { $0.operations.contains(.import) }
        byName = Dictionary(uniqueKeysWithValues: types.map { ($0.name, $0) })
        byPlural = Dictionary(uniqueKeysWithValues: types.map { ($0.plural, $0) })
    }

    /// The type of that name: `contact`.
    package func type(named name: String) -> RecordType? { byName[name] }
    /// The type of that path: `contacts`.
    package func type(plural: String) -> RecordType? { byPlural[plural] }
}

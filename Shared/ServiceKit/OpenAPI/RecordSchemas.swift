import Foundation
import Records

/// JSON Schema of record types, from their descriptions: as strict as the service itself, so that what the document
/// allows is accepted and what it forbids is refused.
struct RecordSchemas: Sendable {
    let catalogue: Catalogue

    // MARK: Values

    private func value(_ field: Field, isInput: Bool, isRequired: Bool) -> JSONValue {
        let schema = bare(field, isInput: isInput, isRequired: isRequired)
        return isRequired && isInput ? schema : .object(nullable(schema).object ?? [:])
    }

    private func nullable(_ schema: JSONValue) -> JSONValue {
        guard var members = schema.object else { return schema }
        if let choices = members["enum"]?.array { members["enum"] = .array(choices + [.null]) }
        if let type = members["type"] { members["type"] = .array([type, "null"]) }
        if let choices = members["anyOf"]?.array { members["anyOf"] = .array(choices + [["type": "null"]]) }
        return .object(members)
    }

    private func bare(_ field: Field, isInput: Bool, isRequired: Bool) -> JSONValue {
        let asked = isInput ? field.inputSchema : nil
        var schema = (asked ?? kind(field, isInput: isInput, isRequired: isRequired)).object ?? [:]
        schema["title"] = .string(field.label.en)
        if !isInput { schema["readOnly"] = field.isReadOnly ? true : nil }
        return .object(schema)
    }

    private func kind(_ field: Field, isInput: Bool, isRequired: Bool) -> JSONValue {
        switch field.kind {
        case .json: return ["type": "object"]
        case .custom(let type): return CustomFieldSchemas.general(type, isInput: isInput)
        case .text(let maximum, let multiline):
            guard isInput else { return ["type": "string"] }
            let allowed =
                multiline
                ? #"[^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F]"# : #"[^\u0000-\u001F\u007F-\u009F]"#
            var schema: [String: JSONValue] = [
                "type": "string", "maxLength": JSONValue(maximum), "pattern": .string("^\(allowed)*$"),
            ]
            if isRequired {
                // Spaces at the ends are cut off, so something else must stand within.
                schema["minLength"] = 1
                schema["pattern"] = .string(
                    #"^[^\s\u0000-\u001F\u007F-\u009F](\#(allowed)*[^\s\u0000-\u001F\u007F-\u009F])?$"#)
            }
            return .object(schema)
        case .integer(let minimum, let maximum):
            return [
                "type": "integer", "minimum": JSONValue(max(minimum, -Self.safe)),
                "maximum": JSONValue(min(maximum, Self.safe)),
            ]
        case .number(let minimum, let maximum):
            return ["type": "number", "minimum": .number("\(minimum)"), "maximum": .number("\(maximum)")]
        case .boolean: return ["type": "boolean"]
        case .date:
            guard isInput else { return ["type": "string", "format": "date"] }
            return [
                "type": "string",
                "pattern": .string(#"^(18|19|20|21)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$"#),
            ]
        case .timestamp:
            guard isInput else { return ["type": "string", "format": "date-time"] }
            return [
                "type": "string",
                "pattern": .string(
                    #"^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$"#
                ),
            ]
        case .choice(let choices): return ["type": "string", "enum": .array(choices.map { .string($0) })]
        case .reference, .foreignID: return ["type": "string", "format": "uuid"]
        case .email:
            return isInput
                ? [
                    "type": "string", "format": "email",
                    "pattern": .string(#"^[a-z0-9]{1,20}@[a-z0-9]{1,20}\.[a-z]{2,10}$"#),
                ] : ["type": "string"]
        case .phone:
            return isInput ? ["type": "string", "pattern": .string(#"^\+[1-9][0-9]{7,14}$"#)] : ["type": "string"]
        case .country: return isInput ? ["type": "string", "enum": .array(Self.countries)] : ["type": "string"]
        case .currency: return isInput ? ["type": "string", "enum": .array(Self.currencies)] : ["type": "string"]
        case .money where !isInput:
            return [
                "type": "object", "required": ["amount", "currency"],
                "properties": ["amount": ["type": "integer"], "currency": ["type": "string"]],
            ]
        case .money:
            return [
                "type": "object", "required": ["amount"], "additionalProperties": false,
                "properties": [
                    "amount": [
                        "type": "integer", "minimum": JSONValue(-FieldReader.largestAmount),
                        "maximum": JSONValue(FieldReader.largestAmount),
                        "description": "Minor units: cents of a euro.",
                    ],
                    "currency": ["type": "string", "enum": .array(Self.currencies)],
                ],
            ]
        case .tags(let maximum):
            let tag = Field("tag", .text(max: 60), Label("Tag", "标签"))
            return [
                "type": "array", "maxItems": JSONValue(maximum), "items": kind(tag, isInput: isInput, isRequired: true),
            ]
        case .condition(let name):
            return isInput ? catalogue.type(named: name).map(filter) ?? ["type": "object"] : ["type": "object"]
        case .list(let fields, let maximum):
            return ["type": "array", "maxItems": JSONValue(maximum), "items": object(fields, isInput: isInput)]
        }
    }

    /// Integers that every JSON reader keeps exactly.
    private static let safe = 9_007_199_254_740_991

    private static let countries = ["CN", "DE", "FR", "GB", "IT", "JP", "NL", "US", "ES", "SE"].map {
        JSONValue.string($0)
    }
    private static let currencies = ["CNY", "EUR", "GBP", "JPY", "USD", "CHF"].map { JSONValue.string($0) }

    func object(_ fields: [Field], isInput: Bool) -> JSONValue {
        var properties: [String: JSONValue] = [:]
        for field in fields { properties[field.name] = value(field, isInput: isInput, isRequired: field.isRequired) }
        var schema: [String: JSONValue] = ["type": "object", "properties": .object(properties)]
        if isInput { schema["additionalProperties"] = false }
        let required = fields.filter { $0.isRequired && $0.defaultValue == nil }.map { JSONValue.string($0.name) }
        if isInput && !required.isEmpty { schema["required"] = .array(required) }
        return .object(schema)
    }

    /// A moment that is given: as a field of that kind.
    var moment: JSONValue { kind(Field("at", .timestamp, Label("When", "时间")), isInput: true, isRequired: true) }

    // MARK: Records

    func creation(_ type: RecordType) -> JSONValue {
        object(type.fields.filter { !$0.isReadOnly }, isInput: true)
    }

    func patch(_ type: RecordType) -> JSONValue {
        var properties: [String: JSONValue] = [:]
        for field in type.fields where !field.isReadOnly && !field.isImmutable {
            properties[field.name] = value(field, isInput: true, isRequired: field.isRequired)
        }
        return ["type": "object", "properties": .object(properties), "additionalProperties": false]
    }

    func record(_ type: RecordType) -> JSONValue {
        var properties: [String: JSONValue] = [
            "id": ["type": "string", "format": "uuid"], "version": ["type": "integer"],
            "created_at": ["type": "string", "format": "date-time"],
            "updated_at": ["type": "string", "format": "date-time"],
            "deleted_at": ["type": "string", "format": "date-time"],
        ]
        for field in type.fields { properties[field.name] = value(field, isInput: false, isRequired: false) }
        for expansion in Expansion.all(of: type) {
            properties[expansion.name] = [
                "type": ["object", "null"], "required": ["id"],
                "properties": ["id": ["type": "string", "format": "uuid"]],
                "description": .string(
                    "The \(expansion.target) of \(expansion.field.name), with expand; its id alone where it is out of reach."
                ),
            ]
        }
        return ["type": "object", "properties": .object(properties), "required": ["id", "version"]]
    }

    func page(_ type: RecordType) -> JSONValue {
        [
            "type": "object", "required": ["items", "next_cursor"],
            "properties": [
                "items": ["type": "array", "items": record(type)],
                "next_cursor": ["type": ["string", "null"]], "count": ["type": "integer"],
            ],
        ]
    }

    let history: JSONValue = [
        "type": "object", "required": ["items"],
        "properties": [
            "items": [
                "type": "array",
                "items": [
                    "type": "object", "required": ["version", "at", "actor", "operation", "changes"],
                    "properties": [
                        "version": ["type": "integer"], "at": ["type": "string", "format": "date-time"],
                        "actor": ["type": "string"], "request_id": ["type": "string"],
                        "change_set": ["type": "string", "format": "uuid"], "operation": ["type": "string"],
                        "changes": ["type": "object"], "digest": ["type": "string"],
                    ],
                ],
            ]
        ],
    ]

    func bulk(_ type: RecordType) -> JSONValue {
        let create: JSONValue = [
            "type": "object", "required": ["op", "data"], "additionalProperties": false,
            "properties": ["op": ["const": "create"], "data": creation(type)],
        ]
        let id: JSONValue = ["type": "string", "format": "uuid"]
        let version: JSONValue = ["type": "integer", "minimum": 1, "maximum": 1_000_000]
        let update: JSONValue = [
            "type": "object", "required": ["op", "id", "data"], "additionalProperties": false,
            "properties": ["op": ["const": "update"], "id": id, "version": version, "data": patch(type)],
        ]
        let delete: JSONValue = [
            "type": "object", "required": ["op", "id"], "additionalProperties": false,
            "properties": ["op": ["const": "delete"], "id": id, "version": version],
        ]
        return [
            "type": "object", "required": ["operations"], "additionalProperties": false,
            "properties": [
                "operations": [
                    "type": "array", "minItems": 1, "maxItems": 1000,
                    // An operation that can't be done is told in its own result: any object is taken here.
                    "items": ["type": "object"], "examples": [[create, update, delete]],
                ]
            ],
        ]
    }

    let bulkResult: JSONValue = [
        "type": "object", "required": ["results"],
        "properties": [
            "results": [
                "type": "array",
                "items": [
                    "type": "object", "required": ["status"],
                    "properties": [
                        "status": ["type": "integer"], "id": ["type": "string", "format": "uuid"],
                        "version": ["type": "integer"], "code": ["type": "string"],
                    ],
                ],
            ]
        ],
    ]

    // MARK: Parameters

    func listParameters(_ type: RecordType) -> [JSONValue] {
        let sortable = ["created_at", "updated_at"] + type.fields.filter(\.isSortable).map(\.name)
        let sorts = sortable.flatMap { [JSONValue.string($0), .string("-\($0)")] }
        return [
            Self.query("limit", ["type": "integer", "minimum": 1, "maximum": 200]),
            Self.query("sort", ["type": "string", "enum": .array(sorts)]),
            Self.query("cursor", ["type": "string"]),
            Self.query("count", ["type": "string", "enum": ["exact", "estimate"]]),
            fields(type),
        ] + expand(type) + (type.searchFields.isEmpty ? [] : [RecordParameters.search()]) + [
            [
                "name": "filter", "in": "query", "required": false,
                "description": "A condition on the records, as JSON.",
                "content": ["application/json": ["schema": filter(type)]],
            ]
        ]
    }

    /// Conditions by kind of field: what the document allows, the service takes.
    private func filter(_ type: RecordType) -> JSONValue {
        func condition(_ names: [String], _ ops: [String], _ value: JSONValue) -> JSONValue? {
            if names.isEmpty { return nil }
            // eq is what is meant where nothing is said, and empty asks for no value.
            let required = ["field"] + (ops.contains("eq") ? [] : ["op"]) + (ops == ["empty"] ? [] : ["value"])
            return [
                "type": "object", "required": .array(required.map { .string($0) }), "additionalProperties": false,
                "properties": [
                    "field": ["type": "string", "enum": .array(names.map { .string($0) })],
                    "op": ["type": "string", "enum": .array(ops.map { .string($0) })], "value": value,
                ],
            ]
        }
        func names(_ isWanted: (FieldKind) -> Bool) -> [String] { type.fields.filter { isWanted($0.kind) }.map(\.name) }
        let text = names { if case .text(let maximum, _) = $0 { maximum >= 60 } else { false } }
        let word: JSONValue = [
            "type": "string",
            "pattern": #"^[^\s\u0000-\u001F\u007F-\u009F][^\u0000-\u001F\u007F-\u009F]{0,39}$"#,
        ]
        let number = names { if case .integer(let low, let high) = $0 { low <= 0 && high >= 100 } else { false } }
        let id = names { kind in
            switch kind {
            case .reference, .foreignID: true
            default: false
            }
        }
        let time: JSONValue = [
            "type": "string",
            "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9])T([01][0-9]|2[0-3]):[0-5][0-9]:00Z$",
        ]
        let times = ["created_at", "updated_at"]
        let small: JSONValue = ["type": "integer", "minimum": 0, "maximum": 100]
        func orNull(_ value: JSONValue) -> JSONValue { ["anyOf": [value, ["type": "null"]]] }
        let conditions = [
            condition(text, ["eq", "ne"], orNull(word)), condition(text, ["contains", "starts", "matches"], word),
            condition(number, ["eq", "ne"], orNull(small)), condition(number, ["lt", "lte", "gt", "gte"], small),
            condition(times, ["eq", "ne"], orNull(time)), condition(times, ["lt", "lte", "gt", "gte"], time),
            condition(id, ["eq", "ne"], orNull(["type": "string", "format": "uuid"])),
            condition(type.fields.map(\.name), ["empty"], ["type": ["boolean", "null"]]),
        ].compactMap { $0 }
        let some: JSONValue = [
            "type": "array", "minItems": 1, "maxItems": JSONValue(Filter.maximumConditions),
            "items": ["anyOf": .array(conditions)],
        ]
        return [
            "anyOf": .array(
                conditions
                    + ["and", "or"].map { name in
                        [
                            "type": "object", "required": [.string(name)], "additionalProperties": false,
                            "properties": .object([name: some]),
                        ]
                    })
        ]
    }

    func fields(_ type: RecordType) -> JSONValue {
        Self.query("fields", ["type": "string", "enum": .array(type.fields.prefix(6).map { .string($0.name) })])
    }

    let view: JSONValue = [
        "name": "view", "in": "query", "required": false, "schema": ["type": "string", "format": "uuid"],
        "description": "A saved view: its filter, sort and fields, unless the request gives its own.",
    ]

    func expand(_ type: RecordType) -> [JSONValue] {
        let names = Expansion.all(of: type).map { JSONValue.string($0.name) }
        if names.isEmpty { return [] }
        return [
            [
                "name": "expand", "in": "query", "required": false,
                "schema": ["type": "string", "enum": .array(names)],
                "description": "References to show with their records: up to three, separated by commas.",
            ]
        ]
    }

    let dryRun = RecordParameters.dryRun
    let allowDuplicates = query("allow_duplicates", ["type": "boolean"])
    let merge = query("merge", ["type": "boolean"])
    let asOf = query(
        "as_of",
        [
            "type": "string", "description": "The record as it was at this time.",
            "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9])T([01][0-9]|2[0-3]):[0-5][0-9]:00Z$",
        ])

    /// What a dry run answers, whatever is written.
    static let prediction: JSONValue = [
        "type": "object", "required": ["dry_run", "record", "changes", "jobs"],
        "properties": [
            "dry_run": ["const": true], "record": ["type": ["object", "null"]], "duplicates": ["type": "array"],
            "changes": [
                "type": "array",
                "items": [
                    "type": "object", "required": ["record_type", "operation", "changes"],
                    "properties": [
                        "record_type": ["type": "string"], "record_id": ["type": ["string", "null"]],
                        "operation": ["type": "string"], "changes": ["type": "object"],
                    ],
                ],
            ],
            "jobs": [
                "type": "array",
                "items": [
                    "type": "object", "required": ["queue", "name"],
                    "properties": [
                        "queue": ["type": "string"], "name": ["type": "string"],
                        "run_at": ["type": ["string", "null"]],
                    ],
                ],
            ],
        ],
    ]
    let ifMatch: JSONValue = [
        "name": "If-Match", "in": "header", "required": true,
        "schema": ["type": "string", "pattern": #"^(\*|"[1-9][0-9]{0,8}")$"#],
    ]
    let idempotencyKey = RecordParameters.idempotencyKey

    static func query(_ name: String, _ schema: JSONValue) -> JSONValue {
        ["name": .string(name), "in": "query", "required": false, "schema": schema]
    }
}

/// Parameters that endpoints of the domains document as the common ones do.
package enum RecordParameters {
    /// An optional parameter of the query string.
    package static func query(_ name: String, _ schema: JSONValue) -> JSONValue { RecordSchemas.query(name, schema) }
    /// `?q=`: what is searched for.
    package static func search(isRequired: Bool = false) -> JSONValue {
        [
            "name": "q", "in": "query", "required": .bool(isRequired),
            "schema": ["type": "string", "minLength": 1, "maxLength": 200, "pattern": #"^[^\u0000]*$"#],
        ]
    }
    /// `?dry_run=true`: say what would be done, and do nothing.
    package static let dryRun = RecordSchemas.query("dry_run", ["type": "boolean"])
    /// `Idempotency-Key`: the same key and body gives the first answer again.
    package static let idempotencyKey: JSONValue = [
        "name": "Idempotency-Key", "in": "header", "required": false,
        "schema": ["type": "string", "pattern": "^[A-Za-z0-9_-]{8,64}$"],
    ]
}

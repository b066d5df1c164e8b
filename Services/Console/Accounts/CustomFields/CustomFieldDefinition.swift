import Database
import Foundation
import Records
import Tenancy

/// A field that the tenant adds to a record type, of whatever service: from the commit on all services read it.
///
/// What it is called, what can be chosen and whether it must be there may change; its name and kind never do, not even
/// when it was deleted and is defined anew: values of the kind may stand in any record, and come back with the field.
enum CustomFieldDefinition {
    /// How many a tenant may add to one type.
    static let most = 100

    static let type = RecordType(
        "custom_field", plural: "custom_fields", schema: "accounts", label: Label("Custom field", "自定义字段"),
        fields: [
            Field("record_type", .text(max: 60), Label("Record type", "记录类型")).required().immutable().sortable()
                .documented(["type": "string", "enum": ["contact", "organization", "ticket", "opportunity"]]),
            Field("name", .text(max: 40), Label("Name", "名称")).required().immutable().sortable().documented([
                "type": "string", "pattern": "^[a-z][a-z0-9_]{0,39}$",
            ]),
            Field("kind", .choice(CustomField.Kind.allCases.map(\.rawValue)), Label("Kind", "类型")).required()
                .immutable(),
            Field("label_en", .text(max: 100), Label("English label", "英文标签")).required(),
            Field("label_zh", .text(max: 100), Label("Chinese label", "中文标签")).required(),
            Field("description", .text(max: 300), Label("Description", "说明")),
            Field("choices", .tags(max: 200), Label("Choices", "选项")),
            Field("is_required", .boolean, Label("Required", "必填")).byDefault(false),
            Field("is_indexed", .boolean, Label("Indexed", "建立索引")).byDefault(false),
        ],
        operations: [.create, .update, .delete], isAdministrative: true, defaultSort: "record_type", title: "name",
        rules: RecordRules(prepare: prepare, check: check, effects: effects))

    private static func prepare(_ draft: inout Draft) throws {
        let name = draft["name"] ?? ""
        let isName = name.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }
        guard isName, name.first.map({ ("a"..."z").contains($0) }) ?? true else {
            throw FieldError("/name", "not_a_name", "Small letters, digits and _ belong here, a letter first.")
        }
        // Null says no more than nothing does.
        for flag in ["is_required", "is_indexed"] where draft[flag] == nil { draft[flag] = "false" }
        guard let kind = draft["kind"].flatMap(CustomField.Kind.init) else { return }
        let choices = draft.record.json("choices")?.array ?? []
        if kind == .choice && choices.isEmpty {
            throw FieldError("/choices", "required", "A choice has at least one that can be chosen.")
        }
        if kind != .choice && !choices.isEmpty {
            throw FieldError("/choices", "not_allowed", "Only a choice has choices.")
        }
        if draft.record.bool("is_indexed") && !kind.isIndexable {
            throw FieldError("/is_indexed", "not_indexable", "No index finds records by values of this kind.")
        }
    }

    /// The type is one that some service has, and the name was never one of another kind.
    private static func check(_ draft: inout Draft, _ transaction: TenantTransaction) async throws {
        guard draft.isCreation, let type = draft["record_type"], let name = draft["name"] else { return }
        let results = try await transaction.batch([
            Statement("select name from platform.record_type order by name", []),
            Statement(
                """
                select count(*) filter (where deleted_at is null), min(kind) filter (where name = $3)
                from accounts.custom_field where tenant_id = $1 and record_type = $2
                """, [transaction.tenant.parameter, .text(type), .text(name)]),
        ])
        let types = (0..<results[0].count).map { results[0].text($0, 0)! }
        guard types.contains(type) else {
            throw FieldError("/record_type", "unknown_type", "One of: \(types.joined(separator: ", ")).")
        }
        if results[1].int(0, 0)! >= most {
            throw Problem(409, "too_many", "\(type) has \(most) custom fields already.")
        }
        if let kind = results[1].text(0, 1), kind != draft["kind"] {
            // The value could be taken, were it not for what the tenant has: a conflict.
            let text = "\(name) was a \(kind) before, and stays one."
            throw Problem(409, "other_kind", text, fields: [FieldError("/kind", "other_kind", text)])
        }
    }

    private static func effects(_ change: Change) throws -> Effects {
        let record = change.after
        let isIndexed = record.bool("is_indexed")
        let (type, name) = (record.text("record_type")!, record.text("name")!)
        let definition: JSONValue? =
            record.deletedAt != nil
            ? nil
            : [
                "name": .string(name), "kind": JSONValue(record.text("kind")),
                "label_en": JSONValue(record.text("label_en")), "label_zh": JSONValue(record.text("label_zh")),
                "choices": record.json("choices") ?? .null, "is_required": .bool(record.bool("is_required")),
            ]
        var effects = Effects(statements: [
            Statement(
                "select platform.define_custom_field($1, $2, $3::jsonb, $4)",
                [.text(type), .text(name), .optional(definition?.encoded), .bool(isIndexed)])
        ])
        let isNew = change.kind == .create || change.kind == .restore || change.changes("is_indexed")
        if definition != nil && isIndexed && isNew {
            effects.events.append(CustomFieldIndexWanted(type: type, field: name))
        }
        return effects
    }
}

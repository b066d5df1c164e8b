import Database
import Foundation
import HTTPTypes
import Records
import ServiceKit
import Tenancy

/// `POST /v1/merges` and its undoing.
struct MergeEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [create, get, undo] }

    private static let id: JSONValue = ["type": "string", "format": "uuid"]
    private static let schema: JSONValue = [
        "type": "object", "required": ["id", "survivor", "merged", "state"],
        "properties": [
            "id": id, "survivor": id, "merged": id, "state": ["type": "string", "enum": ["done", "undone"]],
        ],
    ]

    private var create: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "required": ["survivor", "merged"], "additionalProperties": false,
                "properties": [
                    "survivor": Self.id, "merged": Self.id,
                    "fields": [
                        "type": "object", "additionalProperties": ["type": "string", "enum": ["survivor", "merged"]],
                        "propertyNames": [
                            "enum": .array(Contact.type.fields.filter { !$0.isReadOnly }.map { .string($0.name) })
                        ],
                        "description": "Whose value a field gets; the others decide themselves.",
                    ],
                ],
            ]
            $0.response = Self.schema
            $0.status = 201
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .post, "/v1/merges", "Make two contacts one; what belongs to the other follows, in all services",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let wish = try MergeWish(try await request.json())
            let dryRun = try request.flag("dry_run")
            let result = try await store.writing(Contact.type, dryRun: dryRun, request.context) { transaction in
                try await merge(wish, request.context, transaction)
            }
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/merges")
        }
    }

    func merge(
        _ wish: MergeWish, _ context: WriteContext, _ transaction: TenantTransaction
    ) async throws -> WriteResult {
        let type = Contact.type
        let scopes = (try context.scope(of: .update, on: type), try context.scope(of: .delete, on: type))
        // Any field of the survivor may change, and with values that come from the other.
        try context.requireWritable(type.fields.filter { !$0.isReadOnly }.map(\.name), type, in: .update)
        // In the order of ids: two merges of the same pair never wait for each other crosswise.
        let inOrder = [wish.survivor, wish.merged].sorted { $0.lowercased < $1.lowercased }
        var found: [UUID: Record] = [:]
        for id in inOrder {
            found[id] = try await store.found(
                type, id, id == wish.survivor ? scopes.0 : scopes.1, context, in: transaction)
        }
        let (survivor, merged) = (found[wish.survivor]!, found[wish.merged]!)
        let plan = Merge(survivor: survivor, merged: merged, choices: wish.choices)
        let marked = try await store.change(
            type, merged,
            setting: ["merged_into": [survivor.id.lowercased], "merge_id": [context.changeSet.lowercased]], context,
            in: transaction)
        // It goes first: what must be unique may then pass to the survivor.
        try await store.remove(type, marked, context, in: transaction)
        try await store.change(type, survivor, completing: plan.values, context, in: transaction)
        let body: JSONValue = [
            "id": .string(context.changeSet.lowercased), "survivor": .string(survivor.id.lowercased),
            "merged": .string(merged.id.lowercased), "state": "done",
        ]
        return WriteResult(status: 201, id: context.changeSet, version: nil, body: body.encodedBytes)
    }

    private var get: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = Self.schema
            $0.refusals = [404]
        }
        return Endpoint(.get, "/v1/merges/{id}", "A merge and how it stands", documentation: documentation) { request in
            try request.allow([])
            let id = try request.id()
            return EndpointResponse(json: try await state(of: id, request.context))
        }
    }

    /// Throws 404 for what is no merge, and for whoever may not read all contacts.
    private func state(of id: UUID, _ context: WriteContext) async throws -> JSONValue {
        guard try context.scope(of: .read, on: Contact.type) == .all else { throw Problem.notFound("merge") }
        let rows = try await store.database.query(
            tenant: context.tenant,
            Statement(
                """
                select record_id, changes #>> '{merged_into,to}', exists (
                    select 1 from contacts.undone u where u.tenant_id = h.tenant_id and u.change_set = h.change_set)
                from contacts.history h
                where tenant_id = $1 and change_set = $2 and record_type = 'contact'
                and changes #>> '{merge_id,to}' = change_set::text
                """, [context.tenant.parameter, .uuid(id)]), readOnly: true)
        guard rows.count == 1 else { throw Problem.notFound("merge") }
        return [
            "id": .string(id.lowercased), "survivor": JSONValue(rows.text(0, 1)), "merged": JSONValue(rows.text(0, 0)),
            "state": rows.bool(0, 2) == true ? "undone" : "done",
        ]
    }

    /// The other services learn of it from the contact's return and undo their part.
    private var undo: Endpoint {
        UndoEndpoint(
            store: store, path: "/v1/merges/{id}/undo",
            summary: "Make the two contacts two again; what has changed since is listed"
        ).endpoint { id, context in _ = try await state(of: id, context) }
    }
}

/// What a merge is asked to do.
struct MergeWish: Sendable {
    let survivor: UUID
    let merged: UUID
    let choices: [String: Merge.Choice]

    /// Throws 422 with every wrong member.
    init(_ body: JSONValue) throws(Problem) {
        guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
        var errors: [FieldError] = []
        for name in members.keys.sorted() where !["survivor", "merged", "fields"].contains(name) {
            errors.append(FieldError("/\(name)", "unknown_field", "There is no such field."))
        }
        func id(_ name: String) -> UUID? {
            if let id = members[name]?.text.flatMap(UUID.init(uuidString:)) { return id }
            errors.append(FieldError("/\(name)", "not_an_id", "The id of a contact belongs here."))
            return nil
        }
        let (survivor, merged) = (id("survivor"), id("merged"))
        if let survivor, survivor == merged {
            throw Problem(409, "same_record", "A contact can't be merged into itself.")
        }
        var choices: [String: Merge.Choice] = [:]
        if let fields = members["fields"], fields.object == nil {
            errors.append(
                FieldError("/fields", "not_an_object", "An object of field to survivor or merged belongs here."))
        }
        for (name, value) in (members["fields"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let field = Contact.type.field(name), !field.isReadOnly else {
                errors.append(FieldError("/fields/\(name)", "unknown_field", "There is no such field to choose."))
                continue
            }
            choices[name] = value.text.flatMap(Merge.Choice.init(rawValue:))
            if choices[name] == nil {
                errors.append(FieldError("/fields/\(name)", "not_a_choice", "One of: survivor, merged."))
            }
        }
        guard errors.isEmpty, let survivor, let merged else { throw .invalid(errors) }
        self.survivor = survivor
        self.merged = merged
        self.choices = choices
    }
}

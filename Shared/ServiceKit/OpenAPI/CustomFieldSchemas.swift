import Records
import Tenancy

/// How a service's document speaks of the fields that tenants add: in general for everybody, and exactly for a tenant.
struct CustomFieldSchemas {
    /// Stands in the general document where a tenant's own puts its fields.
    private static let marker = "x-guanxi-custom-fields"
    private static let input = "x-guanxi-input"

    static func general(_ type: String, isInput: Bool) -> JSONValue {
        .object([
            "type": "object", marker: .string(type), input: .bool(isInput),
            "description": "Values of the fields that the tenant added, by name: GET /v1/openapi.json says which.",
        ])
    }

    let fields: CustomFields

    /// The document as it is for the tenant: what it allows is accepted, and what it forbids refused.
    func exact(_ document: JSONValue) -> JSONValue {
        switch document {
        case .array(let values): return .array(values.map(exact))
        case .object(var members):
            guard let name = members[Self.marker]?.text else { return .object(members.mapValues(exact)) }
            let isInput = members[Self.input]?.bool == true
            let schemas = RecordSchemas(catalogue: Catalogue([]))
            let own = fields[name].values.map(\.field)
            // What was said in general of the type, that there may be none at all, stands.
            let type = members["type"]
            members.merge(schemas.object(own, isInput: isInput).object ?? [:]) { $1 }
            members["type"] = type
            members[Self.marker] = nil
            members[Self.input] = nil
            return .object(members)
        default: return document
        }
    }
}

/// `GET /v1/openapi.json` and `GET /v1/custom-fields`: what the bearer's tenant made of the record types.
struct CustomFieldEndpoints {
    let catalogue: Catalogue
    /// The general document.
    let document: JSONValue

    var all: [Endpoint] { [openAPI, list] }

    private var openAPI: Endpoint {
        let documentation = EndpointDocumentation { $0.response = ["type": "object"] }
        return Endpoint(
            .get, "/v1/openapi.json", "The service's description with the tenant's own fields",
            documentation: documentation
        ) { request in
            try request.allow([])
            return EndpointResponse(
                json: CustomFieldSchemas(fields: request.principal.defaults.customFields).exact(document))
        }
    }

    /// For forms: whoever may see a type's records may see which fields they have.
    private var list: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = [
                "type": "object", "required": ["items"],
                "properties": [
                    "items": [
                        "type": "array",
                        "items": [
                            "type": "object", "required": ["record_type", "name", "kind", "label_en", "label_zh"],
                        ],
                    ]
                ],
            ]
        }
        return Endpoint(
            .get, "/v1/custom-fields", "The fields that the tenant added to the service's record types",
            documentation: documentation
        ) { request in
            try request.allow([])
            let context = request.context
            let types = catalogue.types.filter { type in
                (try? context.scope(of: .read, on: type)) != nil && !context.hidden(type).contains("custom")
            }
            let items = types.flatMap { type in
                request.principal.defaults.customFields[type.name].values.sorted { $0.name < $1.name }.map {
                    json($0, of: type)
                }
            }
            return EndpointResponse(json: ["items": .array(items)])
        }
    }

    private func json(_ field: CustomField, of type: RecordType) -> JSONValue {
        [
            "record_type": .string(type.name), "name": .string(field.name), "kind": .string(field.kind.rawValue),
            "label_en": .string(field.labelEn), "label_zh": .string(field.labelZh),
            "choices": field.choices.map { .array($0.map { .string($0) }) } ?? .null,
            "is_required": .bool(field.isRequired), "is_indexed": .bool(field.isIndexed),
        ]
    }
}

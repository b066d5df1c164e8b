import Records

/// `POST /v1/batch`: changes of records of several types, all or none.
struct BatchEndpoint {
    let store: RecordStore
    private let schemas: RecordSchemas

    init(store: RecordStore) {
        self.store = store
        schemas = RecordSchemas(catalogue: store.catalogue)
    }

    var endpoint: Endpoint {
        let asks = store.catalogue.types.contains { $0.rules.likeness != nil }
        let documentation = EndpointDocumentation {
            $0.parameters =
                [RecordParameters.dryRun, RecordParameters.idempotencyKey] + (asks ? [schemas.allowDuplicates] : [])
            $0.body = body
            $0.response = response
            $0.refusals = [404, 409, 412]
        }
        return Endpoint(
            .post, "/v1/batch", "Up to 100 changes of records of any types, all or none", documentation: documentation
        ) { request in
            try request.allow(asks ? ["dry_run", "allow_duplicates"] : ["dry_run"])
            let dryRun = try request.flag("dry_run")
            let allows = try request.flag("allow_duplicates")
            let batch = try RecordBatch(try await request.json(), catalogue: store.catalogue)
            let result = try await store.batch(
                batch, dryRun: dryRun, allowingDuplicates: allows, request.context)
            return EndpointResponse(result, to: request, dryRun: dryRun)
        }
    }

    private var body: JSONValue {
        let id: JSONValue = ["type": "string", "format": "uuid"]
        let match: JSONValue = [
            "description": "The version that was seen, or * for any.",
            "anyOf": [["const": "*"], ["type": "integer", "minimum": 1, "maximum": 1_000_000]],
        ]
        var operations: [JSONValue] = []
        for type in store.catalogue.types {
            let name: JSONValue = ["const": .string(type.name)]
            func add(_ op: String, _ properties: [String: JSONValue]) {
                let all = properties.merging(["op": ["const": .string(op)], "type": name]) { $1 }
                operations.append([
                    "type": "object", "additionalProperties": false, "properties": .object(all),
                    "required": .array(all.keys.filter { $0 != "ref" }.sorted().map { .string($0) }),
                ])
            }
            if type.operations.contains(.create) {
                let ref: JSONValue = [
                    "type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$",
                    "description":
                        "Its new id is \"$\" and this name in the id and the references of later operations.",
                ]
                add("create", ["ref": ref, "body": schemas.creation(type)])
            }
            if type.operations.contains(.update) {
                add("update", ["id": id, "if_match": match, "body": schemas.patch(type)])
            }
            if type.operations.contains(.delete) { add("delete", ["id": id, "if_match": match]) }
        }
        return [
            "type": "object", "required": ["operations"], "additionalProperties": false,
            "properties": [
                "operations": [
                    "type": "array", "minItems": 1, "maxItems": JSONValue(RecordBatch.most),
                    "items": ["anyOf": .array(operations)],
                ]
            ],
        ]
    }

    private var response: JSONValue {
        [
            "type": "object", "required": ["results"],
            "properties": [
                "results": [
                    "type": "array",
                    "items": [
                        "type": "object", "required": ["status"],
                        "properties": [
                            "status": ["type": "integer"], "id": ["type": "string", "format": "uuid"],
                            "version": ["type": "integer"], "record": ["type": "object"],
                        ],
                    ],
                ]
            ],
        ]
    }
}

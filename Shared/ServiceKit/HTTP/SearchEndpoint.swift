import Foundation
import Records

extension CommonEndpoints {
    /// Across all types of the service that can be searched.
    var search: Endpoint {
        let types = store.catalogue.types.filter { !$0.searchFields.isEmpty }
        let documentation = EndpointDocumentation {
            $0.parameters = [
                RecordParameters.search(isRequired: true),
                RecordParameters.query("types", ["type": "string", "enum": .array(types.map { .string($0.name) })]),
                RecordParameters.query("limit", ["type": "integer", "minimum": 1, "maximum": 100]),
            ]
            $0.response = [
                "type": "object", "required": ["items"],
                "properties": [
                    "items": [
                        "type": "array",
                        "items": [
                            "type": "object", "required": ["type", "id", "title", "path"],
                            "properties": ["type": ["type": "string"], "id": ["type": "string", "format": "uuid"]],
                        ],
                    ]
                ],
            ]
        }
        return Endpoint(.get, "/v1/search", "Search all records of the service", documentation: documentation) {
            request in
            try request.allow(["q", "types", "limit"])
            guard let text = request.parameter("q"), (1...200).contains(text.unicodeScalars.count) else {
                throw Problem.badRequest("invalid_parameter", "q is a text of 1 to 200 characters.")
            }
            let limit = try request.limit(100, usual: 20)
            var wanted = types
            if let names = request.parameter("types")?.split(separator: ",", omittingEmptySubsequences: false) {
                wanted = try names.map { name in
                    guard let type = types.first(where: { $0.name == name }) else {
                        throw Problem.badRequest("invalid_parameter", "\(name.prefix(60)) can't be searched.")
                    }
                    return type
                }
            }
            return EndpointResponse(
                200, try await store.search(text, types: wanted, limit: limit, request.context))
        }
    }
}

import Foundation
import HTTPTypes
import Records

/// Records going out as files.
extension CommonEndpoints {
    var createExport: Endpoint {
        let documentation = EndpointDocumentation {
            let id: JSONValue = ["type": "string", "format": "uuid"]
            $0.parameters = [RecordParameters.idempotencyKey]
            $0.body = formats(of: store.catalogue.types) { types, formats in
                [
                    "type": "object", "required": ["type"], "additionalProperties": false,
                    "properties": [
                        "type": types, "format": formats,
                        "filter": [
                            "type": "null", "description": "A filter of the lists; all records when left out.",
                        ],
                        "fields": ["type": "null", "description": "A list of fields; all when left out."],
                    ],
                ]
            }
            $0.response = [
                "type": "object", "required": ["export_id", "job_id"], "properties": ["export_id": id, "job_id": id],
            ]
            $0.status = 202
            $0.links = [("job_id", "/v1/jobs/{id}"), ("export_id", "/v1/exports/{id}")]
        }
        return Endpoint(
            .post, "/v1/exports", "Export records by a job; importing the file gives them again",
            documentation: documentation
        ) { request in
            try request.allow([])
            let options = try ExportOptions(try await request.json(), catalogue: store.catalogue)
            let result = try await Exports(store: store).start(options, request.context)
            return EndpointResponse(result, to: request, at: "/v1/jobs")
        }
    }

    var exportFile: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = ["type": "string"]
            $0.responseType = "text/csv"
            $0.refusals = [404, 409, 410]
        }
        return Endpoint(
            .get, "/v1/exports/{id}/file", "A finished export's file, for a day", documentation: documentation
        ) { request in
            try request.allow([])
            let exports = Exports(store: store)
            let file = try await exports.file(try request.id(), request.context)
            let tenant = request.context.tenant
            var answer = EndpointResponse(
                200, contentType: file.contentType,
                headers: [(.contentDisposition, "attachment; filename=\"\(file.name)\"")])
            answer.stream = EndpointResponse.Stream(length: file.bytes) { write in
                for number in 0..<file.pieces {
                    try await write(try await exports.piece(number, of: file, tenant: tenant))
                }
            }
            return answer
        }
    }
}

import Database
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Records
import Tenancy

/// One request as an endpoint sees it: who asks, where, with what.
package struct EndpointRequest: Sendable {
    package let principal: Principal
    package let context: WriteContext
    /// The values of `{name}` in the path, decoded.
    package let path: [String: String]
    package let query: [(name: String, value: String)]
    package let headers: HTTPFields
    package let body: RequestBody
    /// What the gateway put before the path, for `Location` and `Link`.
    package let prefix: String
    /// The caller's address, as far as it is known.
    package let client: String?
    let maximumBody: Int

    /// The id in the path; throws 404, as for any other id that is not there.
    package func id(_ name: String = "id") throws(Problem) -> UUID {
        guard let id = path[name].flatMap(UUID.init(uuidString:)) else { throw .notFound() }
        return id
    }

    /// The first value of a query parameter.
    package func parameter(_ name: String) -> String? { query.first { $0.name == name }?.value }

    /// `true` or `false` in the query; false when absent.
    package func flag(_ name: String) throws(Problem) -> Bool {
        switch parameter(name) {
        case nil, "false": return false
        case "true": return true
        default: throw .badRequest("invalid_parameter", "\(name) is true or false.")
        }
    }

    /// `limit` in the query, from 1 to `maximum`; `usual` when absent.
    package func limit(_ maximum: Int, usual: Int) throws(Problem) -> Int {
        guard let text = parameter("limit") else { return usual }
        guard let value = Int(text), (1...maximum).contains(value) else {
            throw .badRequest("invalid_parameter", "limit is a number from 1 to \(maximum).")
        }
        return value
    }

    /// Refuses query parameters that the endpoint does not know.
    package func allow(_ names: Set<String>) throws(Problem) {
        for (name, _) in query where !names.contains(name) {
            throw .badRequest("unknown_parameter", "There is no parameter \(name.prefix(60)).")
        }
    }

    /// The precondition of a change: 428 without `If-Match`, 400 for one that can't be read.
    package func precondition() throws(Problem) -> Precondition {
        guard let text = headers[.ifMatch] else {
            throw Problem(428, "precondition_required", "Send If-Match with the version you saw, or * for any.")
        }
        guard let precondition = Precondition(header: text) else {
            throw .badRequest("invalid_header", "If-Match is * or a version in quotes.")
        }
        return precondition
    }

    /// The whole body; 413 when it is too long.
    package func bytes() async throws -> [UInt8] {
        do {
            return Array(buffer: try await body.collect(upTo: maximumBody))
        } catch is NIOTooManyBytesError {
            throw Problem(413, "body_too_large", "A body has at most \(maximumBody) bytes.")
        }
    }
}

/// What an endpoint answers.
package struct EndpointResponse: Sendable {
    package var status: Int
    package var body: [UInt8]
    package var contentType: String
    package var headers: [(HTTPField.Name, String)]
    /// Written piece by piece in place of `body`, for what is too long to hold.
    package var stream: Stream?

    /// A body that is written as it comes.
    package struct Stream: Sendable {
        /// In bytes; nil where it is not known beforehand.
        let length: Int?
        let write: @Sendable (_ piece: (_ bytes: [UInt8]) async throws -> Void) async throws -> Void

        package init(
            length: Int?,
            _ write: @escaping @Sendable (_ piece: (_ bytes: [UInt8]) async throws -> Void) async throws -> Void
        ) {
            self.length = length
            self.write = write
        }
    }

    package init(
        _ status: Int = 200, _ body: [UInt8] = [], contentType: String = "application/json",
        headers: [(HTTPField.Name, String)] = []
    ) {
        self.status = status
        self.body = body
        self.contentType = contentType
        self.headers = headers
    }

    package init(_ status: Int = 200, json: JSONValue, headers: [(HTTPField.Name, String)] = []) {
        self.init(status, json.encodedBytes, headers: headers)
    }
}

extension EndpointResponse {
    /// The answer to a write: its change set, version, whether it came before or is only predicted, and, where something
    /// new came to be, its place: `path` and its id.
    package init(_ result: WriteResult, to request: EndpointRequest, dryRun: Bool = false, at path: String? = nil) {
        self.init(result.status, result.body)
        // A prediction and a repeated answer have changed nothing now.
        if !dryRun && !result.isReplay { headers.append((.changeSet, request.context.changeSet.lowercased)) }
        if let version = result.version { headers.append((.eTag, "\"\(version)\"")) }
        if [201, 202].contains(result.status), let path, let id = result.id {
            headers.append((.location, "\(request.prefix)\(path)/\(id.lowercased)"))
        }
        if result.isReplay { headers.append((.idempotencyReplayed, "true")) }
        if dryRun { headers.append((.dryRun, "true")) }
    }
}

extension EndpointResponse {
    /// The answer to a request that started a job: 202, its id and its place.
    package init(started result: WriteResult, for request: EndpointRequest) {
        self.init(result, to: request, at: "/v1/jobs")
    }
}

extension EndpointDocumentation {
    /// Of an endpoint that starts a job and says no more than its id.
    package static let startsJob = EndpointDocumentation {
        $0.parameters = [RecordParameters.idempotencyKey]
        $0.status = 202
        $0.response = [
            "type": "object", "required": ["job_id"],
            "properties": ["job_id": ["type": "string", "format": "uuid"]],
        ]
        $0.links = [("job_id", "/v1/jobs/{id}")]
    }
}

/// One thing that a service answers: where, what it is, and how.
package struct Endpoint: Sendable {
    /// The methods that endpoints have; HEAD is answered by GET without its body.
    package enum Method: String, Sendable {
        case get = "GET"
        case post = "POST"
        case put = "PUT"
        case patch = "PATCH"
        case delete = "DELETE"
    }

    package let method: Method
    /// `/v1/contacts/{id}`.
    package let path: String
    package let summary: String
    /// For the OpenAPI document: parameters, body and answers.
    package let documentation: EndpointDocumentation
    /// Answers without a credential; then `request.principal` must not be used.
    package let isPublic: Bool
    package let handle: @Sendable (EndpointRequest) async throws -> EndpointResponse

    package init(
        _ method: Method, _ path: String, _ summary: String, isPublic: Bool = false,
        documentation: EndpointDocumentation = EndpointDocumentation(),
        _ handle: @escaping @Sendable (EndpointRequest) async throws -> EndpointResponse
    ) {
        self.method = method
        self.path = path
        self.summary = summary
        self.isPublic = isPublic
        self.documentation = documentation
        self.handle = handle
    }
}

/// What the OpenAPI document says of an endpoint, as JSON Schema.
package struct EndpointDocumentation: Sendable {
    /// Parameter objects of OpenAPI, besides the path's own.
    package var parameters: [JSONValue] = []
    /// The schema of a JSON body.
    package var body: JSONValue?
    /// A whole requestBody object, for bodies that are no JSON.
    package var rawBody: JSONValue?
    /// The schema of the good answer; nil where it has no body.
    package var response: JSONValue?
    package var status = 200
    /// The schemas of further good answers, by status.
    package var others: [Int: JSONValue] = [:]
    /// A dry run answers with a prediction, as all writes of single records do.
    package var predicts = true
    /// Refusals besides those that every endpoint can give.
    package var refusals: [Int] = []
    package var responseType = "application/json"
    /// Where a member of the answer leads: the id for every endpoint whose path begins so.
    package var links: [(member: String, path: String)] = []

    package init(_ change: (inout EndpointDocumentation) -> Void = { _ in }) { change(&self) }
}

import Foundation
import HTTPTypes
import Records
import Tenancy

extension LiveStreams {
    /// `GET /v1/events`: a stream of what concerns the bearer, as it happens.
    package var endpoint: Endpoint {
        let names = store.catalogue.types.map(\.name)
        let documentation = EndpointDocumentation {
            $0.parameters = [
                RecordParameters.query("types", Self.typesSchema(names)),
                RecordParameters.query("once", ["type": "boolean"]),
                [
                    "name": "Last-Event-ID", "in": "header", "required": false,
                    "schema": ["type": "string", "maxLength": 8000],
                    "description": "The last id of an earlier stream: what came since is told first.",
                ],
            ]
            // Of one event.
            $0.response = [
                "type": "object", "required": ["event", "data"],
                "properties": [
                    "event": ["type": "string"], "id": ["type": "string"],
                    "data": ["type": "string", "contentMediaType": "application/json"],
                ],
                "description": .string(
                    """
                    Server-sent events: ready, reset (read the lists again), notification, job, change, and the \
                    service's own. A comment at least every fifteen seconds. With once=true it ends when it has told \
                    what there is.
                    """),
            ]
            $0.responseType = "text/event-stream"
        }
        return Endpoint(
            .get, "/v1/events", "A stream of what concerns the bearer, as it happens", documentation: documentation
        ) { [self] request in
            try request.allow(["types", "once"])
            let types = try Self.types(request.parameter("types"), names)
            let once = try request.flag("once")
            for type in types where request.principal.permissions.scope(of: .read, on: type) == nil {
                throw Problem(403, "forbidden", "Your roles do not allow you to read \(type) records.")
            }
            guard let token = Self.token(request.headers) else { throw Problem.forbidden }
            try requireRoom(request.principal.tenant)
            let session = LiveSession(
                streams: self, token: token, principal: request.principal, types: types,
                cursor: LiveSession.cursor(request.headers[.lastEventID], store, request.principal), once: once)
            var answer = EndpointResponse(
                200, contentType: "text/event-stream", headers: [(.accelBuffering, "no")])
            answer.stream = EndpointResponse.Stream(length: nil) { write in try await session.run(write) }
            return answer
        }
    }

    private static func typesSchema(_ names: [String]) -> JSONValue {
        guard !names.isEmpty else { return ["type": "string", "maxLength": 0] }
        let one = names.map { $0.replacing("-", with: "\\-") }.joined(separator: "|")
        return ["type": "string", "pattern": .string("^(\(one))(,(\(one)))*$"), "maxLength": 2000]
    }

    private static func types(_ text: String?, _ names: [String]) throws(Problem) -> Set<String> {
        guard let text, !text.isEmpty || !names.isEmpty else { return [] }
        var types: Set<String> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard names.contains(String(part)) else {
                throw .badRequest("invalid_parameter", "types: there is no \(part.prefix(60)).")
            }
            types.insert(String(part))
        }
        return types
    }

    private static func token(_ headers: HTTPFields) -> BearerToken? {
        headers[.authorization]?.split(separator: " ").last.flatMap { BearerToken(String($0)) }
    }
}

extension HTTPField.Name {
    static let lastEventID = HTTPField.Name("Last-Event-ID")!
    /// Tells nginx to pass on what comes as it comes.
    static let accelBuffering = HTTPField.Name("X-Accel-Buffering")!
}

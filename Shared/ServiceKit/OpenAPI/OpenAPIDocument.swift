import Foundation
import Records

/// A service's OpenAPI 3.1 document, from its endpoints.
struct OpenAPIDocument {
    let service: String
    let endpoints: [Endpoint]

    var json: JSONValue {
        var paths: [String: [String: JSONValue]] = [:]
        for endpoint in endpoints {
            paths[endpoint.path, default: [:]][endpoint.method.rawValue.lowercased()] = operation(endpoint)
        }
        return [
            "openapi": "3.1.0",
            "info": [
                "title": .string("Guanxi \(service)"), "version": "1",
                "description":
                    "Customer relationship management as a service. Every refusal is application/problem+json.",
            ],
            "security": [["bearer": []]],
            "paths": .object(paths.mapValues { .object($0) }),
            "components": [
                "securitySchemes": [
                    "bearer": [
                        "type": "http", "scheme": "bearer", "description": "An API key (gx_…) or a session (gs_…).",
                    ]
                ],
                "schemas": ["Problem": Self.problem],
            ],
        ]
    }

    private func operation(_ endpoint: Endpoint) -> JSONValue {
        let documentation = endpoint.documentation
        var responses: [String: JSONValue] = [:]
        responses["\(documentation.status)"] =
            documentation.response.map { schema in
                ["description": "Done", "content": .object([documentation.responseType: ["schema": schema]])]
            } ?? ["description": "Done"]
        let links = self.links(endpoint)
        if !links.isEmpty, case .object(var answer)? = responses["\(documentation.status)"] {
            answer["links"] = .object(links)
            responses["\(documentation.status)"] = .object(answer)
        }
        let dryRun = documentation.parameters.contains { $0["name"]?.text == "dry_run" }
        for (status, schema) in documentation.others {
            responses["\(status)"] = ["description": "Done", "content": ["application/json": ["schema": schema]]]
        }
        if dryRun && documentation.predicts {
            var schema = RecordSchemas.prediction
            if documentation.status == 200, let response = documentation.response {
                schema = ["anyOf": [response, schema]]
            }
            responses["200"] = [
                "description": "Done, or a dry run", "content": ["application/json": ["schema": schema]],
            ]
        }
        var refusals = Set(documentation.refusals).union([400, 429])
        if !endpoint.isPublic { refusals.formUnion([401, 403]) }
        if documentation.body != nil { refusals.formUnion([413, 415, 422]) }
        for status in refusals {
            responses["\(status)"] = [
                "description": .string("Refused"),
                "content": ["application/problem+json": ["schema": ["$ref": "#/components/schemas/Problem"]]],
            ]
        }
        var operation: [String: JSONValue] = [
            "summary": .string(endpoint.summary),
            "operationId": .string(Self.operationID(endpoint)),
            "tags": [.string(endpoint.path.split(separator: "/").dropFirst().first.map(String.init) ?? service)],
            "responses": .object(responses),
        ]
        // Places in a path are ids, unless the endpoint says otherwise.
        let described = documentation.parameters.filter { $0["in"] == "path" }.compactMap { $0["name"]?.text }
        let inPath = endpoint.path.split(separator: "/").filter { $0.hasPrefix("{") }
            .map { String($0.dropFirst().dropLast()) }.filter { !described.contains($0) }.map { name -> JSONValue in
                [
                    "name": .string(name), "in": "path", "required": true,
                    "schema": ["type": "string", "format": "uuid"],
                ]
            }
        let parameters = inPath + documentation.parameters
        if !parameters.isEmpty { operation["parameters"] = .array(parameters) }
        if let body = documentation.body {
            operation["requestBody"] = ["required": true, "content": ["application/json": ["schema": body]]]
        } else if let body = documentation.rawBody {
            operation["requestBody"] = body
        }
        if endpoint.isPublic { operation["security"] = [] }
        return .object(operation)
    }

    private static func operationID(_ endpoint: Endpoint) -> String {
        endpoint.method.rawValue.lowercased() + endpoint.path.map { $0.isLetter ? String($0) : "_" }.joined()
    }

    /// What can be done next with the id that an answer holds.
    private func links(_ endpoint: Endpoint) -> [String: JSONValue] {
        var sources = endpoint.documentation.links
        if endpoint.documentation.status == 201, endpoint.path.hasPrefix("/v1/"), endpoint.method == .post {
            sources.append(("id", endpoint.path + "/{id}"))
        }
        var links: [String: JSONValue] = [:]
        for (member, path) in sources {
            for next in endpoints where next.path.hasPrefix(path) {
                links[Self.operationID(next)] = [
                    "operationId": .string(Self.operationID(next)),
                    "parameters": ["id": .string("$response.body#/\(member)")],
                ]
            }
        }
        return links
    }

    private static let problem: JSONValue = [
        "type": "object", "required": ["type", "title", "status", "code", "detail", "request_id"],
        "properties": [
            "type": ["type": "string"], "title": ["type": "string"], "status": ["type": "integer"],
            "code": ["type": "string", "description": "Stable, for programs."], "detail": ["type": "string"],
            "request_id": ["type": "string"],
            "errors": [
                "type": "array",
                "items": [
                    "type": "object", "required": ["pointer", "code", "message"],
                    "properties": [
                        "pointer": ["type": "string"], "code": ["type": "string"], "message": ["type": "string"],
                    ],
                ],
            ],
        ],
    ]
}

/// The document as a page for people.
struct DocumentationPage {
    let document: OpenAPIDocument

    var html: [UInt8] {
        func escaped(_ text: String) -> String {
            text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
        }
        let rows = document.endpoints.map { endpoint in
            """
            <tr><td class="m">\(endpoint.method.rawValue)</td><td><code>\(escaped(endpoint.path))</code></td>\
            <td>\(escaped(endpoint.summary))</td></tr>
            """
        }
        return Array(
            """
            <!doctype html><html lang="en"><meta charset="utf-8"><title>Guanxi \(document.service)</title>
            <meta name="viewport" content="width=device-width">
            <style>body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b2a34}
            table{border-collapse:collapse;width:100%}td{padding:.3rem .6rem;border-bottom:1px solid #dde5e9}
            .m{font-weight:600;color:#0b6b61}h1{font-weight:600}code{overflow-wrap:anywhere}
            @media(max-width:40rem){tr{display:block;padding:.4rem 0;border-bottom:1px solid #dde5e9}
            td{display:inline-block;border:0;padding:.1rem .6rem .1rem 0}td:last-child{display:block}}</style>
            <h1>Guanxi · \(document.service)</h1>
            <p>Every address below takes <code>Authorization: Bearer</code> with an API key or a session. Refusals are
            <code>application/problem+json</code>. The whole description: <a href="openapi.json">openapi.json</a>.</p>
            <table>\(rows.joined(separator: "\n"))</table></html>
            """.utf8)
    }
}

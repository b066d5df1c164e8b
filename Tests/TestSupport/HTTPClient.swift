import Foundation
import Records

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// An answer over HTTP.
package struct Answer: Sendable {
    package let status: Int
    package let headers: [String: String]
    package let bytes: [UInt8]

    package var text: String { String(decoding: bytes, as: UTF8.self) }
    /// The body as JSON; null when it is none.
    package var json: JSONValue { (try? JSONParser.parse(bytes)) ?? .null }
    package func header(_ name: String) -> String? { headers[name.lowercased()] }
}

/// Talks to one address with one credential.
package struct HTTPClient: Sendable {
    package let base: String
    package var token: String?
    private static let session: URLSession = {
        let configuration = URLSessionConfiguration.ephemeral
        configuration.timeoutIntervalForRequest = 60
        configuration.httpMaximumConnectionsPerHost = 32
        return URLSession(configuration: configuration)
    }()

    package init(base: String, token: String? = nil) {
        self.base = base
        self.token = token
    }

    /// Sends a request and gives whatever comes back; throws only when nothing does.
    package func send(
        _ method: String, _ path: String, json: JSONValue? = nil, body: [UInt8]? = nil, headers: [String: String] = [:]
    ) async throws -> Answer {
        guard let url = URL(string: base + path) else { throw TestFailure("not a URL: \(base + path)") }
        var request = URLRequest(url: url)
        request.httpMethod = method
        if let token { request.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization") }
        if let json {
            request.httpBody = Data(json.encodedBytes)
            request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        } else if let body {
            request.httpBody = Data(body)
        }
        for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
        // Not `data(for:)`: cancelled at the moment it ends, it waits for itself, and all tests with it.
        let sent = request
        let (data, http) = try await withCheckedThrowingContinuation { continuation in
            let task = Self.session.dataTask(with: sent) { data, response, error in
                if let data, let http = response as? HTTPURLResponse {
                    continuation.resume(returning: (data, http))
                } else {
                    continuation.resume(throwing: error ?? TestFailure("no answer from \(sent)"))
                }
            }
            task.resume()
        }
        var fields: [String: String] = [:]
        for (name, value) in http.allHeaderFields { fields["\(name)".lowercased()] = "\(value)" }
        return Answer(status: http.statusCode, headers: fields, bytes: Array(data))
    }

    package func get(_ path: String) async throws -> Answer { try await send("GET", path) }

    package func post(_ path: String, _ json: JSONValue, key: String? = nil) async throws -> Answer {
        try await send("POST", path, json: json, headers: key.map { ["Idempotency-Key": $0] } ?? [:])
    }

    package func patch(_ path: String, _ json: JSONValue, version: String = "*") async throws -> Answer {
        try await send("PATCH", path, json: json, headers: ["If-Match": version])
    }

    /// Uploads a file as an import.
    package func upload(_ path: String = "/v1/imports", options: JSONValue, file: [UInt8], key: String? = nil)
        async throws -> Answer
    {
        let boundary = "guanxi-\(UUID().uuidString)"
        var body = Array(
            "--\(boundary)\r\nContent-Disposition: form-data; name=\"options\"\r\nContent-Type: application/json\r\n\r\n"
                .utf8)
        body += options.encodedBytes
        body += Array(
            "\r\n--\(boundary)\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.csv\"\r\n\r\n".utf8)
        body += file
        body += Array("\r\n--\(boundary)--\r\n".utf8)
        var headers = ["Content-Type": "multipart/form-data; boundary=\(boundary)"]
        headers["Idempotency-Key"] = key
        return try await send("POST", path, body: body, headers: headers)
    }

    /// Sends until an answer comes that is no outage: for tests that kill servers. Safe for writes with a key.
    package func insist(
        _ method: String, _ path: String, json: JSONValue? = nil, headers: [String: String] = [:], seconds: Double = 90
    ) async throws -> Answer {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while true {
            let answer = try? await send(method, path, json: json, headers: headers)
            if let answer, answer.status < 500 { return answer }
            if ContinuousClock.now > deadline {
                throw TestFailure("\(method) \(path): \(answer?.text ?? "no answer") for \(seconds) s")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }
}

import Database
import Foundation
import HTTPTypes
import Hummingbird
import Jobs
import Logging
import Metrics
import NIOCore
import NIOHTTP1
import Records
import Spans
import Tenancy
import Tracing

/// What a request carries besides itself.
struct ServiceRequestContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// The address at the other end of the connection.
    let peer: String?

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        peer = source.channel.remoteAddress?.ipAddress
    }
}

/// Answers every request of a service: finds the endpoint, the bearer and its limits, runs the endpoint, and turns
/// every refusal into problem+json. Hummingbird's router knows no 405, so the table is ours.
struct ServiceResponder: HTTPResponder {
    typealias Context = ServiceRequestContext

    let service: String
    let table: RouteTable
    let authenticator: Authenticator
    let limiter = RateLimiter()
    let meter: UsageMeter
    private let strays = RouteTimers(route: "unknown", method: "any")
    let maximumBody: Int
    let proxies: TrustedProxies
    let tracer: SpanTracer
    let logger: Logger

    func respond(to request: Request, context: Context) async throws -> Response {
        let started = ContinuousClock.now
        let requestID = Self.requestID(request.headers)
        var answer: EndpointResponse
        // A refusal belongs to its route as much as a good answer; what matched none is counted together.
        let target = Target(request, table)
        let span = begin(request, target, requestID: requestID)
        let trace = span.context.spanContext!
        do {
            let client = proxies.client(peer: context.peer, forwardedFor: request.headers[.forwardedFor])
            answer = try await self.answer(request, target, client: client, requestID: requestID, span: span)
        } catch let error as HTTPParserError {
            span.end()
            throw error
        } catch {
            answer = problem(error, requestID: requestID, request)
        }
        answer.headers.append((.requestID, requestID))
        answer.headers.append((.traceparent, trace.traceparent))
        let took = ContinuousClock.now - started
        (target.route?.timers ?? strays).record(took, status: answer.status)
        end(span, status: answer.status)
        if answer.status >= 500 || logger.logLevel <= .debug {
            logger.log(
                level: answer.status >= 500 ? .error : .debug, "request",
                metadata: [
                    "method": "\(request.method.rawValue)", "route": "\(target.route?.endpoint.path ?? "unknown")",
                    "status": "\(answer.status)",
                    "request": "\(requestID)", "trace": "\(trace.traceID)", "took_ms": "\(took / .milliseconds(1))",
                ])
        }
        return Self.response(answer, isHead: request.method == .head)
    }

    /// What a request asks for, before anything is known of who asks.
    private struct Target {
        let path: Substring
        let query: Substring?
        let match: RouteTable.Match

        init(_ request: Request, _ table: RouteTable) {
            let text = (request.head.path ?? "")[...]
            let mark = text.utf8.firstIndex(of: UInt8(ascii: "?"))
            path = mark.map { text[..<$0] } ?? text
            query = mark.map { text[text.utf8.index(after: $0)...] }
            match = table.match(method: request.method == .head ? "GET" : request.method.rawValue, path: path)
        }

        var route: RouteTable.Route? { if case .found(let route, _) = match { route } else { nil } }
    }

    /// The span of a request, in its caller's trace or a new one. Named after the route: addresses hold ids, and every
    /// one would be a name of its own.
    private func begin(_ request: Request, _ target: Target, requestID: String) -> TraceSpan {
        var context = InstrumentationContext.topLevel
        if let header = request.headers[.traceparent] { context.spanContext = SpanContext(traceparent: header) }
        let route = target.route?.endpoint.path
        let span = tracer.startSpan(
            route.map { "\(request.method.rawValue) \($0)" } ?? request.method.rawValue, context: context,
            ofKind: .server)
        guard span.isRecording else { return span }
        span.updateAttributes { attributes in
            attributes["http.request.method"] = request.method.rawValue
            if let route { attributes["http.route"] = route }
            attributes["guanxi.request"] = requestID
        }
        return span
    }

    private func end(_ span: TraceSpan, status: Int) {
        if span.isRecording {
            span.attributes["http.response.status_code"] = Int64(status)
            if status >= 500 { span.setStatus(SpanStatus(code: .error)) }
        }
        span.end()
    }

    private func answer(
        _ request: Request, _ target: Target, client: String?, requestID: String, span: TraceSpan
    ) async throws -> EndpointResponse {
        let endpoint: Endpoint
        let values: [String: String]
        switch target.match {
        case .found(let route, let parameters): (endpoint, values) = (route.endpoint, parameters)
        case .otherMethod(let methods):
            throw Problem(
                405, "method_not_allowed", "This address does not take \(request.method.rawValue).",
                headers: [("Allow", methods.joined(separator: ", "))])
        case .none: throw Problem.notFound("address")
        }
        // The bearer comes first: nothing else is told to whoever has no right to be here.
        let principal = endpoint.isPublic ? nil : try await self.principal(request.headers)
        var limits: [(HTTPField.Name, String)] = []
        if let principal {
            if let allowed = principal.addresses, !allowed.contains(where: { $0.contains(client ?? "") }) {
                throw Problem(403, "address_not_allowed", "This key can't be used from your address.")
            }
            if principal.isSuspended { throw Problem(403, "tenant_suspended", "This tenant is suspended.") }
            let verdict = limiter.take(principal)
            meter.count(principal, isRefused: verdict.retryAfter != nil)
            if span.isRecording { span.attributes["guanxi.tenant"] = principal.tenant.rawValue }
            limits = [
                (.rateLimitPolicy, "\"default\";q=\(verdict.limit);w=1"),
                (.rateLimit, "\"default\";r=\(verdict.remaining);t=\(verdict.retryAfter ?? 1)"),
            ]
            if let seconds = verdict.retryAfter {
                throw Problem(
                    429, "too_many_requests", "More than \(verdict.limit) requests a second.",
                    headers: limits.map { ($0.rawName, $1) } + [("Retry-After", "\(seconds)")])
            }
        }
        let query = try Self.query(target.query)
        let key = try Self.idempotencyKey(request.headers, endpoint.method)
        let bearer = principal ?? Self.nobody
        let endpointRequest = EndpointRequest(
            principal: bearer,
            context: WriteContext(
                principal: bearer, requestID: requestID, traceparent: span.context.spanContext?.traceparent),
            path: values, query: query, headers: request.headers, body: request.body,
            prefix: Self.prefix(request.headers), client: client,
            maximumBody: maximumBody)
        var answer: EndpointResponse
        if let key {
            answer = try await idempotent(endpoint, endpointRequest, key: key, path: String(target.path))
        } else {
            answer = try await endpoint.handle(endpointRequest)
        }
        answer.headers += limits
        return answer
    }

    /// Reads the body, so that its digest can be compared, and hands the key on to whoever writes.
    private func idempotent(
        _ endpoint: Endpoint, _ request: EndpointRequest, key: String, path: String
    ) async throws -> EndpointResponse {
        let query = request.query.map { "\($0.name)=\($0.value)" }.joined(separator: "&")
        let head = Array("\(endpoint.method.rawValue) \(path)?\(query)\n".utf8)
        var body = request.body
        var digest = Sodium.hash(head)
        // An upload is not held in memory: its endpoint adds what passes through.
        if endpoint.documentation.rawBody == nil {
            let bytes = try await request.bytes()
            digest = Sodium.hash(head + bytes)
            body = RequestBody(buffer: ByteBuffer(bytes: bytes))
        }
        var context = request.context
        context.idempotency = WriteContext.Idempotency(key: key, digest: digest)
        return try await endpoint.handle(
            EndpointRequest(
                principal: request.principal, context: context, path: request.path, query: request.query,
                headers: request.headers, body: body, prefix: request.prefix, client: request.client,
                maximumBody: maximumBody))
    }

    // MARK: Reading the request

    private func principal(_ headers: HTTPFields) async throws -> Principal {
        let challenge = [("WWW-Authenticate", "Bearer realm=\"guanxi\"")]
        guard let text = headers[.authorization] else {
            throw Problem(
                401, "unauthenticated", "Send Authorization: Bearer with a key or a session.", headers: challenge)
        }
        let parts = text.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0] == "Bearer" || parts[0].lowercased() == "bearer",
            let principal = try await authenticator.principal(forText: parts[1])
        else { throw Problem(401, "unauthenticated", "The key or session is not valid.", headers: challenge) }
        return principal
    }

    private static let nobody = Principal(
        tenant: TenantID(0), slug: "", user: nil, team: nil, actor: "nobody", permissions: Permissions(roles: []),
        locale: "en", defaults: .neutral, tenantRate: 1, credentialRate: nil,
        isSuspended: false)

    static func query(_ text: Substring?) throws(Problem) -> [(name: String, value: String)] {
        var parameters: [(String, String)] = []
        for part in (text ?? "").split(separator: "&") {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = RouteTable.decoded(pair[0], plusIsSpace: true),
                let value = RouteTable.decoded(pair.count > 1 ? pair[1] : "", plusIsSpace: true)
            else { throw .badRequest("invalid_query", "The query string can't be decoded.") }
            guard parameters.count < 100 else { throw .badRequest("invalid_query", "Too many parameters.") }
            parameters.append((name, value))
        }
        return parameters
    }

    private static func idempotencyKey(_ headers: HTTPFields, _ method: Endpoint.Method) throws(Problem) -> String? {
        guard method == .post || method == .patch, let key = headers[.idempotencyKey] else { return nil }
        guard (8...64).contains(key.utf8.count),
            key.utf8.allSatisfy({
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95
            })
        else { throw .badRequest("invalid_header", "Idempotency-Key has 8 to 64 letters, digits, - or _.") }
        return key
    }

    private static func requestID(_ headers: HTTPFields) -> String {
        if let given = headers[.requestID], (1...64).contains(given.utf8.count),
            given.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != 34 && $0 != 92 })
        {
            return given
        }
        return UUID.v7().lowercased
    }

    private static func prefix(_ headers: HTTPFields) -> String {
        guard let prefix = headers[.forwardedPrefix], prefix.hasPrefix("/"),
            prefix.dropFirst().utf8.allSatisfy({ (97...122).contains($0) })
        else { return "" }
        return prefix
    }

    // MARK: Writing the answer

    private func problem(_ error: any Error, requestID: String, _ request: Request) -> EndpointResponse {
        let problem: Problem
        switch error {
        case let known as Problem: problem = known
        case let field as FieldError: problem = .invalid([field])
        case let database as DatabaseError:
            logger.error("database", metadata: ["error": "\(database)", "request": "\(requestID)"])
            switch database.code {
            case .unavailable, .connectionLost:
                problem = Problem(
                    503, "unavailable", "The service is not available right now.", headers: [("Retry-After", "1")])
            case .cancelled:
                problem = Problem(503, "too_slow", "The request took too long.", headers: [("Retry-After", "1")])
            case .conflict, .lockUnavailable:
                problem = Problem(
                    409, "busy", "Another change was in the way. Try again.", headers: [("Retry-After", "1")])
            default: problem = Problem(500, "internal", "Something went wrong on our side.")
            }
        default:
            logger.error("unexpected", metadata: ["error": "\(error)", "request": "\(requestID)"])
            problem = Problem(500, "internal", "Something went wrong on our side.")
        }
        return EndpointResponse(
            problem.status, problem.body(requestID: requestID).encodedBytes, contentType: "application/problem+json",
            headers: problem.headers.compactMap { name, value in HTTPField.Name(name).map { ($0, value) } })
    }

    private static func response(_ answer: EndpointResponse, isHead: Bool) -> Response {
        var headers = HTTPFields()
        if !answer.body.isEmpty || answer.status != 204 {
            headers[.contentType] = answer.contentType
        }
        headers[.cacheControl] = "no-store"
        headers[.xContentTypeOptions] = "nosniff"
        for (name, value) in answer.headers { headers.append(HTTPField(name: name, value: value)) }
        let status = HTTPResponse.Status(code: answer.status)
        if isHead {
            headers[.contentLength] = (answer.stream?.length ?? answer.body.count).description
            return Response(status: status, headers: headers)
        }
        guard let stream = answer.stream else {
            return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: answer.body)))
        }
        return Response(
            status: status, headers: headers,
            body: .init(contentLength: stream.length) { writer in
                try await stream.write { try await writer.write(ByteBuffer(bytes: $0)) }
                try await writer.finish(nil)
            })
    }
}

extension HTTPField.Name {
    static let changeSet = HTTPField.Name("X-Change-Set")!
    static let dryRun = HTTPField.Name("X-Dry-Run")!
    static let idempotencyReplayed = HTTPField.Name("Idempotency-Replayed")!
    static let link = HTTPField.Name("Link")!
    static let rateLimit = HTTPField.Name("RateLimit")!
    static let rateLimitPolicy = HTTPField.Name("RateLimit-Policy")!
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
    static let requestID = HTTPField.Name("X-Request-Id")!
    static let forwardedFor = HTTPField.Name("X-Forwarded-For")!
    static let forwardedPrefix = HTTPField.Name("X-Forwarded-Prefix")!
    static let traceparent = HTTPField.Name("traceparent")!
}

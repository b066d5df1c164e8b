import Database
import Foundation
import HTTPTypes
import Hummingbird
import Jobs
import Logging
import Records
import Redis
import Tenancy

/// The operators' HTTP surface, on the internal port under `/operator/v1`: the queues of this service, and the workers it
/// wants. Whoever has the token of the setting `operator.token` may do all of it; without that setting none of it is
/// there.
struct OperatorEndpoints: Sendable {
    let queues: QueueOperator
    let demand: DemandWatch
    let token: [UInt8]
    let logger: Logger

    /// The most a request's body may have.
    private static let maximumBody = 65_536
    /// Seconds that a request may wait for a queue to come to rest.
    private static let longestDrain = 300.0

    func add(to router: Router<BasicRequestContext>) {
        let group = router.group("operator/v1")
        looking(group)
        steering(group)
    }

    private func looking(_ group: RouterGroup<BasicRequestContext>) {
        group.get("queues", use: answering { _ in try await queues.figures() })
        group.get(
            "queues/:name/tenants",
            use: answering { call in
                try await queues.standings(in: call.parameter("name"), limit: try call.number("limit") ?? 50)
            })
        group.get(
            "queues/:name/jobs",
            use: answering { call in
                let filter = try await filter(call.query, queue: call.parameter("name"))
                return try await queues.jobs(filter)
            })
        group.get("jobs/:id", use: answering { try await queues.story(try $0.id()) })
        group.get(
            "jobs/:id/why", use: answering { try await queues.why(try await queues.story(try $0.id())) })
        group.get("workers", use: answering { _ in try await queues.workers() })
        group.get("wanted-workers", use: answering { try await wanted($0) })
    }

    private func steering(_ group: RouterGroup<BasicRequestContext>) {
        for (verb, paused) in [("pause", true), ("resume", false)] {
            group.post(
                "queues/:name/\(verb)",
                use: answering { call in
                    let name = try call.parameter("name")
                    try await queues.setPaused(paused, name)
                    return try await queues.figures(of: name)
                })
        }
        group.post(
            "queues/:name/drain",
            use: answering { call in
                let seconds = try call.body(DrainOrder.self).seconds ?? 30
                guard (0...Self.longestDrain).contains(seconds) else {
                    throw Problem.invalid(
                        "/seconds", "out_of_range", "seconds lies between 0 and \(Int(Self.longestDrain)).")
                }
                let name = try call.parameter("name")
                _ = try await queues.drain(name, within: seconds)
                return try await queues.figures(of: name)
            })
        group.post(
            "workers/:name/stop",
            use: answering { call in
                let process = try await queues.process(ofWorker: try call.parameter("name"))
                try process.stop()
                return process
            })
        for (verb, isQuiet) in [("quiet", true), ("resume", false)] {
            group.post(
                "workers/:name/\(verb)",
                use: answering { call in try await queues.setQuiet(isQuiet, try call.parameter("name")) })
        }
        group.post(
            "jobs/:id/cancel",
            use: answering { call in
                try await queues.cancel(try call.id())
                return try await queues.story(try call.id())
            })
        group.post(
            "jobs/:id/retry",
            use: answering { try await queues.retry(try $0.id()).answer(of: try $0.id()) })
        group.post("queues/:name/replay", use: answering { try await replay($0) })
        group.put(
            "queues/:name/shares/:tenant",
            use: answering { call in
                let change = try call.body(QueueOperator.ShareChange.self)
                let tenant = try await queues.tenant(try call.parameter("tenant"))
                return try await queues.setShare(change, of: tenant, in: try call.parameter("name"))
            })
    }

    /// `?queue=all`, or one queue; `format=keda` is the same JSON, which KEDA's metrics-api scaler reads as it is.
    private func wanted(_ call: Call) async throws -> DemandWatch.ServiceDemand {
        if let format = call.query["format"], format != "keda" && format != "json" {
            throw Problem.badRequest("invalid_query", "format is json or keda.")
        }
        guard var service = try await demand.current().first else { throw Problem.notFound("queue") }
        if let name = call.query["queue"], name != "all" {
            try queues.require(name)
            service.queues.removeAll { $0.queue != name }
            service.wanted = service.queues.first?.wanted ?? 0
        }
        return service
    }

    private struct DrainOrder: Decodable {
        var seconds: Double?
    }

    private struct ReplayOrder: Decodable {
        var tenant: String?
        var name: String?
        var code: String?
        var since: String?
        var until: String?
        var limit: Int?
        var perSecond: Double?
        var dryRun: Bool?
    }

    private func replay(_ call: Call) async throws -> QueueOperator.Replay {
        let order = try call.body(ReplayOrder.self)
        var query = ["tenant": order.tenant, "name": order.name, "code": order.code].compactMapValues { $0 }
        query["since"] = order.since
        query["until"] = order.until
        query["limit"] = order.limit.map(String.init)
        if let rate = order.perSecond, !QueueOperator.replayRates.contains(rate) {
            throw Problem.invalid("/per_second", "out_of_range", "per_second lies between 0.001 and 1,000,000.")
        }
        return try await queues.replay(
            try await filter(query, queue: call.parameter("name")), perSecond: order.perSecond,
            dryRun: order.dryRun ?? (call.query["dry_run"] == "true"))
    }

    private func filter(_ query: [String: String], queue: String) async throws -> QueueOperator.Filter {
        var filter = QueueOperator.Filter()
        filter.queues = [queue]
        if let phase = query["phase"] {
            guard let known = RedisQueue.Phase(rawValue: phase) else {
                throw Problem.badRequest("invalid_query", "phase is running, waiting, delayed or dead.")
            }
            filter.phases = [known]
        }
        if let tenant = query["tenant"] { filter.tenant = try await queues.tenant(tenant).id }
        filter.name = query["name"]
        filter.code = query["code"]
        filter.since = try Self.time(query["since"], "since")
        filter.until = try Self.time(query["until"], "until")
        if let text = query["limit"] {
            guard let limit = Int(text), (1...10_000).contains(limit) else {
                throw Problem.badRequest("invalid_query", "limit is 1 to 10000.")
            }
            filter.limit = limit
        }
        return filter
    }

    private static func time(_ text: String?, _ name: String) throws -> Date? {
        guard let text else { return nil }
        guard let time = Timestamp.parse(text) else {
            throw Problem.badRequest("invalid_query", "\(name) is a time, such as 2026-01-31T12:00:00Z.")
        }
        return time
    }

    // MARK: Requests and answers

    /// A request that has shown the token.
    private struct Call {
        let context: BasicRequestContext
        let query: [String: String]
        let bytes: [UInt8]

        func parameter(_ name: String) throws -> String { try context.parameters.require(name) }

        func id() throws -> UUID {
            guard let id = UUID(uuidString: try parameter("id")) else { throw Problem.notFound("job") }
            return id
        }

        func number(_ name: String) throws -> Int? {
            guard let text = query[name] else { return nil }
            guard let number = Int(text), (1...10_000).contains(number) else {
                throw Problem.badRequest("invalid_query", "\(name) is 1 to 10000.")
            }
            return number
        }

        func body<Value: Decodable>(_ type: Value.Type) throws -> Value {
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            do { return try decoder.decode(type, from: Data(bytes.isEmpty ? Array("{}".utf8) : bytes)) } catch {
                throw Problem.badRequest("invalid_body", "The body is a JSON object with values of the right types.")
            }
        }
    }

    private func answering<Value: Encodable & Sendable>(
        _ body: @escaping @Sendable (Call) async throws -> Value
    ) -> @Sendable (Request, BasicRequestContext) async throws -> Response {
        { request, context in
            do {
                try authenticate(request)
                let bytes: [UInt8]
                do { bytes = Array(buffer: try await request.body.collect(upTo: Self.maximumBody)) } catch {
                    throw Problem(413, "body_too_large", "A body has at most \(Self.maximumBody) bytes.")
                }
                let query = try ServiceResponder.query(request.uri.query.map { $0[...] })
                let call = Call(
                    context: context, query: Dictionary(query.map { ($0.name, $0.value) }) { $1 }, bytes: bytes)
                return Self.response(200, try OperatorJSON.encode(try await body(call)), "application/json")
            } catch {
                let problem = problem(error)
                var response = Self.response(
                    problem.status, problem.body(requestID: UUID.v7().lowercased).encodedBytes,
                    "application/problem+json")
                for (name, value) in problem.headers {
                    if let name = HTTPField.Name(name) { response.headers[name] = value }
                }
                return response
            }
        }
    }

    private func authenticate(_ request: Request) throws {
        let challenge = [("WWW-Authenticate", "Bearer realm=\"guanxi-operator\"")]
        let parts = (request.headers[.authorization] ?? "").split(separator: " ", maxSplits: 1)
        // Digests are compared, in constant time: neither the token's letters nor its length can be felt for.
        guard parts.count == 2, parts[0].lowercased() == "bearer",
            Sodium.isEqual(Sodium.hash(Array(parts[1].utf8)), Sodium.hash(token))
        else {
            throw Problem(
                401, "unauthenticated", "Send Authorization: Bearer with the operators' token.", headers: challenge)
        }
    }

    private func problem(_ error: any Error) -> Problem {
        switch error {
        case let known as Problem: return known
        case let refusal as OperatorRefusal:
            let status = refusal.code.hasPrefix("unknown_") ? 404 : refusal.code.hasPrefix("invalid_") ? 422 : 409
            return Problem(status, refusal.code, "\(refusal.description).")
        case let database as DatabaseError where database.isOutage:
            return Problem(
                503, "unavailable", "PostgreSQL is not available right now.", headers: [("Retry-After", "1")])
        case is RedisError:
            return Problem(503, "unavailable", "Redis is not available right now.", headers: [("Retry-After", "1")])
        default:
            logger.error("operator request failed", metadata: ["error": "\(error)"])
            return Problem(500, "internal", "Something went wrong on our side.")
        }
    }

    private static func response(_ status: Int, _ bytes: [UInt8], _ type: String) -> Response {
        var headers = HTTPFields()
        headers[.contentType] = type
        headers[.cacheControl] = "no-store"
        headers[.xContentTypeOptions] = "nosniff"
        return Response(
            status: .init(code: status), headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
    }
}

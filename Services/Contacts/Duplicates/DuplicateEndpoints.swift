import Database
import Foundation
import Matching
import Records
import ServiceKit
import Tenancy

/// Likely duplicates: the list with its reasons, the scan, and what a person decided.
struct DuplicateEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [list, scan, dismiss] }

    private static let id: JSONValue = ["type": "string", "format": "uuid"]

    // MARK: List

    private var list: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [
                RecordParameters.query("min_score", ["type": "number", "minimum": 0, "maximum": 1]),
                RecordParameters.query("contact_id", Self.id),
                RecordParameters.query("limit", ["type": "integer", "minimum": 1, "maximum": 200]),
                RecordParameters.query("cursor", ["type": "string"]),
            ]
            $0.response = [
                "type": "object", "required": ["items", "next_cursor"],
                "properties": [
                    "items": [
                        "type": "array",
                        "items": [
                            "type": "object", "required": ["left", "right", "score", "explanation"],
                            "properties": [
                                "left": Self.id, "right": Self.id, "score": ["type": "number"],
                                "explanation": ["type": "array"],
                            ],
                        ],
                    ],
                    "next_cursor": ["type": ["string", "null"]],
                ],
            ]
        }
        return Endpoint(
            .get, "/v1/duplicates", "Pairs of contacts that are likely one person, likeliest first, with the reasons",
            documentation: documentation
        ) { request in
            try request.allow(["min_score", "contact_id", "limit", "cursor"])
            let query = try PairQuery(request)
            guard try request.context.scope(of: .read, on: Contact.type) == .all else {
                throw Problem(403, "forbidden", "Your roles do not reach all contacts.")
            }
            let page = try await page(query, request)
            guard !request.context.hidden(Contact.type).isDisjoint(with: MatchProfile.identifyingFields),
                var members = page.object, let items = members["items"]?.array
            else { return EndpointResponse(json: page) }
            // The reasons quote the contacts; without one, the others' weights would tell of it.
            members["items"] = .array(
                items.map { item in
                    .object(
                        (item.object ?? [:]).filter { $0.key != "prior_weight" }.merging(["explanation": []]) { $1 })
                })
            return EndpointResponse(json: .object(members))
        }
    }

    private func page(_ query: PairQuery, _ request: EndpointRequest) async throws -> JSONValue {
        let tenant = request.context.tenant
        let cursor = store.cursor("\(tenant)/duplicates/\(query.minimum)/\(query.contact?.uuidString ?? "")")
        var parameters: [Parameter] = [tenant.parameter, .double(query.minimum), .int(query.limit + 1)]
        var conditions = ""
        if let contact = query.contact {
            parameters.append(.uuid(contact))
            conditions += " and (p.left_id = $\(parameters.count) or p.right_id = $\(parameters.count))"
        }
        if let text = query.cursor {
            let values = try cursor.decode(text, count: 3)
            let first = parameters.count + 1
            parameters += values.map { .optional($0) }
            conditions += """
                 and (p.score, p.left_id, p.right_id) < ($\(first)::float8, $\(first + 1)::uuid, $\(first + 2)::uuid)
                """
        }
        let statement = Statement(
            """
            select p.score, p.left_id, p.right_id, p.through_id from contacts.duplicate_pair p
            where p.tenant_id = $1 and not p.is_dismissed and p.score >= $2\(conditions)
            and 2 = (select count(*) from contacts.contact c where c.tenant_id = $1
                and c.id in (p.left_id, p.right_id) and c.deleted_at is null)
            order by p.score desc, p.left_id desc, p.right_id desc limit $3
            """, parameters)
        return try await store.database.withTenant(tenant) { transaction in
            let rows = try await transaction.query(statement)
            let shown = min(rows.count, query.limit)
            let ids = (0..<shown).flatMap { [rows.uuid($0, 1)!, rows.uuid($0, 2)!] }
            let profiles = try await DuplicateStore.profiles(Set(ids), in: transaction)
            let model = try await DuplicateStore.model(in: transaction)
            let pairs = (0..<shown).compactMap { row -> (left: MatchProfile, right: MatchProfile)? in
                guard let left = profiles[rows.uuid(row, 1)!], let right = profiles[rows.uuid(row, 2)!] else {
                    return nil
                }
                return (left, right)
            }
            let scores = Dictionary(
                zip(pairs, model.scores(pairs)).map { ([$0.0.left.id, $0.0.right.id], $0.1) },
                uniquingKeysWith: { first, _ in first })
            let items = (0..<shown).map { item(rows, $0, scores) }
            let next =
                rows.count > query.limit ? cursor.encode((0..<3).map { rows.text(shown - 1, $0) }) : nil
            return ["items": .array(items), "next_cursor": JSONValue(next)]
        }
    }

    /// The reasons are worked out from the contacts and the model as they are now.
    private func item(_ rows: Rows, _ row: Int, _ scores: [[UUID]: MatchScore]) -> JSONValue {
        let (left, right) = (rows.uuid(row, 1)!, rows.uuid(row, 2)!)
        var members: [String: JSONValue] = [
            "left": .string(left.lowercased), "right": .string(right.lowercased),
            "score": .number(rows.text(row, 0)!), "explanation": [],
        ]
        if let direct = scores[[left, right]] {
            let score =
                rows.uuid(row, 3).map { direct.implied(through: $0, probability: rows.double(row, 0)!) } ?? direct
            members["prior_weight"] = .number("\(score.priorBits)")
            members["explanation"] = score.json
        }
        return .object(members)
    }

    // MARK: Scan

    private var scan: Endpoint {
        Endpoint(
            .post, "/v1/duplicates/scan", "Compare all contacts anew, by a job", documentation: .startsJob
        ) { request in
            try request.allow([])
            let job = try await DuplicateMatching(store: store).start(request.context)
            return EndpointResponse(started: job, for: request)
        }
    }

    // MARK: Decisions

    private var dismiss: Endpoint {
        let documentation = EndpointDocumentation {
            $0.body = [
                "type": "object", "required": ["left", "right"], "additionalProperties": false,
                "properties": ["left": Self.id, "right": Self.id, "is_dismissed": ["type": "boolean"]],
            ]
            $0.response = ["type": "object", "required": ["left", "right", "is_dismissed"]]
            $0.refusals = [404]
        }
        return Endpoint(
            .post, "/v1/duplicates/dismissals", "Say that a pair is two people, or take that back",
            documentation: documentation
        ) { request in
            try request.allow([])
            let body = try await request.json()
            guard let left = body["left"]?.text.flatMap(UUID.init(uuidString:)) else {
                throw Problem.invalid("/left", "not_an_id", "The id of a contact belongs here.")
            }
            guard let right = body["right"]?.text.flatMap(UUID.init(uuidString:)) else {
                throw Problem.invalid("/right", "not_an_id", "The id of a contact belongs here.")
            }
            for name in (body.object ?? [:]).keys where !["left", "right", "is_dismissed"].contains(name) {
                throw Problem.invalid("/\(name)", "unknown_field", "There is no such field.")
            }
            let isDismissed = body["is_dismissed"] ?? true
            guard let wanted = isDismissed.bool else {
                throw Problem.invalid("/is_dismissed", "not_a_boolean", "true or false belongs here.")
            }
            guard try request.context.scope(of: .update, on: Contact.type) == .all else {
                throw Problem(403, "forbidden", "Your roles do not reach all contacts.")
            }
            let pair = DuplicateStore.Pair(left, right, score: 0)
            let rows = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    """
                    update contacts.duplicate_pair set is_dismissed = $4
                    where tenant_id = $1 and left_id = $2 and right_id = $3
                    """,
                    [request.context.tenant.parameter, .uuid(pair.left), .uuid(pair.right), .bool(wanted)]))
            guard rows.affected == 1 else { throw Problem.notFound("pair") }
            return EndpointResponse(json: [
                "left": .string(pair.left.lowercased), "right": .string(pair.right.lowercased),
                "is_dismissed": .bool(wanted),
            ])
        }
    }
}

/// What a request for pairs asks.
private struct PairQuery: Sendable {
    var minimum = 0.5
    var contact: UUID?
    let limit: Int
    let cursor: String?

    init(_ request: EndpointRequest) throws(Problem) {
        if let text = request.parameter("min_score") {
            guard let value = Double(text), (0...1).contains(value) else {
                throw .badRequest("invalid_parameter", "min_score is a number from 0 to 1.")
            }
            minimum = value
        }
        if let text = request.parameter("contact_id") {
            guard let id = UUID(uuidString: text) else {
                throw .badRequest("invalid_parameter", "contact_id is a UUID.")
            }
            contact = id
        }
        limit = try request.limit(200, usual: 50)
        cursor = request.parameter("cursor")
    }
}

import Contracts
import Database
import Foundation
import Jobs
import Records
import ServiceKit

/// A segment's members: who they are, adding and removing, refreshing; and which segments a contact was ever in.
struct SegmentEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [members, change, refresh, ofContact] }

    private static let id: JSONValue = ["type": "string", "format": "uuid"]
    private static let paging: [JSONValue] = [
        RecordParameters.query("limit", ["type": "integer", "minimum": 1, "maximum": 200]),
        RecordParameters.query("cursor", ["type": "string"]),
    ]

    // MARK: Members

    private var members: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = Self.paging
            $0.response = [
                "type": "object", "required": ["items", "next_cursor"],
                "properties": [
                    "items": ["type": "array", "items": ["type": "object", "required": ["id", "version"]]],
                    "next_cursor": ["type": ["string", "null"]],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/segments/{id}/members", "A segment's members, as contacts", documentation: documentation
        ) { request in
            try request.allow(["limit", "cursor"])
            let limit = try request.limit(200, usual: 50)
            let segment = try await store.get(Segment.type, try request.id(), fields: [], request.context).id
            let filters = try await store.database.query(
                tenant: request.context.tenant,
                Statement(
                    "select filter::text from contacts.segment where tenant_id = $1 and id = $2",
                    [request.context.tenant.parameter, .uuid(segment)]), readOnly: true)
            try Segment.require(filters.isEmpty ? nil : filters.text(0, 0), request.context)
            return EndpointResponse(200, try await page(of: segment, limit: limit, request))
        }
    }

    private func page(of segment: UUID, limit: Int, _ request: EndpointRequest) async throws -> [UInt8] {
        let type = Contact.type
        let context = request.context
        let cursor = store.cursor("\(context.tenant)/segments/\(segment.lowercased)/members")
        let after = try request.parameter("cursor").map { try cursor.decode($0, count: 1)[0] ?? UUID.beforeAll }
        var builder = SQLBuilder([
            context.tenant.parameter, .uuid(segment), .text(after ?? UUID.beforeAll), .int(limit + 1),
        ])
        let scope = context.condition(try context.scope(of: .read, on: type), type, &builder)
        let fields = try context.shown(type)
        let rows = try await store.database.query(
            tenant: context.tenant,
            Statement(
                """
                select \(type.selectList) from contacts.contact r
                where r.tenant_id = $1 and r.deleted_at is null and r.id > $3::uuid\(scope) and r.id in (
                    select m.contact_id from contacts.segment_member m
                    where m.tenant_id = $1 and m.segment_id = $2 and m.left_at is null and m.contact_id > $3::uuid)
                order by r.id limit $4::bigint
                """, builder.parameters), readOnly: true)
        let shown = min(rows.count, limit)
        var body = Array(#"{"items":["#.utf8)
        for row in 0..<shown {
            if row > 0 { body.append(UInt8(ascii: ",")) }
            RecordJSON.append(rows, row, type: type, only: fields, to: &body)
        }
        body += Array(#"],"next_cursor":"#.utf8)
        JSONValue(rows.count > limit ? cursor.encode([rows.text(shown - 1, 0)]) : nil).write(to: &body)
        body.append(UInt8(ascii: "}"))
        return body
    }

    private var change: Endpoint {
        let list: JSONValue = ["type": "array", "maxItems": 1000, "items": Self.id]
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "additionalProperties": false, "properties": ["add": list, "remove": list],
            ]
            $0.response = [
                "type": "object", "required": ["added", "removed", "unknown", "member_count"],
                "properties": [
                    "added": ["type": "integer"], "removed": ["type": "integer"],
                    "unknown": ["type": "array", "items": Self.id], "member_count": ["type": "integer"],
                ],
            ]
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .post, "/v1/segments/{id}/members", "Add contacts to a static segment, or take them out",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let wish = try MembersWish(try await request.json())
            let id = try request.id()
            let dryRun = try request.flag("dry_run")
            let result = try await store.writing(Segment.type, dryRun: dryRun, request.context) { transaction in
                try await write(wish, to: id, request.context, in: transaction)
            }
            return EndpointResponse(result, to: request, dryRun: dryRun)
        }
    }

    private func write(
        _ wish: MembersWish, to id: UUID, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> WriteResult {
        let scope = try context.scope(of: .update, on: Segment.type)
        let segment = try await store.found(Segment.type, id, scope, context, in: transaction)
        guard segment.text("kind") == "static" else {
            throw Problem(409, "not_static", "Its filter says who belongs to this segment.")
        }
        let now = Date()
        var builder = SQLBuilder([context.tenant.parameter, .array(wish.add.map(\.lowercased))])
        let reach = context.condition(try context.scope(of: .read, on: Contact.type), Contact.type, &builder)
        let known = try await transaction.query(
            """
            select r.id from contacts.contact r
            where r.tenant_id = $1 and r.id = any($2::uuid[]) and r.deleted_at is null\(reach)
            """, builder.parameters)
        let reachable = Set((0..<known.count).map { known.uuid($0, 0)! })
        let parameters: [Parameter] = [context.tenant.parameter, .uuid(id), .time(now), .text(context.actor)]
        let results = try await transaction.batch([
            Statement(
                """
                update contacts.segment_member set left_at = $3::timestamptz, left_why = 'manual', left_by = $4
                where tenant_id = $1 and segment_id = $2 and contact_id = any($5::uuid[]) and left_at is null
                returning contact_id
                """, parameters + [.array(wish.remove.map(\.lowercased))]),
            Statement(
                """
                insert into contacts.segment_member
                    (tenant_id, segment_id, contact_id, joined_at, joined_why, joined_by, segment_version)
                select $1, $2::uuid, c, $3::timestamptz, 'manual', $4, $6::bigint from unnest($5::uuid[]) as c
                on conflict (tenant_id, segment_id, contact_id) where left_at is null do nothing returning contact_id
                """,
                parameters + [
                    .array(wish.add.filter(reachable.contains).map(\.lowercased)), .int(segment.version),
                ]),
            SegmentRefresh.count(id, at: now, tenant: context.tenant),
            Statement(
                "select member_count from contacts.segment where tenant_id = $1 and id = $2",
                [context.tenant.parameter, .uuid(id)]),
        ])
        func changes(_ rows: Rows, _ direction: SegmentChange.Direction) -> [SegmentChange] {
            (0..<rows.count).map {
                SegmentChange(segment: id, contact: rows.uuid($0, 0)!, direction: direction, at: now)
            }
        }
        let (left, joined) = (changes(results[0], .left), changes(results[1], .joined))
        try SegmentRefresh.publish(left + joined, store, context.traceparent, in: transaction)
        let body: JSONValue = [
            "added": JSONValue(joined.count), "removed": JSONValue(left.count),
            "unknown": .array(wish.add.filter { !reachable.contains($0) }.map { .string($0.lowercased) }),
            "member_count": JSONValue(results[3].int(0, 0) ?? 0),
        ]
        return WriteResult(status: 200, id: nil, version: nil, body: body.encodedBytes)
    }

    // MARK: Refresh

    private var refresh: Endpoint {
        let documentation = EndpointDocumentation {
            $0 = .startsJob
            $0.refusals = [404]
        }
        return Endpoint(
            .post, "/v1/segments/{id}/refresh", "Bring a segment up to date now, by a job",
            documentation: documentation
        ) { request in
            try request.allow([])
            let context = request.context
            let scope = try context.scope(of: .update, on: Segment.type)
            let id = try request.id()
            let job = try PendingJob(RefreshSegmentJob(segment: id), traceparent: context.traceparent)
            let result = try await store.start(job, note: "contacts", context) { transaction in
                _ = try await store.found(Segment.type, id, scope, context, in: transaction)
            }
            return EndpointResponse(started: result, for: request)
        }
    }

    // MARK: A contact's segments

    private var ofContact: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = Self.paging
            $0.response = [
                "type": "object", "required": ["items", "next_cursor"],
                "properties": [
                    "items": [
                        "type": "array",
                        "items": [
                            "type": "object", "required": ["segment_id", "name", "joined", "left"],
                            "properties": [
                                "segment_id": Self.id, "name": ["type": "string"], "kind": ["type": "string"],
                                "joined": ["type": "object", "required": ["at", "why", "by"]],
                                "left": ["type": ["object", "null"]],
                            ],
                        ],
                    ],
                    "next_cursor": ["type": ["string", "null"]],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/contacts/{id}/segments", "The segments a contact is and was in, newest first, and why",
            documentation: documentation
        ) { request in
            try request.allow(["limit", "cursor"])
            let limit = try request.limit(200, usual: 50)
            let context = request.context
            let id = try await store.get(Contact.type, try request.id(), fields: [], context).id
            guard try context.scope(of: .read, on: Segment.type) == .all else {
                throw Problem(403, "forbidden", "Your roles do not reach all segments.")
            }
            let cursor = store.cursor("\(context.tenant)/contacts/\(id.lowercased)/segments")
            let after = try request.parameter("cursor").map { try cursor.decode($0, count: 2) } ?? [nil, nil]
            let rows = try await store.database.query(
                tenant: context.tenant,
                Statement(
                    """
                    select m.joined_at, m.segment_id, s.name, s.kind, m.joined_why, m.joined_by, m.segment_version,
                        m.left_at, m.left_why, m.left_by, s.filter::text
                    from contacts.segment_member m
                    join contacts.segment s on s.tenant_id = m.tenant_id and s.id = m.segment_id and s.deleted_at is null
                    where m.tenant_id = $1 and m.contact_id = $2
                    and ($3::timestamptz is null or (m.joined_at, m.segment_id) < ($3::timestamptz, $4::uuid))
                    order by m.joined_at desc, m.segment_id desc limit $5::bigint
                    """,
                    [
                        context.tenant.parameter, .uuid(id), .optional(after[0]), .optional(after[1]), .int(limit + 1),
                    ]), readOnly: true)
            let shown = min(rows.count, limit)
            let next = rows.count > limit ? cursor.encode([rows.text(shown - 1, 0), rows.text(shown - 1, 1)]) : nil
            // A segment that asks what the bearer must not know would tell it by its members.
            let told = (0..<shown).filter { (try? Segment.require(rows.text($0, 10), context)) != nil }
            return EndpointResponse(json: [
                "items": .array(told.map { Self.membership(rows, $0) }), "next_cursor": JSONValue(next),
            ])
        }
    }

    /// `why` is `filter`, `manual`, `merge` or `unmerge`; the version is that of the segment whose filter it matched.
    private static func membership(_ rows: Rows, _ row: Int) -> JSONValue {
        func time(_ column: Int) -> JSONValue { JSONValue(rows.time(row, column).map(Timestamp.rfc3339)) }
        return [
            "segment_id": JSONValue(rows.text(row, 1)), "name": JSONValue(rows.text(row, 2)),
            "kind": JSONValue(rows.text(row, 3)),
            "joined": [
                "at": time(0), "why": JSONValue(rows.text(row, 4)), "by": JSONValue(rows.text(row, 5)),
                "segment_version": rows.int(row, 6).map { JSONValue($0) } ?? .null,
            ],
            "left": rows.isNull(row, 7)
                ? .null
                : ["at": time(7), "why": JSONValue(rows.text(row, 8)), "by": JSONValue(rows.text(row, 9))],
        ]
    }
}

/// Who is to be added and who to be taken out.
private struct MembersWish: Sendable {
    let add: [UUID]
    let remove: [UUID]

    /// Throws 422 with every wrong member.
    init(_ body: JSONValue) throws(Problem) {
        guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
        var errors: [FieldError] = []
        for name in members.keys.sorted() where !["add", "remove"].contains(name) {
            errors.append(FieldError("/\(name)", "unknown_field", "There is no such field."))
        }
        func ids(_ name: String) -> [UUID] {
            guard let value = members[name] else { return [] }
            guard let values = value.array else {
                errors.append(FieldError("/\(name)", "not_a_list", "A list of contacts' ids belongs here."))
                return []
            }
            if values.count > 1000 { errors.append(FieldError("/\(name)", "too_many", "At most 1000.")) }
            var ids: [UUID] = []
            for (index, value) in values.prefix(1000).enumerated() {
                if let id = value.text.flatMap(UUID.init(uuidString:)) {
                    ids.append(id)
                } else {
                    errors.append(FieldError("/\(name)/\(index)", "not_an_id", "A UUID belongs here."))
                }
            }
            return ids
        }
        add = ids("add")
        remove = ids("remove")
        let leaving = Set(remove)
        for (index, id) in add.enumerated() where leaving.contains(id) {
            errors.append(FieldError("/add/\(index)", "in_both", "It stands under remove as well."))
        }
        if !errors.isEmpty { throw .invalid(errors) }
    }
}

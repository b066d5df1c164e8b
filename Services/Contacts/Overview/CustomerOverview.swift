import Database
import Foundation
import Records
import ServiceKit

/// `GET /v1/contacts/{id}/360`: all that is known of a customer on one page, each figure with when it was computed, and
/// what is best done next. Two round trips.
struct CustomerOverview {
    let store: RecordStore

    private static let figure: JSONValue = [
        "type": "object", "required": ["value", "computed_at"],
        "properties": ["computed_at": ["type": ["string", "null"], "format": "date-time"]],
    ]
    private static let action: JSONValue = [
        "type": ["object", "null"], "required": ["action", "rule", "reason"],
        "properties": ["action": ["type": "string"], "rule": ["type": "string"], "reason": ["type": "string"]],
    ]

    var endpoint: Endpoint {
        let documentation = EndpointDocumentation {
            $0.response = [
                "type": "object",
                "required": [
                    "contact", "figures", "segments", "open_deals", "open_tickets", "next_best_action", "other_actions",
                ],
                "properties": [
                    "contact": RecordDocumentation.record,
                    "figures": ["type": "object", "additionalProperties": Self.figure],
                    "segments": [
                        "type": ["array", "null"],
                        "items": [
                            "type": "object", "required": ["id", "name", "since"],
                            "properties": [
                                "id": ["type": "string", "format": "uuid"], "name": ["type": "string"],
                                "since": ["type": "string", "format": "date-time"],
                            ],
                        ],
                    ],
                    "open_deals": ["type": "array", "items": ["type": "object"]],
                    "open_tickets": ["type": "array", "items": ["type": "object"]],
                    "next_best_action": Self.action,
                    "other_actions": ["type": "array", "items": Self.action],
                    "computed_at": ["type": "string", "format": "date-time"],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/contacts/{id}/360", "A customer on one page, and what is best done next",
            documentation: documentation
        ) { request in
            try request.allow([])
            let contact = try await store.get(Contact.type, try request.id(), request.context)
            let profile = try JSONParser.parse(contact.body)
            let rows = try await store.database.batch(
                tenant: request.context.tenant, statements(contact.id, request.context), readOnly: true)
            let page = Page(profile: profile, rows: rows, now: Date(), timeZone: request.context.defaults.timeZone)
            return EndpointResponse(json: page.json(segments: Self.segments(rows[5], request.context)))
        }
    }

    private func statements(_ id: UUID, _ context: WriteContext) -> [Statement] {
        var builder = SQLBuilder([context.tenant.parameter, .uuid(id)])
        let reach = TimelineReach.condition(context, &builder)
        return [
            Statement(
                "select summary::text from contacts.customer_summary where tenant_id = $1 and contact_id = $2",
                [context.tenant.parameter, .uuid(id)]),
            Statement(
                """
                select e.record_type, e.record_id::text, e.at, e.title, e.detail::text
                from contacts.timeline_entry e
                where e.tenant_id = $1 and e.contact_id = $2 and e.is_open and not e.is_void and \(reach)
                order by e.at desc, e.id desc limit 50
                """, builder.parameters),
            Statement(
                """
                select max(e.at) from (
                    select e.at from contacts.timeline_entry e
                    where e.tenant_id = $1 and e.contact_id = $2 and not e.is_void and not e.is_deleted
                    and e.record_type = 'activity' and e.at <= now() order by e.at desc, e.id desc limit 1) e
                """, [context.tenant.parameter, .uuid(id)]),
            Statement(
                """
                select count(*) from contacts.task r
                where r.tenant_id = $1 and r.contact_id = $2 and r.deleted_at is null and r.due_at < now()
                and r.is_done is not true
                """, [context.tenant.parameter, .uuid(id)]),
            Statement(
                """
                select computed_at from contacts.lifecycle_change where tenant_id = $1 and contact_id = $2
                order by sequence desc limit 1
                """, [context.tenant.parameter, .uuid(id)]),
            Statement(
                """
                select s.id, s.name, m.joined_at, s.filter::text from contacts.segment_member m
                join contacts.segment s on s.tenant_id = m.tenant_id and s.id = m.segment_id and s.deleted_at is null
                where m.tenant_id = $1 and m.contact_id = $2 and m.left_at is null
                order by s.name, s.id limit 50
                """, [context.tenant.parameter, .uuid(id)]),
        ]
    }

    /// The segments that the contact is in; null for a bearer whose roles do not reach all segments.
    private static func segments(_ rows: Rows, _ context: WriteContext) -> JSONValue {
        guard (try? context.scope(of: .read, on: Segment.type)) == .all else { return .null }
        // One that asks what the bearer must not know would tell it by its members.
        let told = (0..<rows.count).filter { (try? Segment.require(rows.text($0, 3), context)) != nil }
        return .array(
            told.map { row in
                [
                    "id": JSONValue(rows.text(row, 0)), "name": JSONValue(rows.text(row, 1)),
                    "since": JSONValue(rows.time(row, 2).map(Timestamp.rfc3339)),
                ]
            })
    }

    /// What was read, and the page that it makes. Pure.
    struct Page {
        let profile: JSONValue
        let summary: JSONValue
        let open: [OpenRecord]
        let lastActivity: Date?
        let overdueTasks: Int
        let stageComputed: Date?
        let now: Date
        let calendar: Calendar

        /// A deal or ticket that still asks for something.
        struct OpenRecord {
            let type: String
            let id: String
            let since: Date
            let title: String?
            let detail: JSONValue
        }

        init(profile: JSONValue, rows: [Rows], now: Date, timeZone: String) {
            self.profile = profile
            summary = rows[0].isEmpty ? .null : (try? JSONParser.parse(rows[0].text(0, 0)!.utf8)) ?? .null
            open = (0..<rows[1].count).map { row in
                OpenRecord(
                    type: rows[1].text(row, 0)!, id: rows[1].text(row, 1)!, since: rows[1].time(row, 2)!,
                    title: rows[1].text(row, 3),
                    detail: rows[1].text(row, 4).flatMap { try? JSONParser.parse($0.utf8) } ?? [:])
            }
            lastActivity = rows[2].isEmpty ? nil : rows[2].time(0, 0)
            overdueTasks = rows[3].int(0, 0) ?? 0
            stageComputed = rows[4].isEmpty ? nil : rows[4].time(0, 0)
            self.now = now
            var calendar = Calendar(identifier: .gregorian)
            calendar.timeZone = TimeZone(identifier: timeZone) ?? .gmt
            self.calendar = calendar
        }

        func json(segments: JSONValue) -> JSONValue {
            let actions = NextBestAction.all(situation, now: now, calendar: calendar).map { action -> JSONValue in
                [
                    "action": .string(action.action), "rule": .string(action.rule), "reason": .string(action.reason),
                ]
            }
            return [
                "contact": profile, "figures": .object(figures), "segments": segments,
                "open_deals": listed("opportunity"), "open_tickets": listed("ticket"),
                "next_best_action": actions.first ?? .null,
                "other_actions": .array(Array(actions.dropFirst().prefix(3))),
                "computed_at": .string(Timestamp.rfc3339(now)),
            ]
        }

        /// What analytics computed, at the time it did, and what is known here, as of now.
        private var figures: [String: JSONValue] {
            let computed = summary["computed_at"] ?? .null
            var figures: [String: JSONValue] = [:]
            for (name, value) in summary.object ?? [:] where name != "computed_at" {
                figures[name] = ["value": value, "computed_at": computed]
            }
            func own(_ name: String, _ value: JSONValue) {
                figures[name] = ["value": value, "computed_at": .string(Timestamp.rfc3339(now))]
            }
            own("last_contact_at", JSONValue(lastContact.map(Timestamp.rfc3339)))
            own("overdue_tasks", JSONValue(overdueTasks))
            // A stage is entered without the record being changed; its quality is computed with each change.
            for (name, computed) in [
                ("lifecycle_stage", JSONValue(stageComputed.map(Timestamp.rfc3339))),
                ("quality_score", profile["updated_at"] ?? .null),
            ] {
                if let value = profile[name] { figures[name] = ["value": value, "computed_at": computed] }
            }
            return figures
        }

        private func listed(_ type: String) -> JSONValue {
            .array(
                open.filter { $0.type == type }.map { record in
                    [
                        "id": .string(record.id), "title": JSONValue(record.title),
                        "since": .string(Timestamp.rfc3339(record.since)), "detail": record.detail,
                    ]
                })
        }

        private var lastContact: Date? {
            [lastActivity, summary["last_contact_at"]?.text.flatMap(Timestamp.parse)].compactMap { $0 }.max()
        }

        var situation: CustomerSituation {
            var situation = CustomerSituation(
                knownSince: profile["created_at"]?.text.flatMap(Timestamp.parse) ?? now)
            situation.mayContact = profile["do_not_contact"]?.bool != true
            situation.openTickets = open.filter { $0.type == "ticket" }.map {
                $0.detail["resolution_due"]?.text.flatMap(Timestamp.parse)
            }
            situation.openDeals = open.filter { $0.type == "opportunity" }.map { record in
                // A deal expected on a day is late from the next day on.
                record.detail["expected_close"]?.text.flatMap { day(after: $0) }
            }
            situation.overdueTasks = overdueTasks
            situation.purchases = summary["purchases"]?.int ?? 0
            situation.hasPaid = (summary["paid"]?.object ?? [:]).values.contains { ($0.int ?? 0) > 0 }
            situation.lastPurchase = summary["last_purchase_at"]?.text.flatMap(Timestamp.parse)
            situation.lastContact = lastContact
            if case .number(let text)? = summary["satisfaction_gap"] { situation.satisfactionGap = Double(text) }
            if let day = profile["birth_date"]?.text.flatMap(Timestamp.parseDay) {
                situation.birthday = (day.month, day.day)
            }
            return situation
        }

        private func day(after text: String) -> Date? {
            guard let day = Timestamp.parseDay(text),
                let start = calendar.date(
                    from: DateComponents(year: day.year, month: day.month, day: day.day))
            else { return nil }
            return calendar.date(byAdding: .day, value: 1, to: start)
        }
    }
}

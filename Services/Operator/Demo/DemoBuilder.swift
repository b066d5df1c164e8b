import Contracts
import Database
import Foundation
import Jobs
import Records
import ServiceKit
import Tenancy

/// Writes the demo tenant's records through the same store, rules and events as everybody's.
final class DemoBuilder {
    private let stores: [String: RecordStore]
    private let tenant: TenantID
    private let defaults: TenantDefaults
    private let showsProgress: Bool
    private let owner: Database
    private var random: SeededGenerator
    private let now = Date()

    init(
        session: OperatorSession, tenant: TenantID, defaults: TenantDefaults, seed: UInt64, showsProgress: Bool
    ) async throws {
        self.tenant = tenant
        self.defaults = defaults
        self.showsProgress = showsProgress
        owner = session.owner
        random = SeededGenerator(seed: seed)
        var stores: [String: RecordStore] = [:]
        for service in services {
            let outbox = Outbox(
                schema: service.name, database: session.owner, redis: session.redis, logger: session.logger)
            try await outbox.subscriptions.refresh()
            stores[service.name] = RecordStore(
                catalogue: service.catalogue, database: session.owner, outbox: outbox, secret: [])
        }
        self.stores = stores
    }

    func build(contacts count: Int) async throws {
        let stages = try await setUpSales()
        try await setUpService()
        var organizations: [UUID] = []
        for name in DemoWords.companies {
            organizations += try await write(
                "contacts", "organization",
                [["name": .string(name), "industry": .string(random.pick(DemoWords.industries))]])
        }
        var done = 0
        while done < count {
            let size = min(50, count - done)
            let people = try await write("contacts", "contact", (0..<size).map { person(done + $0, organizations) })
            try await write("contacts", "activity", people.flatMap(activities))
            try await deals(people, stages)
            try await tickets(people)
            done += size
            progress(done, of: count)
        }
        if showsProgress { print("") }
    }

    // MARK: Set-up

    private func setUpSales() async throws -> [String: UUID] {
        let pipeline = try await write(
            "opportunities", "pipeline", [["name": "标准销售 Standard", "is_default": true]])[0]
        let stages: [(String, Int, String)] = [
            ("初步接触 First contact", 10, "open"), ("需求确认 Needs agreed", 30, "open"), ("报价 Quoted", 60, "open"),
            ("赢单 Won", 100, "won"), ("丢单 Lost", 0, "lost"),
        ]
        let ids = try await write(
            "opportunities", "stage",
            stages.enumerated().map { index, stage in
                [
                    "pipeline_id": .string(pipeline.lowercased), "name": .string(stage.0), "position": JSONValue(index),
                    "probability": JSONValue(stage.1), "kind": .string(stage.2),
                ]
            })
        return ["open": ids[1], "won": ids[3], "lost": ids[4]]
    }

    private func setUpService() async throws {
        let team = try await write("tickets", "team", [["name": "服务主管 Service leads"]])[0]
        let hours: [JSONValue] = (1...5).map { ["weekday": JSONValue($0), "from_minute": 540, "to_minute": 1080] }
        let calendar = try await write(
            "tickets", "calendar",
            [
                [
                    "name": "上海 Shanghai", "time_zone": "Asia/Shanghai", "hours": .array(hours),
                    "holidays": [["day": "2026-10-01"]],
                ]
            ])[0]
        let targets: [JSONValue] = [("low", 28_800), ("normal", 14_400), ("high", 7_200), ("urgent", 3_600)].map {
            [
                "priority": .string($0.0), "first_response_seconds": JSONValue($0.1 / 4),
                "resolution_seconds": JSONValue($0.1),
            ]
        }
        try await write(
            "tickets", "sla_policy",
            [
                [
                    "name": "标准服务 Standard", "is_default": true, "calendar_id": .string(calendar.lowercased),
                    "escalation_team_id": .string(team.lowercased), "targets": .array(targets),
                ]
            ])
    }

    // MARK: People and what they do

    private func person(_ number: Int, _ organizations: [UUID]) -> [String: JSONValue] {
        let isChinese = Bool.random(using: &random)
        let family = random.pick(isChinese ? DemoWords.chineseFamily : DemoWords.europeanFamily)
        let given = random.pick(isChinese ? DemoWords.chineseGiven : DemoWords.europeanGiven)
        var person: [String: JSONValue] = [
            "given_name": .string(given), "family_name": .string(family),
            "birth_date": .string(day(yearsAgo: Int.random(in: 20...70, using: &random))),
            "industry": .string(random.pick(DemoWords.industries)),
            "occupation": .string(random.pick(DemoWords.occupations)),
            "region": .string(random.pick(DemoWords.regions)), "source": "demo",
            "external_id": .string("P\(number + 1)"),
            "emails": [["value": .string("p\(number + 1)@example.\(isChinese ? "cn" : "eu")"), "primary": true]],
            "likelihood_to_recommend": JSONValue(Int.random(in: 0...10, using: &random)),
        ]
        if isChinese {
            person["phones"] = [
                [
                    "value": .string("138\(10_000_000 + Int.random(in: 0..<90_000_000, using: &random))"),
                    "kind": "mobile",
                ]
            ]
        }
        if Int.random(in: 0..<3, using: &random) == 0 {
            person["organization_id"] = .string(random.pick(organizations).lowercased)
        }
        return person
    }

    private func activities(of contact: UUID) -> [[String: JSONValue]] {
        (0..<Int.random(in: 0...5, using: &random)).map { _ in
            [
                "contact_id": .string(contact.lowercased),
                "kind": .string(random.pick(["call", "email", "meeting", "web_visit", "social_message"])),
                "direction": .string(random.pick(["inbound", "outbound"])), "occurred_at": .string(moment()),
                "subject": .string(random.pick(["问候 Regards", "报价 Offer", "回访 Follow-up", "产品咨询 Question"])),
            ]
        }
    }

    private func deals(_ people: [UUID], _ stages: [String: UUID]) async throws {
        for contact in people where Int.random(in: 0..<2, using: &random) == 0 {
            let outcome = random.pick(["open", "won", "won", "lost"])
            let (product, price) = random.pick(DemoWords.products)
            let quantity = Int.random(in: 1...8, using: &random)
            let amount: JSONValue = ["amount": JSONValue(quantity * price), "currency": "EUR"]
            let deal = try await write(
                "opportunities", "opportunity",
                [
                    [
                        "name": .string(product), "contact_id": .string(contact.lowercased), "amount": amount,
                        "stage_id": .string(stages[outcome]!.lowercased),
                    ]
                ])[0]
            guard outcome == "won" else { continue }
            let placed = moment()
            let order = try await write(
                "opportunities", "order",
                [
                    [
                        "contact_id": .string(contact.lowercased), "opportunity_id": .string(deal.lowercased),
                        "currency": "EUR",
                        "placed_at": .string(placed),
                        "lines": [
                            [
                                "product": .string(product), "quantity": JSONValue(quantity),
                                "unit_price": JSONValue(price),
                            ]
                        ],
                    ]
                ])[0]
            try await write(
                "opportunities", "payment",
                [["order_id": .string(order.lowercased), "amount": amount, "received_at": .string(placed)]])
        }
    }

    private func tickets(_ people: [UUID]) async throws {
        for contact in people where Int.random(in: 0..<5, using: &random) == 0 {
            let ticket = try await write(
                "tickets", "ticket",
                [
                    [
                        "subject": .string(random.pick(DemoWords.subjects)), "contact_id": .string(contact.lowercased),
                        "kind": .string(random.pick(["question", "problem", "complaint"])),
                        "status": .string(random.pick(["new", "solved", "solved"])),
                    ]
                ])[0]
            if Bool.random(using: &random) {
                try await write(
                    "tickets", "survey_response",
                    [
                        [
                            "ticket_id": .string(ticket.lowercased),
                            "answers": [
                                [
                                    "item": "Speed 速度", "driver": "support",
                                    "expectation": JSONValue(Int.random(in: 5...9, using: &random)),
                                    "performance": JSONValue(Int.random(in: 3...10, using: &random)),
                                ]
                            ],
                        ]
                    ])
            }
        }
    }

    // MARK: Writing

    @discardableResult
    private func write(_ service: String, _ name: String, _ bodies: [[String: JSONValue]]) async throws -> [UUID] {
        let store = stores[service]!
        let type = store.catalogue.type(named: name)!
        let context = WriteContext(tenant: tenant, job: "demo", defaults: defaults, requestID: "demo")
        return try await owner.withTenant(tenant) { transaction in
            var ids: [UUID] = []
            for body in bodies { ids.append(try await store.create(type, .object(body), context, in: transaction).id) }
            return ids
        }
    }

    /// A moment of the last two years.
    private func moment() -> String {
        Timestamp.rfc3339(now.addingTimeInterval(-Double(Int.random(in: 3600..<63_072_000, using: &random))))
    }

    private func day(yearsAgo: Int) -> String {
        let days = Int(now.timeIntervalSince1970 / 86_400) - yearsAgo * 365 - Int.random(in: 0..<365, using: &random)
        let civil = Timestamp.civil(daysSinceEpoch: days)
        return String(format: "%04d-%02d-%02d", civil.year, civil.month, civil.day)
    }

    private func progress(_ done: Int, of count: Int) {
        guard showsProgress else { return }
        let filled = done * 30 / count
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
        FileHandle.standardOutput.write(Data("\r\(bar) \(done)/\(count) contacts".utf8))
    }
}

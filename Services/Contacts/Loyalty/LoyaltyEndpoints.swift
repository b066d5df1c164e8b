import Database
import Foundation
import Records
import ServiceKit

/// Points in, points out, taking an entry back, and proving a balance.
struct LoyaltyEndpoints {
    let store: RecordStore

    var all: [Endpoint] { [post, reverse, verify] }

    private static let id: JSONValue = ["type": "string", "format": "uuid"]
    private static let entry: JSONValue = [
        "type": "object", "required": ["id", "account_id", "kind", "points", "balance_after", "at"],
        "properties": [
            "id": id, "account_id": id, "kind": ["type": "string"], "points": ["type": "integer"],
            "balance_after": ["type": "integer"], "at": ["type": "string", "format": "date-time"],
        ],
    ]

    // MARK: Posting

    private var post: Endpoint {
        func text(_ maximum: Int) -> JSONValue {
            [
                "type": ["string", "null"], "maxLength": JSONValue(maximum),
                "pattern": "^[^\\u0000-\\u001F\\u007F-\\u009F]*$",
            ]
        }
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "required": ["kind", "points"], "additionalProperties": false,
                "properties": [
                    "kind": ["type": "string", "enum": ["earn", "spend", "adjust"]],
                    "points": ["type": "integer", "minimum": 1, "maximum": JSONValue(LoyaltyEntry.largest)],
                    "is_debit": [
                        "type": "boolean", "description": "Of an adjustment: it takes points away. The others know.",
                    ],
                    "reason": text(500), "reference": text(200),
                    "at": [
                        "type": ["string", "null"],
                        "pattern": "^20[01][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T00:00:00Z$",
                        "description": "When it happened, not later than now; now when left out.",
                    ],
                ],
            ]
            $0.response = Self.entry
            $0.status = 201
            // The first entry again, or what a dry run predicts.
            $0.others = [200: ["type": "object"]]
            $0.predicts = false
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .post, "/v1/loyalty_accounts/{id}/entries",
            "Earn, spend or adjust points; the same reference again gives the first entry",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let posting = try LoyaltyStore.Posting(try await request.json())
            let id = try request.id()
            let dryRun = try request.flag("dry_run")
            let result = try await store.writing(LoyaltyEntry.type, dryRun: dryRun, request.context) { transaction in
                try await write(posting, to: id, request.context, in: transaction)
            }
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/loyalty_entries")
        }
    }

    private func write(
        _ posting: LoyaltyStore.Posting, to id: UUID, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> WriteResult {
        guard try context.scope(of: .create, on: LoyaltyEntry.type) == .all else { throw Problem.forbidden }
        let scope = try context.scope(of: .read, on: LoyaltyAccount.type)
        let account = try await store.found(LoyaltyAccount.type, id, scope, context, in: transaction)
        if let reference = posting.reference,
            let earlier = try await earlier(reference, posting, account.id, context, in: transaction)
        {
            return earlier
        }
        if posting.points > 0 { try await requireOpen(account, in: transaction) }
        let entry = try await LoyaltyStore(store: store).post(posting, to: account, context, in: transaction)
        return WriteResult(status: 201, id: entry.id, version: nil, body: context.json(entry, LoyaltyEntry.type))
    }

    /// The entry that the reference already stands for: the account's row is locked, so none can come in between.
    private func earlier(
        _ reference: String, _ posting: LoyaltyStore.Posting, _ account: UUID, _ context: WriteContext,
        in transaction: TenantTransaction
    ) async throws -> WriteResult? {
        let type = LoyaltyEntry.type
        let rows = try await transaction.query(
            """
            select \(type.selectList) from contacts.loyalty_entry r
            where r.tenant_id = $1 and r.account_id = $2 and r.reference = $3
            """, [transaction.tenant.parameter, .uuid(account), .text(reference)])
        guard !rows.isEmpty else { return nil }
        let entry = Record(rows, 0, type: type)
        guard entry.text("kind") == posting.kind.rawValue, entry.int("points") == posting.points else {
            throw Problem(
                409, "reference_reused", "This reference stands for another entry.",
                fields: [FieldError("/reference", "reference_reused", "It stands for another entry.")],
                extra: ["entry_id": .string(entry.id.lowercased)])
        }
        return WriteResult(
            status: 200, id: entry.id, version: nil, body: context.json(entry, LoyaltyEntry.type), isReplay: true)
    }

    private func requireOpen(_ account: Record, in transaction: TenantTransaction) async throws {
        if let other = account.text("superseded_by") {
            throw Problem(
                409, "superseded", "The customer has another account of this programme, which earns.",
                extra: ["superseded_by": .string(other)])
        }
        let program = try await LoyaltyStore(store: store).program(of: account, in: transaction)
        guard program.status == "active" else {
            throw Problem(409, "program_not_active", "The programme is \(program.status): it gives no points.")
        }
    }

    private var reverse: Endpoint {
        let documentation = EndpointDocumentation {
            $0.parameters = [RecordParameters.dryRun, RecordParameters.idempotencyKey]
            $0.body = [
                "type": "object", "additionalProperties": false,
                "properties": [
                    "reason": [
                        "type": ["string", "null"], "maxLength": 500, "pattern": "^[^\\u0000-\\u001F\\u007F-\\u009F]*$",
                    ]
                ],
            ]
            $0.response = Self.entry
            $0.status = 201
            $0.refusals = [404, 409]
        }
        return Endpoint(
            .post, "/v1/loyalty_entries/{id}/reversal", "Take an entry back, by another one",
            documentation: documentation
        ) { request in
            try request.allow(["dry_run"])
            let body = try await request.json()
            let reason = try LoyaltyStore.Posting.reason(of: body, others: [])
            let id = try request.id()
            let dryRun = try request.flag("dry_run")
            let result = try await store.writing(LoyaltyEntry.type, dryRun: dryRun, request.context) { transaction in
                try await takeBack(id, reason, request.context, in: transaction)
            }
            return EndpointResponse(result, to: request, dryRun: dryRun, at: "/v1/loyalty_entries")
        }
    }

    private func takeBack(
        _ id: UUID, _ reason: String?, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> WriteResult {
        guard try context.scope(of: .create, on: LoyaltyEntry.type) == .all else { throw Problem.forbidden }
        let accounts = try context.scope(of: .read, on: LoyaltyAccount.type)
        guard let entry = try await store.find(LoyaltyEntry.type, id, in: transaction),
            let owner = entry.uuid("account_id")
        else { throw Problem.notFound("loyalty_entry") }
        let account: Record
        do {
            account = try await store.found(LoyaltyAccount.type, owner, accounts, context, in: transaction)
        } catch let problem as Problem where problem.status == 404 { throw Problem.notFound("loyalty_entry") }
        guard entry.text("kind") != "expire", entry.text("reverses_id") == nil, let points = entry.int("points") else {
            throw Problem(409, "not_reversible", "What expired or was taken back stays so; adjust the account instead.")
        }
        let before = try await transaction.query(
            "select id from contacts.loyalty_entry where tenant_id = $1 and reverses_id = $2",
            [context.tenant.parameter, .uuid(id)])
        guard before.isEmpty else {
            throw Problem(
                409, "already_reversed", "It has been taken back before.",
                extra: ["entry_id": JSONValue(before.text(0, 0))])
        }
        let posting = LoyaltyStore.Posting(kind: .adjust, points: -points, at: Date(), reason: reason, reverses: id)
        let made = try await LoyaltyStore(store: store).post(posting, to: account, context, in: transaction)
        return WriteResult(status: 201, id: made.id, version: nil, body: context.json(made, LoyaltyEntry.type))
    }

    // MARK: Proof

    private var verify: Endpoint {
        let documentation = EndpointDocumentation {
            let figure: JSONValue = ["type": "integer"]
            $0.response = [
                "type": "object", "required": ["account_id", "balance", "ledger", "lots", "entries", "is_balanced"],
                "properties": [
                    "account_id": Self.id, "balance": figure, "ledger": figure, "lots": figure, "entries": figure,
                    "balance_after_last": figure, "is_balanced": ["type": "boolean"],
                ],
            ]
            $0.refusals = [404]
        }
        return Endpoint(
            .get, "/v1/loyalty_accounts/{id}/verification", "Compare an account's balance with its entries and lots",
            documentation: documentation
        ) { request in
            try request.allow([])
            let id = try await store.get(LoyaltyAccount.type, try request.id(), fields: [], request.context).id
            return try await store.database.withTenant(request.context.tenant) { transaction in
                EndpointResponse(json: try await LoyaltyStore(store: store).verify(id, in: transaction))
            }
        }
    }
}

extension LoyaltyStore.Posting {
    /// Reads a request; throws 422 with every wrong member.
    init(_ body: JSONValue) throws(Problem) {
        let now = Date()
        reason = try Self.reason(of: body, others: ["kind", "points", "is_debit", "reference", "at"])
        var errors: [FieldError] = []
        let kind = body["kind"]?.text.flatMap(Kind.init(rawValue:))
        if kind == nil || kind == .expire {
            errors.append(FieldError("/kind", "not_a_choice", "One of: earn, spend, adjust."))
        }
        let points = body["points"]?.int ?? 0
        if !(1...LoyaltyEntry.largest).contains(points) {
            errors.append(
                FieldError("/points", "out_of_range", "A whole number from 1 to \(LoyaltyEntry.largest) belongs here."))
        }
        if let flag = body["is_debit"], flag.bool == nil {
            errors.append(FieldError("/is_debit", "not_a_boolean", "true or false belongs here."))
        }
        at = now
        if let text = body["at"], text != .null {
            if let time = text.text.flatMap(Timestamp.parse), time >= Self.earliest, time <= now {
                at = time
            } else {
                errors.append(FieldError("/at", "not_a_time", "A time up to now belongs here, as RFC 3339 has it."))
            }
        }
        reference = try Self.text(body, "reference", maximum: 200)
        guard errors.isEmpty, let kind else { throw .invalid(errors) }
        self.kind = kind
        let isDebit = kind == .spend || (kind == .adjust && body["is_debit"]?.bool == true)
        self.points = isDebit ? -points : points
        reverses = nil
    }

    /// The beginning of 2000: what lies before is a typing error.
    private static let earliest = Date(timeIntervalSince1970: 946_684_800)

    /// The reason in a body that has no other members than those.
    static func reason(of body: JSONValue, others: Set<String>) throws(Problem) -> String? {
        guard let members = body.object else { throw .invalid("", "not_an_object", "An object belongs here.") }
        for name in members.keys.sorted() where name != "reason" && !others.contains(name) {
            throw .invalid("/\(name)", "unknown_field", "There is no such field.")
        }
        return try text(body, "reason", maximum: 500)
    }

    private static func text(_ body: JSONValue, _ name: String, maximum: Int) throws(Problem) -> String? {
        let field = Field(name, .text(max: maximum), Label(name, name))
        do throws(FieldError) {
            return try FieldReader(defaults: .neutral).read(body[name] ?? .null, as: field, at: "/\(name)")[0]
        } catch {
            throw .invalid([error])
        }
    }
}

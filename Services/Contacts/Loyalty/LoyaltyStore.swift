import Database
import Foundation
import Records

/// Posts entries to accounts: entry, lots and the account's figures in one transaction, under the account's row lock.
struct LoyaltyStore {
    let store: RecordStore

    /// What is to be posted.
    struct Posting: Sendable {
        enum Kind: String, Sendable, CaseIterable { case earn, spend, expire, adjust }
        var kind: Kind
        /// Less than nothing for what goes out.
        var points: Int
        var at: Date
        var reason: String?
        var reference: String?
        var reverses: UUID?
    }

    /// The account's programme, as far as postings depend on it.
    struct Program: Sendable {
        let status: String
        let tiers: [(name: String, threshold: Int)]
        let expiryMonths: Int?
    }

    /// Posts to an account whose row the transaction holds. Throws 409 `insufficient_points` where there is less than is
    /// to go out.
    func post(
        _ posting: Posting, to account: Record, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> Record {
        let program = try await program(of: account, in: transaction)
        let timeZone = TimeZone(identifier: context.defaults.timeZone) ?? .gmt
        if posting.points > 0, posting.reverses == nil {
            let expires = program.expiryMonths.map {
                LoyaltyLedger.expiry(of: posting.at, months: $0, timeZone: timeZone)
            }
            return try await write(
                posting, account, remaining: posting.points, expires: expires, program, context, in: transaction)
        }
        if posting.points > 0, let reversed = posting.reverses {
            // What was taken goes back to where it came from, and lasts as long as it would have lasted.
            transaction.later(
                Statement(
                    """
                    update contacts.loyalty_entry l set remaining = l.remaining + d.points
                    from contacts.loyalty_entry e, jsonb_to_recordset(e.lots) as d (entry_id uuid, points bigint)
                    where e.tenant_id = $1 and e.id = $2 and l.tenant_id = $1 and l.id = d.entry_id
                    """, [transaction.tenant.parameter, .uuid(reversed)]))
            return try await write(posting, account, remaining: 0, expires: nil, program, context, in: transaction)
        }
        var ledger = LoyaltyLedger(
            lots: try await lots(of: account.id, covering: -posting.points, and: posting.reverses, in: transaction))
        let draws: [LoyaltyLedger.Draw]
        do {
            draws = try ledger.draw(-posting.points, first: posting.reverses)
        } catch {
            let balance = account.int("balance") ?? 0
            throw Problem(
                409, "insufficient_points", "The account holds \(balance) points.",
                fields: [FieldError("/points", "insufficient_points", "There are \(balance) points.")],
                extra: ["balance": JSONValue(balance)])
        }
        return try await draw(draws, posting, account, program, context, in: transaction)
    }

    /// Takes out whatever is past its time; nil where nothing is.
    func expire(
        _ account: Record, at now: Date, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> Record? {
        let rows = try await transaction.query(
            """
            select \(Self.lotColumns) from contacts.loyalty_entry
            where tenant_id = $1 and account_id = $2 and remaining > 0 and expires_at <= $3 order by at, id
            """, [transaction.tenant.parameter, .uuid(account.id), .time(now)])
        var ledger = LoyaltyLedger(lots: Self.lots(rows))
        let draws = ledger.expire(at: now)
        if draws.isEmpty { return nil }
        let posting = Posting(kind: .expire, points: -draws.reduce(0) { $0 + $1.points }, at: now)
        let program = try await program(of: account, in: transaction)
        return try await draw(draws, posting, account, program, context, in: transaction)
    }

    private func draw(
        _ draws: [LoyaltyLedger.Draw], _ posting: Posting, _ account: Record, _ program: Program,
        _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> Record {
        transaction.later(
            Statement(
                """
                update contacts.loyalty_entry l set remaining = l.remaining - d.points
                from unnest($2::uuid[], $3::bigint[]) as d (id, points) where l.tenant_id = $1 and l.id = d.id
                """,
                [
                    transaction.tenant.parameter, .array(draws.map(\.lot.lowercased)),
                    .array(draws.map { String($0.points) }),
                ]))
        return try await write(
            posting, account, remaining: 0, expires: nil, lots: draws, program, context, in: transaction)
    }

    private func write(
        _ posting: Posting, _ account: Record, remaining: Int, expires: Date?, lots: [LoyaltyLedger.Draw]? = nil,
        _ program: Program, _ context: WriteContext, in transaction: TenantTransaction
    ) async throws -> Record {
        let type = LoyaltyEntry.type
        let balance = (account.int("balance") ?? 0) + posting.points
        var draft = try store.draft(
            type,
            creating: [
                "account_id": .string(account.id.lowercased), "kind": .string(posting.kind.rawValue),
                "points": JSONValue(posting.points), "at": .string(Timestamp.rfc3339(posting.at)),
                "reason": JSONValue(posting.reason), "reference": JSONValue(posting.reference),
                "owner_id": JSONValue(account.text("owner_id")), "team_id": JSONValue(account.text("team_id")),
            ], context)
        draft["balance_after"] = String(balance)
        draft["remaining"] = String(remaining)
        draft["expires_at"] = expires.map(Timestamp.sqlText)
        draft["reverses_id"] = posting.reverses?.lowercased
        draft["lots"] = lots.map { draws in
            JSONValue.array(
                draws.map { ["entry_id": .string($0.lot.lowercased), "points": JSONValue($0.points)] }
            ).encoded
        }
        let entry = try await store.insert(type, draft, context, in: transaction)
        let timeZone = TimeZone(identifier: context.defaults.timeZone) ?? .gmt
        for statement in Self.figures(account.id, balance: balance, program, context.tenant, timeZone: timeZone) {
            transaction.later(statement)
        }
        return entry
    }

    /// The statements that bring an account's figures up to date; they are no change of the record.
    static func figures(
        _ account: UUID, balance: Int, _ program: Program, _ tenant: TenantID, timeZone: TimeZone, now: Date = Date()
    ) -> [Statement] {
        let tiers = program.tiers.sorted { $0.threshold < $1.threshold }
        return [
            Statement(
                """
                update contacts.loyalty_account a
                set balance = $3, earned_12_months = f.earned, tier = (
                    select t.name from unnest($5::text[], $6::bigint[]) as t (name, threshold)
                    where t.threshold <= f.earned order by t.threshold desc limit 1)
                from (\(earned)) f where a.tenant_id = $1 and a.id = $2
                """,
                [
                    tenant.parameter, .uuid(account), .int(balance),
                    .time(LoyaltyLedger.tierWindow(before: now, timeZone: timeZone)), .array(tiers.map(\.name)),
                    .array(tiers.map { String($0.threshold) }),
                ])
        ]
    }

    /// What account `$2` earned since `$4`, less what of it was taken back.
    private static let earned = """
        select coalesce(sum(e.points), 0)::bigint as earned from contacts.loyalty_entry e
        left join contacts.loyalty_entry o on o.tenant_id = e.tenant_id and o.id = e.reverses_id and o.kind = 'earn'
        where e.tenant_id = $1 and e.account_id = $2 and (e.kind = 'earn' or o.id is not null)
        and coalesce(o.at, e.at) >= $4::timestamptz
        """

    // MARK: Reading

    func program(of account: Record, in transaction: TenantTransaction) async throws -> Program {
        let rows = try await transaction.query(
            "select status, tiers, expiry_months from contacts.loyalty_program where tenant_id = $1 and id = $2",
            [transaction.tenant.parameter, .optional(account.text("program_id"))])
        return Program(
            status: rows.text(0, 0) ?? "active",
            tiers: LoyaltyProgram.tiers(rows.text(0, 1).flatMap { try? JSONParser.parse($0.utf8) }),
            expiryMonths: rows.int(0, 2))
    }

    private static let lotColumns = "id, remaining, at, expires_at"

    /// The oldest lots that hold `points` together, and lot `preferred`: no more of them than are needed.
    private func lots(
        of account: UUID, covering points: Int, and preferred: UUID?, in transaction: TenantTransaction
    ) async throws -> [LoyaltyLedger.Lot] {
        let rows = try await transaction.query(
            """
            select \(Self.lotColumns) from (
                select \(Self.lotColumns), sum(remaining) over (order by at, id) - remaining as before
                from contacts.loyalty_entry where tenant_id = $1 and account_id = $2 and remaining > 0) as l
            where before < $3::bigint or id = $4::uuid order by at, id
            """,
            [
                transaction.tenant.parameter, .uuid(account), .int(points), preferred.map(Parameter.uuid) ?? .null,
            ])
        return Self.lots(rows)
    }

    private static func lots(_ rows: Rows) -> [LoyaltyLedger.Lot] {
        (0..<rows.count).map { row in
            LoyaltyLedger.Lot(
                id: rows.uuid(row, 0)!, remaining: rows.int(row, 1)!, at: rows.time(row, 2)!,
                expiresAt: rows.time(row, 3))
        }
    }

    /// Compares an account's balance with the sum of its entries and of its lots, as one statement sees them.
    func verify(_ account: UUID, in transaction: TenantTransaction) async throws -> JSONValue {
        let rows = try await transaction.query(
            """
            select a.balance, coalesce(sum(e.points), 0)::bigint, coalesce(sum(e.remaining), 0)::bigint, count(e.id),
                coalesce((array_agg(e.balance_after order by e.created_at desc, e.id desc))[1], 0)
            from contacts.loyalty_account a
            left join contacts.loyalty_entry e on e.tenant_id = a.tenant_id and e.account_id = a.id
                and e.deleted_at is null
            where a.tenant_id = $1 and a.id = $2 group by a.balance
            """, [transaction.tenant.parameter, .uuid(account)])
        let figures = (0..<5).map { rows.int(0, $0) ?? 0 }
        return [
            "account_id": .string(account.lowercased), "balance": JSONValue(figures[0]),
            "ledger": JSONValue(figures[1]), "lots": JSONValue(figures[2]), "entries": JSONValue(figures[3]),
            "balance_after_last": JSONValue(figures[4]),
            "is_balanced": .bool(Set([figures[0], figures[1], figures[2], figures[4]]).count == 1),
        ]
    }
}

import Database
import Foundation
import Jobs
import Matching
import Records
import Synchronization
import Tenancy

/// What matching keeps of a tenant: under which keys each contact can be found, the fitted model, and the likely pairs.
struct DuplicateStore: Sendable {
    /// Under how many keys a contact is kept: the strongest kinds come first.
    private static let mostKeys = 8
    /// How many contacts one contact is compared with, and how many are looked at of those that share a key with it.
    private struct Breadth {
        let candidates: Int
        let ofKey: Int

        /// A job leaves nothing out that could be the same person.
        static let thorough = Breadth(candidates: 100, ofKey: 200)
        /// Somebody waits: whoever is so much like the new one that they must be told shares several keys with it, or a
        /// strong one, and so stands among the first. In a tenant of a million a common name alone gives hundreds.
        static let quick = Breadth(candidates: 8, ofKey: 32)

        var parameters: [Parameter] { [.int(candidates), .int(ofKey)] }
    }
    private static let models = ModelCache()

    // MARK: Keys

    /// The contact's keys, another tenant's never among them: they are mixed with the tenant's number.
    static func keys(_ profile: MatchProfile, _ tenant: TenantID) -> String {
        let salt = UInt64(bitPattern: tenant.rawValue) &* 0x9e37_79b9_7f4a_7c15
        let keys = BlockingKeys.keys(of: profile).prefix(mostKeys).map { String(Int64(bitPattern: $0 ^ salt)) }
        return "{" + keys.joined(separator: ",") + "}"
    }

    /// Keeps a new contact's `keys`.
    static func add(_ id: UUID, keys: String, tenant: TenantID) -> Statement {
        Statement(
            """
            insert into contacts.match_key (tenant_id, key, contact_id)
            select $1, key, $2 from unnest($3::bigint[]) as k (key) on conflict do nothing
            """, [tenant.parameter, .uuid(id), .text(keys)])
    }

    /// Keeps the keys of contacts that may have had others before.
    static func index(_ profiles: [MatchProfile], tenant: TenantID) -> Statement {
        Statement(
            """
            with wanted as materialized (
                select t.id, k.key from unnest($2::uuid[], $3::text[]) as t (id, keys), unnest(t.keys::bigint[]) as k (key)
            ), gone as (
                delete from contacts.match_key m where m.tenant_id = $1 and m.contact_id = any($2::uuid[])
                and not exists (select 1 from wanted w where w.id = m.contact_id and w.key = m.key)
            )
            insert into contacts.match_key (tenant_id, key, contact_id)
            select $1, key, id from wanted order by key on conflict do nothing
            """,
            [
                tenant.parameter, .array(profiles.map(\.id.lowercased)),
                .array(profiles.map { keys($0, tenant) }),
            ])
    }

    /// Forgets the keys of contacts that are gone: nobody is compared with them any more.
    static func forget(_ ids: Set<UUID>, tenant: TenantID) -> Statement {
        Statement(
            "delete from contacts.match_key where tenant_id = $1 and contact_id = any($2::uuid[])",
            [tenant.parameter, .array(ids.map(\.lowercased))])
    }

    /// The SQL of the ids that share keys with the ones in `$2`, at most `$3`, `$4` of each key: those that share most and the strongest
    /// first. Thousands may share a common name: of each key some are looked at, so that whoever shares an address is
    /// always among them.
    private static let sharing = """
        select m.contact_id from unnest($2::bigint[]) with ordinality as k (key, place)
        cross join lateral (
            select contact_id from contacts.match_key where tenant_id = $1 and key = k.key limit $4::bigint) m
        group by m.contact_id order by sum(\(mostKeys + 1) - k.place) desc, m.contact_id limit $3::bigint
        """

    /// For each profile the ids of contacts that share a key with it.
    static func candidates(
        _ profiles: [MatchProfile], in transaction: TenantTransaction
    ) async throws -> [[UUID]] {
        let tenant = transaction.tenant
        let results = try await transaction.batch(
            profiles.map {
                Statement(
                    sharing, [tenant.parameter, .text(keys($0, tenant))] + Breadth.thorough.parameters)
            })
        return results.map { rows in (0..<rows.count).map { rows.uuid($0, 0)! } }
    }

    private static let likes = """
        select \(MatchProfile.columns) from contacts.contact
        where tenant_id = $1 and deleted_at is null and id = any(array(\(sharing)))
        """

    /// What a search for those with one of `keys` reads: them, and the tenant's model where this process has none.
    static func search(keys: String, tenant: TenantID) -> [Statement] {
        let candidates = Statement(likes, [tenant.parameter, .text(keys)] + Breadth.quick.parameters)
        return models.find(tenant) == nil ? [candidates, modelRead(tenant)] : [candidates]
    }

    /// The living contacts among `ids`, as the matcher sees them.
    static func profiles(_ ids: Set<UUID>, in transaction: TenantTransaction) async throws -> [UUID: MatchProfile] {
        if ids.isEmpty { return [:] }
        let rows = try await transaction.query(
            """
            select \(MatchProfile.columns) from contacts.contact
            where tenant_id = $1 and id = any($2::uuid[]) and deleted_at is null
            """, [transaction.tenant.parameter, .array(ids.map(\.lowercased))])
        let profiles = (0..<rows.count).map { MatchProfile(rows, $0) }
        return Dictionary(uniqueKeysWithValues: profiles.map { ($0.id, $0) })
    }

    // MARK: Model

    /// The tenant's model as it was last fitted, at most half a minute ago; a general one before the first scan.
    static func model(in transaction: TenantTransaction) async throws -> MatchModel {
        if let known = models.find(transaction.tenant) { return known }
        return model(of: transaction.tenant, try await transaction.batch([modelRead(transaction.tenant)])[0])
    }

    /// The same of what was read of it; nil for nothing because this process had it.
    static func model(of tenant: TenantID, _ rows: Rows?) -> MatchModel {
        guard let rows else { return models.find(tenant) ?? .initial }
        let kept = rows.isEmpty ? nil : rows.text(0, 0)
        let model = kept.flatMap { try? JSONDecoder().decode(MatchModel.self, from: Data($0.utf8)) } ?? .initial
        models.keep(model.isUsable ? model : .initial, tenant)
        return model.isUsable ? model : .initial
    }

    private static func modelRead(_ tenant: TenantID) -> Statement {
        Statement("select model from contacts.match_state where tenant_id = $1", [tenant.parameter])
    }

    /// Keeps the model of a scan.
    static func keep(_ model: MatchModel, people: Int, in transaction: TenantTransaction) throws {
        let text = String(decoding: try JSONEncoder().encode(model), as: UTF8.self)
        transaction.later(
            Statement(
                """
                insert into contacts.match_state as s (tenant_id, model, people, scanned_at)
                values ($1, $2::jsonb, $3, now())
                on conflict (tenant_id) do update
                set model = excluded.model, people = excluded.people, scanned_at = excluded.scanned_at
                """, [transaction.tenant.parameter, .text(text), .int(people)]))
        let tenant = transaction.tenant
        transaction.afterCommit { models.forget(tenant) }
    }

    // MARK: Pairs

    /// A pair as it is kept; the older contact stands left.
    struct Pair: Sendable {
        let left: UUID
        let right: UUID
        let score: Double
        var through: UUID?

        init(_ first: UUID, _ second: UUID, score: Double, through: UUID? = nil) {
            let isInOrder = first.lowercased < second.lowercased
            left = isInOrder ? first : second
            right = isInOrder ? second : first
            self.score = score
            self.through = through
        }
    }

    /// Writes pairs found by `scan`, which looked at the contacts as they were at `moment`: what was found later stands.
    /// What a person has said of a pair stays.
    static func write(_ pairs: [Pair], scan: UUID, asOf moment: Date, in transaction: TenantTransaction) {
        var seen = Set<[UUID]>()
        let pairs = pairs.filter { seen.insert([$0.left, $0.right]).inserted }
        for start in stride(from: 0, to: pairs.count, by: 5000) {
            let part = pairs[start..<min(start + 5000, pairs.count)]
            transaction.later(
                Statement(
                    """
                    insert into contacts.duplicate_pair as p (tenant_id, left_id, right_id, score, through_id, scan_id,
                        found_at)
                    select $1, t.*, $6, $7 from unnest($2::uuid[], $3::uuid[], $4::float8[], $5::uuid[]) as t
                    on conflict (tenant_id, left_id, right_id) do update
                    set score = excluded.score, through_id = excluded.through_id, scan_id = excluded.scan_id,
                        found_at = excluded.found_at
                    where p.found_at <= excluded.found_at
                    """,
                    [
                        transaction.tenant.parameter, .array(part.map(\.left.lowercased)),
                        .array(part.map(\.right.lowercased)), .array(part.map { "\($0.score)" }),
                        .array(part.map { $0.through?.lowercased }), .uuid(scan), .time(moment),
                    ]))
        }
    }

    /// Forgets open pairs from before `moment` that `scan` has not found again: of `ids`, or of all contacts.
    static func forget(
        pairsOf ids: [UUID]?, except scan: UUID, asOf moment: Date, in transaction: TenantTransaction
    ) {
        var parameters: [Parameter] = [transaction.tenant.parameter, .uuid(scan), .time(moment)]
        var condition = ""
        if let ids {
            parameters.append(.array(ids.map(\.lowercased)))
            condition = " and (left_id = any($4::uuid[]) or right_id = any($4::uuid[]))"
        }
        transaction.later(
            Statement(
                """
                delete from contacts.duplicate_pair
                where tenant_id = $1 and scan_id <> $2 and found_at <= $3 and not is_dismissed\(condition)
                """, parameters))
    }
}

/// Models of tenants that this process has lately needed.
private final class ModelCache: Sendable {
    private let models = Mutex<[TenantID: (model: MatchModel, at: ContinuousClock.Instant)]>([:])

    func find(_ tenant: TenantID) -> MatchModel? {
        models.withLock { models in
            guard let known = models[tenant], known.at.duration(to: .now) < .seconds(30) else { return nil }
            return known.model
        }
    }

    func keep(_ model: MatchModel, _ tenant: TenantID) {
        models.withLock { models in
            // A model is some hundred kilobytes at most: a few hundred tenants' are enough.
            if models.count > 300 { models.removeAll() }
            models[tenant] = (model, .now)
        }
    }

    func forget(_ tenant: TenantID) { models.withLock { $0[tenant] = nil } }
}

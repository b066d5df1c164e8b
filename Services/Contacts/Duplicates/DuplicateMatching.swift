import Database
import Foundation
import Jobs
import Matching
import Records
import Tenancy

/// Keeps the likely pairs as contacts change: one by one as they do, all together after an import or when asked.
struct DuplicateMatching {
    let store: RecordStore
    /// Pairs less likely than this are not kept.
    private static let lowest = 0.1
    private static let pageSize = 5000
    /// Seconds that a scan waits for the rest of an import.
    private static let patience: TimeInterval = 5

    // MARK: Few

    /// Takes contacts that have changed.
    func take(_ event: ContactIdentified, _ context: JobContext) async throws {
        // The scan that follows an import indexes its contacts as well: set by set that costs a tenth.
        guard let contacts = event.contacts else { return try await context.once { try await wantScan($0) } }
        let moment = Date()
        try await context.once { transaction in
            let ids = Set(contacts)
            let living = try await DuplicateStore.profiles(ids, in: transaction)
            let profiles = living.values.sorted { $0.id.uuidString < $1.id.uuidString }
            let gone = ids.subtracting(living.keys)
            if !gone.isEmpty { transaction.later(DuplicateStore.forget(gone, tenant: transaction.tenant)) }
            if !profiles.isEmpty {
                transaction.later(DuplicateStore.index(profiles, tenant: transaction.tenant))
            }
            let pairs = try await self.pairs(profiles, transaction)
            DuplicateStore.write(pairs, scan: context.jobID, asOf: moment, in: transaction)
            DuplicateStore.forget(pairsOf: Array(ids), except: context.jobID, asOf: moment, in: transaction)
        }
    }

    private func pairs(
        _ profiles: [MatchProfile], _ transaction: TenantTransaction
    ) async throws -> [DuplicateStore.Pair] {
        if profiles.isEmpty { return [] }
        let candidates = try await DuplicateStore.candidates(profiles, in: transaction)
        let known = try await DuplicateStore.profiles(Set(candidates.joined()), in: transaction)
        let model = try await DuplicateStore.model(in: transaction)
        return zip(profiles, candidates).flatMap { profile, ids in
            let others = ids.filter { $0 != profile.id }.compactMap { known[$0] }
            return zip(others, model.scores(profile, against: others))
                .filter { $0.1.probability >= Self.lowest }
                .map { DuplicateStore.Pair(profile.id, $0.0.id, score: $0.1.probability) }
        }
    }

    /// Starts one scan for all batches of an import: whoever asks first within half a minute starts it, a while later.
    /// What is wanted while a scan runs, it starts itself at its end.
    private func wantScan(_ transaction: TenantTransaction) async throws {
        let rows = try await transaction.query(
            """
            insert into contacts.match_state as s (tenant_id, people, wanted_at) values ($1, 0, now())
            on conflict (tenant_id) do update set wanted_at = now()
            where s.wanted_at is null or s.wanted_at < now() - interval '30 seconds'
            returning s.scan_started_at > now() - interval '10 minutes'
            """, [transaction.tenant.parameter])
        guard !rows.isEmpty, rows.bool(0, 0) != true else { return }
        store.outbox.enqueue(
            [
                try PendingJob(
                    ScanDuplicatesJob(followsImport: true), runAt: Date(timeIntervalSinceNow: Self.patience))
            ], in: transaction)
    }

    // MARK: All

    /// Starts a scan whose progress can be followed. Throws 403 for whoever may not change contacts.
    func start(_ context: WriteContext) async throws -> WriteResult {
        guard try context.scope(of: .update, on: Contact.type) == .all else {
            throw Problem(403, "forbidden", "Your roles do not reach all contacts.")
        }
        let job = try PendingJob(ScanDuplicatesJob(followsImport: false), traceparent: context.traceparent)
        return try await store.start(job, note: "contacts", context)
    }

    /// Runs a scan over all contacts of the tenant.
    func scan(_ job: ScanDuplicatesJob, _ context: JobContext) async throws {
        if job.followsImport, try await waited(job, context) { return }
        let moment = Date()
        try await context.step { transaction in
            // What changes from here on asks for its own look.
            transaction.later(
                Statement(
                    """
                    insert into contacts.match_state as s (tenant_id, people, scan_started_at) values ($1, 0, now())
                    on conflict (tenant_id) do update set wanted_at = null, scan_started_at = now()
                    """, [transaction.tenant.parameter]))
            context.progress(done: 0, total: nil, note: "reading", in: transaction)
        }
        let people = try await read(context)
        try await context.step { transaction in
            context.progress(done: 0, total: people.count, note: "matching", in: transaction)
        }
        var options = DuplicateScan.Options()
        options.lowBound = Self.lowest
        let result = try await DuplicateScan.run(people, options: options)
        try await context.once(result: { (result: String) in result }) { transaction in
            try DuplicateStore.keep(result.model, people: result.figures.people, in: transaction)
            DuplicateStore.write(
                result.pairs.map {
                    DuplicateStore.Pair($0.first, $0.second, score: $0.probability, through: $0.impliedThrough)
                }, scan: context.jobID, asOf: moment, in: transaction)
            DuplicateStore.forget(pairsOf: nil, except: context.jobID, asOf: moment, in: transaction)
            let state = try await transaction.query(
                """
                update contacts.match_state set scan_started_at = null where tenant_id = $1
                returning wanted_at is not null
                """, [transaction.tenant.parameter])
            let next: any Job = state.bool(0, 0) == true ? ScanDuplicatesJob(followsImport: true) : IndexContactsJob()
            store.outbox.enqueue([try PendingJob(next)], in: transaction)
            context.progress(done: people.count, total: people.count, in: transaction)
            return Self.report(result).encoded
        }
    }

    /// True when an import still brings contacts: then this job is over, and another looks again in a while.
    private func waited(_ job: ScanDuplicatesJob, _ context: JobContext) async throws -> Bool {
        let running = try await context.step { transaction in
            try await transaction.query(
                """
                select 1 from contacts.import i
                join contacts.job_status s on s.tenant_id = i.tenant_id and s.id = i.job_id
                where i.tenant_id = $1 and i.record_type = 'contact' and s.state in ('waiting', 'running', 'failed')
                and i.created_at > now() - interval '6 hours' limit 1
                """, [transaction.tenant.parameter])
        }
        if running.isEmpty { return false }
        try await context.once { transaction in
            store.outbox.enqueue(
                [try PendingJob(job, runAt: Date(timeIntervalSinceNow: Self.patience))], in: transaction)
        }
        return true
    }

    /// All living contacts, page by page; each costs some hundred bytes of memory.
    private func read(_ context: JobContext) async throws -> PreparedProfiles {
        var people = PreparedProfiles()
        var after = UUID.beforeAll
        while true {
            let from = after
            let rows = try await context.step { transaction in
                try await transaction.query(
                    """
                    select \(MatchProfile.columns) from contacts.contact
                    where tenant_id = $1 and id > $2::uuid and deleted_at is null order by id limit \(Self.pageSize)
                    """, [transaction.tenant.parameter, .text(from)])
            }
            for row in 0..<rows.count { people.append(MatchProfile(rows, row)) }
            guard rows.count == Self.pageSize else {
                people.seal()
                return people
            }
            after = rows.text(rows.count - 1, 0)!
        }
    }

    /// Makes findable, for the look before a creation, whoever is not yet: an import's contacts. A killed run begins again
    /// with those that are left.
    func index(_ context: JobContext) async throws {
        var after = UUID.beforeAll
        while true {
            let from = after
            let last = try await context.step { transaction in
                // Asked row by row: a plan made while there were few keys would sort all of them for each page.
                let rows = try await transaction.query(
                    """
                    select \(MatchProfile.columns) from contacts.contact c
                    where tenant_id = $1 and id > $2::uuid and deleted_at is null and (
                        select 1 from contacts.match_key k where k.tenant_id = c.tenant_id and k.contact_id = c.id
                        limit 1) is null
                    order by id limit 1000
                    """, [transaction.tenant.parameter, .text(from)])
                let profiles = (0..<rows.count).map { MatchProfile(rows, $0) }
                if !profiles.isEmpty {
                    transaction.later(DuplicateStore.index(profiles, tenant: transaction.tenant))
                }
                return profiles.count == 1000 ? profiles.last!.id.lowercased : nil
            }
            guard let last else { return try await context.once { _ in } }
            after = last
        }
    }

    private static func report(_ result: ScanResult) -> JSONValue {
        let figures = result.figures
        func seconds(_ value: Double) -> JSONValue { .number(String((value * 1000).rounded() / 1000)) }
        return [
            "contacts": JSONValue(figures.people), "compared": JSONValue(figures.candidatePairs),
            "pairs": JSONValue(result.pairs.count { $0.probability >= 0.5 }),
            "persons_with_several": JSONValue(result.clusters.count),
            "seconds": [
                "index": seconds(figures.indexSeconds), "fit": seconds(figures.fitSeconds),
                "score": seconds(figures.scoreSeconds), "cluster": seconds(figures.clusterSeconds),
            ],
        ]
    }
}

import Database
import Foundation
import Opportunities
import Records
import Tenancy
import TestSupport
import Testing

@testable import Contacts
@testable import Jobs

@Suite("Change sets")
struct ChangeSetTests {
    /// How many seeds: `GUANXI_SEEDS` for a longer run.
    static let seeds = ProcessInfo.processInfo.environment["GUANXI_SEEDS"].flatMap { Int($0) } ?? 20

    @Test("random changes and their undos, in any order that is possible, restore what was there")
    func undoInAnyOrder() async throws {
        let bed = try await TestStore(contactsService, connections: 4)
        try await eachSeed { seed in
            let tenant = try await bed.tenant("undo-\(seed)")
            var walk = RandomWalk(bed: bed, tenant: tenant, seed: UInt64(seed), imports: true)
            for _ in 0..<6 { try await walk.step() }
            let before = try await bed.digest(tenant)
            var sets: [UUID] = []
            for _ in 0..<12 { sets.append(try await walk.step()) }
            var order: [UUID] = []
            while !sets.isEmpty {
                // Any of them, if nothing conflicts; the last one always can be undone.
                let pick = walk.random.number(0...sets.count - 1)
                let candidate = sets[pick]
                do {
                    _ = try await bed.store.undo(candidate, policy: .refuse, dryRun: false, bed.context(tenant))
                } catch let problem as Problem where problem.code == "conflicts" {
                    #expect(pick < sets.count - 1, "seed \(seed): the last change can't be undone: \(problem)")
                    let last = sets.removeLast()
                    do {
                        _ = try await bed.store.undo(last, policy: .refuse, dryRun: false, bed.context(tenant))
                    } catch let problem as Problem {
                        let done = try await walk.changes(of: last)
                        Issue.record("seed \(seed): the last of \(sets.count + 1) can't be undone: \(problem), \(done)")
                        return
                    }
                    order.append(last)
                    continue
                }
                sets.remove(at: pick)
                order.append(candidate)
            }
            #expect(try await bed.digest(tenant) == before, "seed \(seed), undone in the order \(order)")
        }
    }

    @Test("what a dry run predicts is what the real run then does")
    func predictions() async throws {
        let bed = try await TestStore(contactsService, connections: 4)
        try await eachSeed { seed in
            let tenant = try await bed.tenant("predict-\(seed)")
            var walk = RandomWalk(bed: bed, tenant: tenant, seed: UInt64(seed))
            for _ in 0..<4 { try await walk.step() }
            for _ in 0..<6 {
                let changes = walk.nextRequest()
                for change in changes {
                    let predicted = try await walk.perform(change, dryRun: true, bed.context(tenant))
                    let context = bed.context(tenant)
                    let jobsBefore = try await walk.jobs()
                    let real = try await walk.perform(change, dryRun: false, context)
                    switch (predicted, real) {
                    case (.success(let prediction), .success):
                        let (changed, started) = (try await walk.changes(of: context.changeSet), try await walk.jobs())
                        #expect(prediction.changes == changed, "seed \(seed): \(change)")
                        #expect(!prediction.listsDuplicates, "seed \(seed): \(change)")
                        #expect(
                            prediction.jobs.sorted() == started.dropFirst(jobsBefore.count).sorted(),
                            "seed \(seed): \(change)")
                    case (.success(let prediction), .failure(let found)) where prediction.listsDuplicates:
                        #expect(found.code == "duplicates", "seed \(seed): \(change)")
                    case (.failure(let expected), .failure(let found)):
                        #expect(expected.code == found.code, "seed \(seed): \(change)")
                    default:
                        Issue.record("seed \(seed): \(change) was predicted \(predicted) and gave \(real)")
                    }
                }
            }
            // And the prediction of an undo is the undo.
            let context = bed.context(tenant)
            guard
                case .success = try await walk.perform(
                    .create("organization", ["name": "Last"]), dryRun: false, context)
            else { return }
            let undoing = bed.context(tenant)
            let dry = try await bed.store.undo(context.changeSet, policy: .refuse, dryRun: true, undoing)
            let prediction = try Prediction(dry.body)
            _ = try await bed.store.undo(context.changeSet, policy: .refuse, dryRun: false, undoing)
            let undone = try await walk.changes(of: undoing.changeSet)
            #expect(prediction.changes == undone)
        }
    }

    @Test("conflicts are listed field by field, and with skip the rest is undone")
    func conflicts() async throws {
        let bed = try await TestStore(contactsService)
        let tenant = try await bed.tenant("conflicts")
        let store = bed.store
        let type = store.catalogue.type(named: "contact")!
        let ada = try await store.create(type, ["given_name": "Ada", "region": "Leiden"], bed.context(tenant)).id!
        let bob = try await store.create(type, ["given_name": "Bob"], bed.context(tenant)).id!
        let edit = bed.context(tenant)
        _ = try await store.update(type, ada, ["region": "Utrecht", "industry": "tea"], precondition: .any, edit)
        _ = try await store.update(type, bob, ["region": "Utrecht"], precondition: .any, edit)
        _ = try await store.update(type, ada, ["region": "Delft"], precondition: .any, bed.context(tenant))
        let refused = await #expect(throws: Problem.self) {
            _ = try await store.undo(edit.changeSet, policy: .refuse, dryRun: false, bed.context(tenant))
        }
        #expect(refused?.code == "conflicts")
        let conflict = refused?.extra["conflicts"]?.array?.first
        #expect(conflict?["field"] == "region" && conflict?["expected"] == "Utrecht" && conflict?["current"] == "Delft")
        #expect(conflict?["record_id"]?.text == ada.uuidString.lowercased())
        func region(_ id: UUID) async throws -> JSONValue? {
            try JSONParser.parse(try await store.get(type, id, bed.context(tenant)).body)["region"]
        }
        #expect(try await region(bob) == "Utrecht", "nothing was undone")
        _ = try await store.undo(edit.changeSet, policy: .skip, dryRun: false, bed.context(tenant))
        #expect(try await region(bob) == .null)
        #expect(try await region(ada) == "Delft")

        // What is undone can be redone, by undoing the undoing; and nothing is undone twice.
        let change = bed.context(tenant)
        _ = try await store.update(type, bob, ["region": "Gouda"], precondition: .any, change)
        let undoing = bed.context(tenant)
        _ = try await store.undo(change.changeSet, policy: .refuse, dryRun: false, undoing)
        let again = await #expect(throws: Problem.self) {
            _ = try await store.undo(change.changeSet, policy: .refuse, dryRun: false, bed.context(tenant))
        }
        #expect(again?.code == "already_undone")
        _ = try await store.undo(undoing.changeSet, policy: .refuse, dryRun: false, bed.context(tenant))
        #expect(try await region(bob) == "Gouda")
        _ = try await store.undo(change.changeSet, policy: .refuse, dryRun: false, bed.context(tenant))
        #expect(try await region(bob) == .null)
    }

    @Test("a record can be read as it was at any time")
    func asOf() async throws {
        let bed = try await TestStore(contactsService)
        let tenant = try await bed.tenant("as-of")
        let type = bed.store.catalogue.type(named: "contact")!
        var seen: [(Date, [UInt8])] = []
        let id = try await bed.store.create(
            type, ["given_name": "伟", "family_name": "王", "emails": [["value": "w@example.cn"]], "needs": ["茶"]],
            bed.context(tenant)
        ).id!
        let beginning = Date(timeIntervalSinceNow: -60)
        for region in ["上海", "北京", "📍", ""] {
            _ = try await bed.store.update(
                type, id, ["region": region.isEmpty ? .null : .string(region), "birth_date": "1980-01-31"],
                precondition: .any, bed.context(tenant))
            seen.append((Date(), try await bed.store.get(type, id, bed.context(tenant)).body))
            try await Task.sleep(for: .milliseconds(3))
        }
        _ = try await bed.store.delete(type, id, precondition: .any, bed.context(tenant))
        // Figures have no history of their own.
        let figures = Set(type.fields.filter { $0.isDerived }.map(\.name))
        func recorded(_ body: [UInt8]) throws -> [String: JSONValue]? {
            try JSONParser.parse(body).object?.filter { !figures.contains($0.key) }
        }
        for (moment, body) in seen {
            let past = try await bed.store.get(type, id, asOf: moment, bed.context(tenant))
            let (told, seen) = (try recorded(past.body), try recorded(body))
            #expect(told != nil && told == seen)
        }
        for moment in [beginning, Date()] {
            await #expect(throws: Problem.self) {
                _ = try await bed.store.get(type, id, asOf: moment, bed.context(tenant))
            }
        }
    }

    /// Runs `body` for each seed, three at a time.
    private func eachSeed(_ body: @escaping @Sendable (Int) async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for seed in 0..<Self.seeds {
                if seed >= 3 { try await group.next() }
                group.addTask { try await body(seed) }
            }
            try await group.waitForAll()
        }
    }
}

/// What a prediction says, in the form in which the history says it.
private struct Prediction: Sendable, CustomStringConvertible {
    let changes: [JSONValue]
    let jobs: [String]
    /// The real run is refused for them.
    let listsDuplicates: Bool

    init(_ body: [UInt8]) throws {
        let json = try JSONParser.parse(body)
        listsDuplicates = json["duplicates"]?.array?.isEmpty == false
        changes = (json["changes"]?.array ?? []).map { change in
            [
                "record_type": change["record_type"]!, "operation": change["operation"]!,
                // A merge is named after its request: the real one's name can't be foretold.
                "changes": .object((change["changes"]?.object ?? [:]).filter { $0.key != "merge_id" }),
                "record_id": change["record_id"]!,
            ]
        }
        jobs = (json["jobs"]?.array ?? []).map { "\($0["queue"]?.text ?? "") \($0["name"]?.text ?? "")" }
    }

    var description: String { "\(changes) \(jobs)" }
}

/// Random requests on the contacts and organizations of one tenant.
private struct RandomWalk {
    enum Operation: Sendable, CustomStringConvertible {
        case create(String, JSONValue)
        case update(String, UUID, JSONValue)
        case delete(String, UUID)
        case restore(String, UUID)
        case merge(survivor: UUID, merged: UUID)
        /// A file, by the job that reads it.
        case importing([JSONValue])

        var description: String {
            switch self {
            case .create(let type, let body): "create \(type) \(body.encoded)"
            case .update(let type, let id, let body): "update \(type) \(id) \(body.encoded)"
            case .delete(let type, let id): "delete \(type) \(id)"
            case .restore(let type, let id): "restore \(type) \(id)"
            case .merge(let survivor, let merged): "merge \(merged) into \(survivor)"
            case .importing(let rows): "import \(rows.map(\.encoded))"
            }
        }
    }

    let bed: TestStore
    let tenant: TenantID
    var random: SeededGenerator
    /// Files too: what they do is predicted by their job, not by the request.
    let imports: Bool
    private var known: [(type: String, id: UUID)] = []

    init(bed: TestStore, tenant: TenantID, seed: UInt64, imports: Bool = false) {
        self.imports = imports
        self.bed = bed
        self.tenant = tenant
        random = SeededGenerator(seed: seed)
    }

    /// One request of one to four operations; gives its change set. A request that changed nothing is made again.
    @discardableResult
    mutating func step() async throws -> UUID {
        while true {
            let context = bed.context(tenant)
            var changed = false
            for operation in nextRequest() {
                if case .success = try await perform(operation, dryRun: false, context) { changed = true }
            }
            if changed, !(try await changes(of: context.changeSet)).isEmpty { return context.changeSet }
        }
    }

    mutating func nextRequest() -> [Operation] {
        (0..<random.number(1...4)).map { _ in nextOperation() }
    }

    private mutating func nextOperation() -> Operation {
        guard !known.isEmpty, random.number(0...3) > 0 else {
            return random.number(0...3) == 0
                ? .create("organization", ["name": word(), "source": "walk", "external_id": word()])
                : .create("contact", content())
        }
        if imports && random.number(0...9) == 0 {
            return .importing(
                (0..<random.number(1...5)).map { _ in
                    .object((content().object ?? [:]).merging(["external_id": word()]) { $1 })
                })
        }
        let (type, id) = random.pick(known)
        switch random.number(0...10) {
        case 10:
            let contacts = known.filter { $0.type == "contact" }.map(\.id)
            guard let survivor = contacts.first, contacts.count > 1 else { return .delete(type, id) }
            let merged = random.pick(Array(contacts.dropFirst()))
            return random.number(0...1) == 0
                ? .merge(survivor: survivor, merged: merged) : .merge(survivor: merged, merged: survivor)
        case 0...6: return .update(type, id, type == "contact" ? content() : ["name": word(), "industry": word()])
        case 7, 8: return .delete(type, id)
        default: return .restore(type, id)
        }
    }

    private mutating func content() -> JSONValue {
        var members: [String: JSONValue] = [:]
        for _ in 0...random.number(0...2) {
            switch random.number(0...9) {
            case 0: members["given_name"] = word()
            case 1: members["family_name"] = word()
            case 2: members["region"] = random.number(0...3) == 0 ? .null : word()
            case 3: members["emails"] = [["value": .string("p\(random.number(0...9))@example.com"), "primary": true]]
            case 4: members["needs"] = random.number(0...1) == 0 ? [] : ["tea", word()]
            case 5: members["birth_date"] = .string("19\(random.number(10...99))-0\(random.number(1...9))-11")
            case 6: members["external_id"] = word()
            case 7: members["likelihood_to_recommend"] = JSONValue(random.number(0...10))
            case 8:
                members["organization_id"] = .string(
                    known.last { $0.type == "organization" }?.id.uuidString.lowercased() ?? "")
                if members["organization_id"] == "" { members["organization_id"] = .null }
            default: members["do_not_contact"] = .bool(random.number(0...1) == 0)
            }
        }
        return .object(members)
    }

    private mutating func word() -> JSONValue {
        .string(random.pick(["Ada", "王", "Zoë", "🙂", "عمر", "x", "\"quoted\"", "O'Hara"]) + "\(random.number(0...5))")
    }

    /// What an operation gave: its prediction, or the refusal.
    mutating func perform(
        _ operation: Operation, dryRun: Bool, _ context: WriteContext
    ) async throws -> Result<Prediction, Problem> {
        let store = bed.store
        func type(_ name: String) -> RecordType { store.catalogue.type(named: name)! }
        do {
            let result: WriteResult
            switch operation {
            case .create(let name, let body):
                result = try await store.create(type(name), body, dryRun: dryRun, context)
                if let id = result.id { known.append((name, id)) }
            case .update(let name, let id, let body):
                result = try await store.update(type(name), id, body, precondition: .any, dryRun: dryRun, context)
            case .delete(let name, let id):
                result = try await store.delete(type(name), id, precondition: .any, dryRun: dryRun, context)
            case .restore(let name, let id):
                result = try await store.restore(type(name), id, dryRun: dryRun, context)
            case .merge(let survivor, let merged):
                let wish = try MergeWish([
                    "survivor": .string(survivor.lowercased), "merged": .string(merged.lowercased),
                ])
                result = try await store.writing(type("contact"), dryRun: dryRun, context) { transaction in
                    try await MergeEndpoints(store: store).merge(wish, context, transaction)
                }
            case .importing(let rows): result = try await read(rows, context)
            }
            return .success(try Prediction(dryRun ? result.body : Array("{}".utf8)))
        } catch let problem as Problem {
            return .failure(problem)
        }
    }

    /// Uploads a file and does its job.
    private func read(_ rows: [JSONValue], _ context: WriteContext) async throws -> WriteResult {
        var upload = ImportUpload(store: bed.store, context: context)
        try await upload.add(rows.map(\.encoded).joined(separator: "\n").utf8)
        let options = try ImportOptions(
            ["type": "contact", "format": "ndjson", "source": "walk", "duplicates": "update"],
            catalogue: bed.store.catalogue)
        let started = try await upload.finish(options)
        let schema = bed.store.outbox.schema
        let waiting = try await bed.store.database.query(
            tenant: tenant,
            Statement(
                "select payload from \(schema).outbox where tenant_id = $1 and id = $2",
                [tenant.parameter, .uuid(started.id!)]), readOnly: true)
        var job = PendingJob(
            id: started.id!, name: "\(schema).run-import", queue: "\(schema).import",
            payload: Array(waiting.text(0, 0)!.utf8))
        job.options.isTracked = true
        let run = JobContext(
            envelope: JobEnvelope(job, tenant: tenant, origin: schema), logger: TestServers.logger,
            outbox: bed.store.outbox, database: bed.store.database)
        try await contactsService.registry(bed.store).handlers[job.name]!(run)
        return started
    }

    /// What the history says of a change set, in the order it was written.
    func changes(of set: UUID) async throws -> [JSONValue] {
        let rows = try await bed.store.database.query(
            tenant: tenant,
            Statement(
                """
                select json_build_object('record_type', record_type, 'operation', operation,
                    'changes', changes::jsonb - 'merge_id',
                    'record_id', case operation when 'create' then null else record_id end)::text
                from contacts.history where tenant_id = $1 and change_set = $2 order by at, version
                """, [tenant.parameter, .uuid(set)]), readOnly: true)
        return try (0..<rows.count).map { try JSONParser.parse(rows.text($0, 0)!.utf8) }
    }

    /// All jobs that the tenant's requests have started so far.
    func jobs() async throws -> [String] {
        let rows = try await bed.store.database.query(
            tenant: tenant,
            Statement(
                "select queue || ' ' || name from contacts.outbox where tenant_id = $1 order by id",
                [tenant.parameter]), readOnly: true)
        return (0..<rows.count).map { rows.text($0, 0)! }
    }
}

import Database
import Foundation
import Records
import TestSupport
import Testing

/// Ada and Bo of one tenant and Cy of another work at the same time, over HTTP alone. What each was told is done stands
/// in a ledger; the records, their history and its proof have to say the same.
@Suite("Several agents at one desk", .serialized, .timeLimit(.minutes(60)))
struct SharedDeskTests {
    @Test("agents of two tenants at once: no update is lost, nothing leaks, all is explained, a flipped byte is found")
    func work() async throws {
        let platform = try await TestPlatform(["contacts serve", "contacts work"])
        let ours = try await Desk(platform, "desk-a", agents: ["ada", "bo"], mark: "zebra4711", secret: "otter0815")
        let theirs = try await Desk(platform, "desk-b", agents: ["cy"], mark: "otter0815", secret: "zebra4711")
        let (cy, own) = (theirs.agents[0], theirs.firstContact)
        var moments: [(time: String, books: [SharedRecord: [Accepted]])] = []
        for round in 0..<4 {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for desk in [ours, theirs] {
                    for (number, agent) in (desk.agents + desk.agents + desk.agents).enumerated() {
                        group.addTask { try await agent.work(on: desk.records, steps: 10, "\(round)-\(number)") }
                    }
                }
                group.addTask { try await cy.pry(ours.records, own) }
                try await group.waitForAll()
            }
            // All are at rest: what they were told is done was done before this moment, and nothing since.
            moments.append((Timestamp.rfc3339(Date()), await ours.ledger.books))
            for desk in [ours, theirs] { try await desk.restoreAll("restore-\(round)") }
        }
        let found = try await ours.agents[0].send("GET", "/v1/search?q=\(ours.agents[0].mark)")
        #expect(found.json["items"]?.array?.isEmpty == false, "what Cy must not find can be found: \(found.text)")
        try await cy.pry(Array(await ours.ledger.books.keys), own)
        for desk in [ours, theirs] { try await desk.audit() }
        for moment in moments { try await ours.compare(at: moment.time, with: moment.books) }
        try await tamper(platform, ours, theirs)
    }

    /// The chain holds; with one byte of one entry changed that entry is named, and with it put back all holds again.
    private func tamper(_ platform: TestPlatform, _ ours: Desk, _ theirs: Desk) async throws {
        let books = await ours.ledger.books
        let count = books.values.reduce(0) { $0 + $1.count }
        func expectAllHolds() async throws {
            let report = try await ours.verification(platform)
            #expect(report["verified"] == true && report["entries"]?.int == count, "\(report.encoded)")
        }
        try await expectAllHolds()
        // Not the last of its field: the record stays what its history gives, so that the chain alone can tell.
        let record = ours.firstContact
        let appended = (books[record] ?? []).filter { $0.token != nil }
        try #require(appended.count > 1, "the first contact was hardly changed")
        let version = appended[0].version
        let superuser = platform.database.pool(role: "postgres")
        defer { superuser.close() }
        func replaceFirst(_ old: String, by new: String) async throws {
            let change = "update contacts.history set changes = regexp_replace(changes::text, $1::text, $2::text)::json"
            let entry = " where record_id = $3::uuid and version = $4::bigint"
            let values: [Parameter] = [.text(old), .text(new), .text(record.id), .int(version)]
            let rows = try await superuser.query(tenant: nil, Statement(change + entry, values))
            #expect(rows.affected == 1)
        }
        let flipped = "y\(ours.agents[0].mark.dropFirst())"
        try await replaceFirst(ours.agents[0].mark, by: flipped)
        let broken = try await ours.verification(platform)
        let faults = (broken["faults"]?.array ?? []).map { [$0["code"]?.text, $0["record_id"]?.text, "\($0.version)"] }
        #expect(faults == [["entry_changed", record.id, "\(version)"]] as [[String?]], "\(broken.encoded)")
        #expect(try await theirs.verification(platform)["verified"] == true, "another tenant's fault is not theirs")
        try await replaceFirst(flipped, by: ours.agents[0].mark)
        try await expectAllHolds()
    }
}

/// A record by its address.
private struct SharedRecord: Hashable, Sendable {
    let plural: String
    let id: String

    var path: String { "/v1/\(plural)/\(id)" }
    var type: String { String(plural.dropLast()) }
    /// Fields of plain text.
    var texts: [String] {
        ["contacts": ["region", "occupation"], "organizations": ["industry"], "tasks": ["subject"]][plural] ?? []
    }

    /// What a task with the contact is made of.
    func task(_ subject: String) -> [String: JSONValue] { ["subject": .string(subject), "contact_id": .string(id)] }

    /// What a change sends that adds to what is there: one written over another would take the other's part with it.
    func appending(_ token: String, to current: JSONValue) -> [String: JSONValue] {
        switch plural {
        case "contacts": ["needs": .array((current["needs"]?.array ?? []) + [.string(token)])]
        case "organizations": ["size": JSONValue((current["size"]?.int ?? 0) + 1), "website": .string(token)]
        default: ["note": .string([current["note"]?.text, token].compactMap { $0 }.joined(separator: " "))]
        }
    }
}

/// A change that an agent was told is done.
private struct Accepted: Sendable {
    let version: Int
    let operation: String
    let actor: String
    let request: String
    let fields: [String: JSONValue]
    /// The version that the agent had seen.
    let base: Int?
    /// What the change added to the record.
    let token: String?
}

/// All accepted changes of a tenant's agents: by record, in the order of versions.
private actor Ledger {
    private(set) var books: [SharedRecord: [Accepted]] = [:]

    func note(
        _ operation: String, of record: SharedRecord, _ version: Int, by agent: Agent, _ request: String,
        _ fields: [String: JSONValue] = [:], base: Int? = nil, token: String? = nil
    ) {
        let change = Accepted(
            version: version, operation: operation, actor: agent.actor, request: request, fields: fields, base: base,
            token: token)
        books[record, default: []].append(change)
        books[record]?.sort { $0.version < $1.version }
    }
}

/// Somebody at work with a key of their own.
private struct Agent: Sendable {
    let name: String
    let client: HTTPClient
    let ledger: Ledger
    /// Stands in what is the tenant's own; `secret` in what the other keeps to itself: no answer may hold that.
    let mark: String
    let secret: String
    /// What the history calls them.
    var actor: String { "key:\(client.token!.split(separator: "_")[1])" }

    func send(
        _ method: String, _ path: String, _ body: JSONValue? = nil, base: Int? = nil, as request: String? = nil,
        key: String? = nil
    ) async throws -> Answer {
        var headers = ["If-Match": base.map { "\"\($0)\"" } ?? "*"]
        headers["X-Request-Id"] = request
        headers["Idempotency-Key"] = key
        let answer = try await client.send(method, path, json: body, headers: headers)
        #expect(!answer.text.contains(secret), "\(name) is told of the other tenant by \(method) \(path)")
        #expect(answer.status < 500, "\(method) \(path): \(answer.text)")
        return answer
    }

    /// Sends a request twice at once under one key: it is done once, and both get its answer.
    func sendTwice(
        _ method: String, _ path: String, _ body: JSONValue, base: Int? = nil, as request: String
    ) async throws -> Answer {
        async let one = send(method, path, body, base: base, as: request, key: request)
        async let other = send(method, path, body, base: base, as: request, key: request)
        let answers = try await [one, other]
        guard let done = answers.first(where: { $0.status < 300 }) else { return answers[0] }
        for answer in answers where answer.text != done.text {
            // Nothing but a conflict of the two keeps one from the other's answer: asked again, it gets it.
            #expect(answer.json["code"] == "busy", "\(request) was answered in two ways: \(answer.text)")
            let again = try await send(method, path, body, base: base, as: request, key: request)
            #expect(again.text == done.text, "\(request) was answered in two ways")
        }
        return done
    }

    /// True when what was to be changed is gone, false when it only has to be read and tried again.
    func isGone(_ refusal: Answer) throws -> Bool {
        switch (refusal.status, refusal.json["code"]?.text ?? "") {
        case (412, "stale"), (409, "busy"): return false
        case (404, "not_found"), (409, "no_such_record"): return true
        default: throw TestFailure("\(name) is refused with \(refusal.status): \(refusal.text)")
        }
    }

    /// Creates a record; nil where what it refers to is gone.
    @discardableResult
    func create(_ plural: String, _ fields: [String: JSONValue], as request: String) async throws -> SharedRecord? {
        let path = "/v1/\(plural)" + (plural == "contacts" ? "?allow_duplicates=true" : "")
        let answer = try await sendTwice("POST", path, .object(fields), as: request)
        if answer.status != 201, try isGone(answer) { return nil }
        let record = SharedRecord(plural: plural, id: try #require(answer.json["id"]?.text, "\(answer.text)"))
        await ledger.note("create", of: record, 1, by: self, request, fields)
        return record
    }
}

/// A tenant's agents, the records that they share, and what became of them.
private struct Desk: Sendable {
    let owner: HTTPClient
    let ledger = Ledger()
    let agents: [Agent]
    let records: [SharedRecord]

    /// Names and external ids are the same in every tenant; `mark` stands in what is the tenant's own.
    init(_ platform: TestPlatform, _ slug: String, agents names: [String], mark: String, secret: String) async throws {
        let tenant = try await platform.tenant(slug)
        let rights: JSONValue = [["types": ["*"], "actions": ["update", "delete"], "scope": "all"]]
        try await platform.role(tenant.id, "desk", rights)
        var agents: [Agent] = []
        for name in names {
            let client = try await platform.user(name, of: tenant.id, roles: ["agent", "desk"]).client
            agents.append(Agent(name: name, client: client, ledger: ledger, mark: mark, secret: secret))
        }
        var records: [SharedRecord] = []
        for number in 0..<10 {
            let plural = number < 2 ? "organizations" : number < 7 ? "contacts" : "tasks"
            var fields: [String: JSONValue] = ["subject": .string("Call \(mark)")]
            if number < 2 { fields = ["name": "Acme", "industry": .string(mark), "external_id": .string("\(number)")] }
            if plural == "contacts" {
                fields = ["given_name": "Kim", "region": .string(mark), "organization_id": .string(records[0].id)]
                fields["external_id"] = .string("\(number)")
            }
            let made = try await agents[0].create(plural, fields, as: "new-record-\(number)")
            records.append(try #require(made))
        }
        owner = platform.client("contacts", token: tenant.key)
        self.agents = agents
        self.records = records
    }

    var firstContact: SharedRecord { records[2] }

    /// What is deleted is restored twice at once: one request does it, the other is told that it is done.
    func restoreAll(_ request: String) async throws {
        for (record, book) in await ledger.books where book.last?.operation == "delete" {
            let (path, last) = ("\(record.path)/restore", agents[agents.count - 1])
            async let one = agents[0].send("POST", path, [:], as: request)
            async let other = last.send("POST", path, [:], as: request)
            let answers = try await [one, other]
            let statuses = answers.map(\.status).sorted()
            #expect(statuses == [200, 409], "\(record.path) is restored once")
            for (agent, answer) in zip([agents[0], last], answers) where answer.status == 200 {
                await ledger.note("restore", of: record, answer.json.version, by: agent, request)
            }
        }
    }

    /// The result of the job that proves the history.
    func verification(_ platform: TestPlatform) async throws -> JSONValue {
        let started = try await owner.post("/v1/history/verification", [:])
        let id = try #require(started.json["job_id"]?.text, "\(started.text)")
        let job = try await platform.finished(owner, job: id)
        return try #require(job["result"], "\(job.encoded)")
    }

    /// Every record is what the ledger says, and its history tells each change as its agent was told of it.
    func audit() async throws {
        let books = await ledger.books
        for (record, book) in books { try await audit(record, book) }
        for plural in ["contacts", "organizations", "tasks"] {
            let list = try await agents[0].send("GET", "/v1/\(plural)?limit=200")
            let listed = Set((list.json["items"]?.array ?? []).compactMap { $0["id"]?.text })
            let odd = listed.symmetricDifference(books.keys.filter { $0.plural == plural }.map(\.id))
            #expect(odd.isEmpty, "\(plural) that are lost, or another's: \(odd)")
        }
    }

    private func audit(_ record: SharedRecord, _ book: [Accepted]) async throws {
        // The history shows the last two hundred changes: no record here has so many.
        let history = try await agents[0].send("GET", "\(record.path)/history")
        let entries = Array((history.json["items"]?.array ?? []).reversed())
        let (told, noted) = (entries.compactMap { $0["version"]?.int }, book.map(\.version))
        #expect(told == Array(1..<(told.count + 1)), "\(record.path): the versions have gaps: \(told)")
        #expect(told == noted, "\(record.path): accepted and not in the history, or the other way round: \(noted)")
        var state: [String: JSONValue] = [:]
        for (entry, change) in zip(entries, book) {
            let what = "\(record.path) version \(change.version), \(change.request)"
            let author = ["actor", "request_id", "operation"].map { entry[$0]?.text ?? "" }
            #expect(author == [change.actor, change.request, change.operation], "\(what) is said to be \(author)")
            let members = entry["changes"]?.object ?? [:]
            for (field, values) in members {
                let (from, before): (JSONValue, JSONValue) = (values["from"] ?? .null, state[field] ?? .null)
                #expect(from == before, "\(what): \(field) did not come from what was there")
                state[field] = values["to"] ?? .null
            }
            for (field, value) in change.fields { #expect(state[field] == value, "\(what): \(field) is not as sent") }
            // The quality follows from the other fields.
            let more = Set(members.keys).subtracting(change.fields.keys).subtracting(["quality_score"])
            #expect(more.isEmpty || change.operation == "create", "\(what): changed unasked: \(more)")
            guard let base = change.base else { continue }
            // Only a merge may go in beside others, and only beside changes of other fields.
            let since = book.filter { $0.version > base && $0.version < change.version }
            let isMerge = change.token == nil && change.operation == "update"
            #expect(isMerge || since.isEmpty, "\(what) went in over \(since.map(\.request))")
            let lost = since.filter { !Set($0.fields.keys).isDisjoint(with: change.fields.keys) }
            #expect(lost.isEmpty, "\(what) was written over \(lost.map(\.request))")
        }
        let current = try await agents[0].send("GET", record.path)
        #expect(current.status == 200 && current.json["version"]?.int == noted.last, "\(current.text)")
        let figures: Set = ["id", "version", "created_at", "updated_at", "lifecycle_stage", "lifecycle_group"]
        for (field, value) in current.json.object ?? [:] where !figures.contains(field) {
            let expected: JSONValue = state[field] ?? .null
            #expect(value == expected, "\(record.path): \(field) is not what its history gives")
        }
        let tokens = book.compactMap(\.token).sorted()
        if let size = current.json["size"] {
            #expect((size.int ?? 0) == tokens.count, "\(record.path): counts were lost")
        } else {
            let words = (current.json["note"]?.text ?? "").split(separator: " ").map { String($0) }
            let kept = current.json["needs"]?.array?.compactMap(\.text) ?? words
            #expect(kept.sorted() == tokens, "\(record.path): lost, there twice, or never accepted")
        }
    }

    /// As of a moment, every record is what the ledger had of it then.
    func compare(at time: String, with books: [SharedRecord: [Accepted]]) async throws {
        for record in await ledger.books.keys {
            let past = try await agents[0].send("GET", "\(record.path)?as_of=\(time)")
            guard let book = books[record], let last = book.last, last.operation != "delete" else {
                #expect(past.status == 404, "\(record.path) was not there at \(time): \(past.text)")
                continue
            }
            #expect(past.json["version"]?.int == last.version, "\(record.path) at \(time): \(past.text)")
            let fields = book.reduce(into: [String: JSONValue]()) { $0.merge($1.fields) { $1 } }
            for (field, value) in fields { #expect(past.json[field] == value, "\(record.path) at \(time): \(field)") }
        }
    }
}

extension Agent {
    /// Works for a while, as a seed from `name` chooses.
    func work(on records: [SharedRecord], steps: Int, _ shift: String) async throws {
        var random = SeededGenerator(seed: "\(name)-\(shift)".utf8.reduce(UInt64(7)) { $0 &* 31 &+ UInt64($1) })
        let contacts = records.filter { $0.plural == "contacts" }
        let companies = records.filter { $0.plural == "organizations" }
        var seen: [SharedRecord: JSONValue] = [:]
        for record in records { seen[record] = try await look(record) }
        for step in 0..<steps {
            // Chosen before anything is asked: a seed tries the same whatever the others do meanwhile.
            let (work, record) = (random.number(0...22), random.pick(records))
            let (field, contact, company) = (random.pick(record.texts), random.pick(contacts), random.pick(companies))
            let token = "\(mark)-\(name)-\(shift)-\(step)"
            switch work {
            case 0..<9: try await append(token, to: record)
            case 9..<14: try await merge(token, as: field, into: record, seen: seen[record])
            case 14: try await delete(record, token)
            case 15..<18: try await batch(token, contact, company)
            case 18..<20: try await bulk(token, contacts)
            default: try await create("tasks", contact.task(token), as: token)
            }
        }
    }

    /// Nil when somebody has deleted it.
    private func look(_ record: SharedRecord) async throws -> JSONValue? {
        let answer = try await send("GET", record.path)
        if try answer.status != 200 && isGone(answer) { return nil }
        return answer.json
    }

    /// Adds to what was read, if that is what is still there, and else reads it again, until it is done or gone.
    private func append(_ token: String, to record: SharedRecord) async throws {
        while let current = try await look(record) {
            let (base, fields) = (current.version, record.appending(token, to: current))
            let request = "\(token)-\(base)"
            let answer = try await sendTwice("PATCH", record.path, .object(fields), base: base, as: request)
            if answer.status == 200 {
                return await ledger.note(
                    "update", of: record, answer.json.version, by: self, request, fields, base: base, token: token)
            }
            if try isGone(answer) { return }
        }
    }

    /// Sets a field of what was seen however long ago: what others have made of other fields since then stays.
    private func merge(_ token: String, as field: String, into record: SharedRecord, seen: JSONValue?) async throws {
        let fields: [String: JSONValue] = [field: .string(token)]
        var seen = seen
        while let base = seen?.version {
            let answer = try await send("PATCH", "\(record.path)?merge=true", .object(fields), base: base, as: token)
            if answer.status == 200 {
                return await ledger.note("update", of: record, answer.json.version, by: self, token, fields, base: base)
            }
            if try isGone(answer) { return }
            let conflicts = (answer.json["conflicts"]?.array ?? []).compactMap { $0["field"]?.text }
            #expect(conflicts == [field] || answer.status == 409, "\(token) conflicts with that alone: \(answer.text)")
            seen = try await look(record)
        }
    }

    private func delete(_ record: SharedRecord, _ token: String) async throws {
        guard let base = try await look(record)?.version else { return }
        let answer = try await send("DELETE", record.path, base: base, as: token)
        if answer.status == 204 {
            return await ledger.note("delete", of: record, base + 1, by: self, token, base: base)
        }
        _ = try isGone(answer)
    }

    /// Two changes and a creation, all or none: nothing of a refused batch is noted, so nothing may be in any history.
    private func batch(_ token: String, _ contact: SharedRecord, _ company: SharedRecord) async throws {
        var operations: [JSONValue] = []
        var updates: [(record: SharedRecord, base: Int, fields: [String: JSONValue])] = []
        for record in [contact, company] {
            guard let current = try await look(record) else { return }
            let (base, fields) = (current.version, record.appending(token, to: current))
            let (type, id) = (JSONValue.string(record.type), JSONValue.string(record.id))
            let (body, version) = (JSONValue.object(fields), JSONValue(base))
            operations.append(["op": "update", "type": type, "id": id, "if_match": version, "body": body])
            updates.append((record, base, fields))
        }
        operations.append(["op": "create", "type": "task", "body": .object(contact.task(token))])
        let answer = try await sendTwice("POST", "/v1/batch", ["operations": .array(operations)], as: token)
        guard answer.status == 200, let results = answer.json["results"]?.array, results.count == 3 else {
            _ = try isGone(answer)
            return
        }
        for ((record, base, fields), result) in zip(updates, results) {
            await ledger.note("update", of: record, result.version, by: self, token, fields, base: base, token: token)
        }
        let made = SharedRecord(plural: "tasks", id: results[2]["id"]?.text ?? "")
        await ledger.note("create", of: made, results[2].version, by: self, token, contact.task(token))
    }

    /// A change of every contact, each done or refused by itself.
    private func bulk(_ token: String, _ contacts: [SharedRecord]) async throws {
        let fields: [String: JSONValue] = ["job_title": .string(token)]
        var (operations, bases): ([JSONValue], [Int]) = ([], [])
        for record in contacts {
            // One that is gone is asked for all the same.
            let (base, id) = (try await look(record)?.version ?? 1, JSONValue.string(record.id))
            operations.append(["op": "update", "id": id, "version": JSONValue(base), "data": .object(fields)])
            bases.append(base)
        }
        let answer = try await send("POST", "/v1/contacts/bulk", ["operations": .array(operations)], as: token)
        let results = answer.json["results"]?.array ?? []
        #expect(results.count == bases.count, "\(answer.text)")
        for ((record, base), result) in zip(zip(contacts, bases), results) {
            let status = result["status"]?.int ?? 0
            #expect([200, 404, 409, 412].contains(status), "\(token): \(result.encoded)")
            guard status == 200 else { continue }
            await ledger.note("update", of: record, result.version, by: self, token, fields, base: base)
        }
    }
}

/// Cy, with the ids of the other tenant's records in hand.
extension Agent {
    /// Every answer about another tenant's record is the one about a record that never was.
    fileprivate func pry(_ records: [SharedRecord], _ own: SharedRecord) async throws {
        for plural in Set(records.map(\.plural)) {
            let stranger = SharedRecord(plural: plural, id: UUID().uuidString.lowercased())
            let expected = try await told(of: stranger, own)
            for record in records where record.plural == plural {
                for (answer, wanted) in zip(try await told(of: record, own), expected) { #expect(answer == wanted) }
            }
        }
    }

    /// What each way to ask for a record, or to change it, answers: without the id of the request, and the record's own.
    private func told(of record: SharedRecord, _ own: SharedRecord) async throws -> [String] {
        let (path, list, id) = (record.path, "/v1/\(record.plural)", JSONValue.string(record.id))
        let (type, mine) = (JSONValue.string(record.type), JSONValue.string(own.id))
        let taken = JSONValue.object([record.texts[0]: "taken"])
        let change: JSONValue = ["op": "update", "type": type, "id": id, "if_match": "*", "body": taken]
        var ways: [(String, String, JSONValue)] = [
            ("GET", path, .null), ("GET", "\(path)/history", .null), ("DELETE", path, .null),
            ("GET", "\(path)?as_of=2100-01-01T00:00:00Z", .null), ("GET", "/v1/search?q=\(secret)", .null),
            ("GET", "\(list)?q=\(secret)", .null),
            ("GET", "\(list)?filter%5B\(record.texts[0])%5D%5Bcontains%5D=\(secret)&count=exact", .null),
            ("GET", "\(list)?filter%5Bid%5D=\(record.id)&count=exact", .null),
            ("PATCH", path, taken), ("PATCH", "\(path)?merge=true", taken), ("PATCH", "\(path)?dry_run=true", taken),
            ("POST", "\(path)/restore", [:]),
            ("POST", "\(list)/bulk", ["operations": [["op": "update", "id": id, "data": taken]]]),
            ("POST", "\(list)/bulk", ["operations": [["op": "delete", "id": id, "version": 1]]]),
            ("POST", "/v1/batch", ["operations": [["op": "delete", "type": type, "id": id, "if_match": 1]]]),
            ("POST", "/v1/batch", ["operations": [change]]),
        ]
        switch record.plural {
        case "contacts":
            ways.append(("GET", "\(path)/timeline", .null))
            ways.append(("GET", "\(path)?expand=organization", .null))
            ways.append(("GET", "/v1/tasks?filter%5Bcontact_id%5D=\(record.id)&expand=contact", .null))
            ways.append(("POST", "/v1/merges", ["survivor": mine, "merged": id]))
            ways.append(("POST", "/v1/merges?dry_run=true", ["survivor": id, "merged": mine]))
            ways.append(("POST", "/v1/tasks", ["subject": "Reach", "contact_id": id]))
        case "organizations":
            ways.append(("GET", "\(path)?expand=parent", .null))
            ways.append(("GET", "/v1/contacts?filter%5Borganization_id%5D=\(record.id)&expand=organization", .null))
            ways.append(("POST", "/v1/contacts?allow_duplicates=true", ["organization_id": id]))
        default: ways.append(("GET", "\(path)?expand=contact", .null))
        }
        var said: [String] = []
        for (method, path, body) in ways {
            let answer = try await send(method, path, body.object.map { JSONValue.object($0) })
            let members = (answer.json.object ?? [:]).filter { $0.key != "request_id" }
            said.append("\(method) \(path): \(answer.status) \(JSONValue.object(members).encoded)")
        }
        #expect(said[0].contains(": 404 "), "\(said[0])")
        return said.map { $0.replacing(record.id, with: "{id}") }
    }
}

extension JSONValue {
    /// Of a record, or of an operation's result.
    fileprivate var version: Int { self["version"]?.int ?? 0 }
}

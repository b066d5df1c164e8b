import Database
import Foundation

@testable import Jobs

/// What the job system keeps in PostgreSQL, in memory: rows appear when their transaction commits, a claim that is open
/// makes the next one wait, and a restart ends what is open.
struct FakePostgres {
    struct Row {
        let envelope: JobEnvelope
        let runAt: Date?
        let xid: Int
    }

    struct Group {
        var remaining: Int
        var failed = 0
        let completion: JobEnvelope
    }

    /// Jobs of one serial key: the first has its turn and is in the outbox, the others wait for theirs.
    struct Line {
        var turn: UUID
        var waiting: [(envelope: JobEnvelope, runAt: Date?)] = []
    }

    struct LineKey: Hashable {
        let tenant: TenantID
        let key: Int
    }

    /// A try that was put off.
    struct Retry {
        let envelope: JobEnvelope
        var due: Date
    }

    enum Write {
        case insert(JobEnvelope, runAt: Date?, line: LineKey?)
        case claim(UUID, JobContext.Settlement)
        case effect(UUID)
        case sent([UUID])
        case relayed(upto: Int)
        case backlog(TenantID, UUID?)
        case epoch(Int)
        case recovered(epoch: Int)
        case group(UUID, size: Int, completion: JobEnvelope)
        case endInGroup(UUID)
        case failInGroup(UUID)
        case endTurn(UUID, LineKey)
        case retry(JobEnvelope, due: Date)
        /// Redis has it, and it is forgotten here; or it is looked at again then.
        case retryEnds(UUID, lookAgain: Date?)
    }

    struct Transaction {
        let host: Int
        var writes: [Write] = []
        var lastUsed: Int
    }

    /// What only one transaction may have at a time.
    enum Lock: Hashable {
        case claim(UUID)
        case backlog(TenantID)
        case group(UUID)
        case line(LineKey)
        case retry(UUID)
        case epoch, recovery, relay
    }

    var isDown = false
    private(set) var outbox: [Row] = []
    private(set) var inbox: [UUID: JobContext.Settlement] = [:]
    private(set) var effects: [UUID: Int] = [:]
    private(set) var sent: Set<UUID> = []
    private(set) var relayPosition = 0
    var backlog: [TenantID: UUID] = [:]
    private(set) var epoch: Int?
    var isRecovered = false
    private(set) var groups: [UUID: Group] = [:]
    private(set) var lines: [LineKey: Line] = [:]
    /// The jobs of each key, in the order of their commits, and in the order of their ends.
    private(set) var lineOrder: [LineKey: [UUID]] = [:]
    private(set) var lineEnds: [LineKey: [UUID]] = [:]
    private(set) var retries: [UUID: Retry] = [:]
    var shares: [TenantID: RedisQueue.Share] = [:]
    var isPaused = false
    private(set) var open: [Int: Transaction] = [:]
    private var locks: [Lock: Int] = [:]
    private var nextXid = 1
    private let takesDuplicates: Bool
    private let keepsLines: Bool
    private let callsNext: Bool

    /// Ends a transaction that is idle for so long, in ms.
    static let idleLimit = 10_000

    init(_ mutation: Mutation?) {
        takesDuplicates = mutation?.change == .inboxTakesDuplicates
        keepsLines = mutation?.change != .linesAreIgnored
        callsNext = mutation?.change != .turnsEndForNobody
    }

    /// The oldest transaction that may still commit.
    var xmin: Int { open.keys.min() ?? nextXid }
    var next: Int { nextXid }

    func check() throws(DatabaseError) {
        if isDown { throw DatabaseError(code: .unavailable, message: "down") }
    }

    mutating func begin(host: Int, at now: Int) throws(DatabaseError) -> Int {
        try check()
        nextXid += 1
        open[nextXid - 1] = Transaction(host: host, lastUsed: now)
        return nextXid - 1
    }

    mutating func write(_ writes: [Write], in xid: Int, at now: Int) throws(DatabaseError) {
        guard open[xid] != nil else { throw DatabaseError(code: .connectionLost, message: "ended by the server") }
        open[xid]!.writes += writes
        open[xid]!.lastUsed = now
    }

    /// Takes a lock; false while another transaction has it.
    mutating func take(_ lock: Lock, in xid: Int, at now: Int) throws(DatabaseError) -> Bool {
        guard open[xid] != nil else { throw DatabaseError(code: .connectionLost, message: "ended by the server") }
        open[xid]!.lastUsed = now
        if isLocked(lock, at: now) && locks[lock] != xid { return false }
        locks[lock] = xid
        return true
    }

    mutating func isLocked(_ lock: Lock, at now: Int) -> Bool {
        guard let holder = locks[lock] else { return false }
        if let transaction = open[holder], now - transaction.lastUsed > Self.idleLimit { rollBack(holder) }
        return locks[lock] != nil
    }

    /// True where a job is settled already: its claim is refused.
    func refuses(_ id: UUID) -> Bool { inbox[id] != nil && !takesDuplicates }

    /// Gives the jobs that the commit brought into the outbox besides those that were inserted: whose turn it is now, and
    /// completions of groups.
    @discardableResult
    mutating func commit(_ xid: Int) throws(DatabaseError) -> [Row] {
        guard let transaction = open[xid] else {
            throw DatabaseError(code: .connectionLost, message: "ended by the server")
        }
        var brought: [Row] = []
        for write in transaction.writes {
            if let row = apply(write, xid) {
                outbox.append(row)
                if case .insert = write { continue }
                brought.append(row)
            }
        }
        rollBack(xid)
        return brought
    }

    mutating func rollBack(_ xid: Int) {
        open[xid] = nil
        locks = locks.filter { $0.value != xid }
    }

    /// Every open transaction of a process that died; of all where the server restarts.
    mutating func rollBackAll(of host: Int? = nil) {
        for (xid, transaction) in open where host == nil || transaction.host == host { rollBack(xid) }
    }

    mutating func ensureEpoch() -> Int {
        if epoch == nil { epoch = 1 }
        return epoch!
    }

    /// One statement: the earliest id wins.
    mutating func noteBacklog(_ tenant: TenantID, since: UUID) {
        if let known = backlog[tenant], known.isBefore(since) { return }
        backlog[tenant] = since
    }

    mutating func noteSent(_ ids: [UUID]) { sent.formUnion(ids) }

    /// Tries that are due before `horizon`, the first ones first.
    func dueRetries(before horizon: Date) -> [Retry] {
        retries.values.filter { $0.due < horizon }.sorted {
            $0.due == $1.due ? $0.envelope.id.isBefore($1.envelope.id) : $0.due < $1.due
        }
    }

    /// Committed jobs that no inbox row settles and of which no try was put off, in the order of their ids.
    func unfinished(after: UUID, before: UUID? = nil, of tenant: TenantID? = nil, limit: Int) -> [Row] {
        let rows = outbox.filter { row in
            after.isBefore(row.envelope.id) && (before.map { row.envelope.id.isBefore($0) } ?? true)
                && (tenant == nil || row.envelope.tenant == tenant) && inbox[row.envelope.id] == nil
                && retries[row.envelope.id] == nil
        }
        return Array(rows.sorted { $0.envelope.id.isBefore($1.envelope.id) }.prefix(limit))
    }

    /// Committed jobs of transactions in [after, upto) that were not noted as sent.
    func unsent(after: Int, upto: Int, limit: Int) -> [Row] {
        Array(
            outbox.filter { $0.xid >= after && $0.xid < upto && !sent.contains($0.envelope.id) }
                .sorted { ($0.xid, $0.envelope.id.words.0) < ($1.xid, $1.envelope.id.words.0) }.prefix(limit))
    }

    func isInOutbox(_ id: UUID) -> Bool { outbox.contains { $0.envelope.id == id } }

    /// Whether it is a job's turn.
    func hasTurn(_ id: UUID, _ line: LineKey) throws(DatabaseError) -> Bool {
        try check()
        return lines[line]?.turn == id || !keepsLines
    }

    /// Gives what comes into the outbox by it.
    private mutating func apply(_ write: Write, _ xid: Int) -> Row? {
        switch write {
        case .insert(let envelope, let runAt, let line):
            if let line {
                lineOrder[line, default: []].append(envelope.id)
                if keepsLines && lines[line] != nil {
                    lines[line]!.waiting.append((envelope, runAt))
                    return nil
                }
                lines[line] = Line(turn: envelope.id)
            }
            return Row(envelope: envelope, runAt: runAt, xid: xid)
        case .endTurn(let id, let line):
            if inbox[id] != .cancelled { lineEnds[line, default: []].append(id) }
            guard lines[line]?.turn == id else {
                lines[line]?.waiting.removeAll { $0.envelope.id == id }
                return nil
            }
            guard let next = lines[line]!.waiting.first, callsNext else {
                lines[line] = nil
                return nil
            }
            lines[line]!.waiting.removeFirst()
            lines[line]!.turn = next.envelope.id
            return Row(envelope: next.envelope, runAt: next.runAt, xid: xid)
        case .retry(let envelope, let due): retries[envelope.id] = Retry(envelope: envelope, due: due)
        case .retryEnds(let id, nil): retries[id] = nil
        case .retryEnds(let id, let lookAgain?): retries[id]?.due = lookAgain
        case .claim(let id, let settlement): inbox[id] = settlement
        case .effect(let id): effects[id, default: 0] += 1
        case .sent(let ids): sent.formUnion(ids)
        case .relayed(let upto): relayPosition = max(relayPosition, upto)
        case .backlog(let tenant, nil): backlog[tenant] = nil
        case .backlog(let tenant, let reached?):
            if let since = backlog[tenant], since.isBefore(reached) { backlog[tenant] = reached }
        case .epoch(let value):
            epoch = value
            isRecovered = false
        case .recovered(let value): if epoch == value { isRecovered = true }
        case .group(let id, let size, let completion):
            groups[id] = Group(remaining: size, completion: completion)
        case .failInGroup(let id): groups[id]?.failed += 1
        case .endInGroup(let id):
            groups[id]?.remaining -= 1
            if let group = groups[id], group.remaining <= 0 {
                groups[id] = nil
                return Row(envelope: group.completion, runAt: nil, xid: xid)
            }
        }
        return nil
    }
}

extension UUID {
    /// Its two halves, which sort as PostgreSQL sorts it.
    var words: (UInt64, UInt64) {
        withUnsafeBytes(of: uuid) { bytes in
            (
                UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
                UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            )
        }
    }

    func isBefore(_ other: UUID) -> Bool { words < other.words }
}

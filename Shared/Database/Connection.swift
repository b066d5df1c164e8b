import CLibPQ
import Logging
import ThreadExecutor

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// One libpq connection in pipeline mode. Not `Sendable`: it belongs to the thread that made it.
///
/// Each request it sends ends in its own Sync, so that one request is one implicit transaction: its statements commit
/// together or not at all, and a failing request leaves its neighbours in the same pipeline alone.
final class Connection {
    private let settings: ConnectionSettings
    private let canceller: Canceller
    private var raw: OpaquePointer?
    private var prepared: [String: String] = [:]
    private var preparedCount = 0
    private static let mostPrepared = 400

    init(settings: ConnectionSettings, canceller: Canceller) {
        self.settings = settings
        self.canceller = canceller
    }

    var isConnected: Bool { raw != nil && PQstatus(raw) == CONNECTION_OK }

    /// Opens the connection unless it is open. A failed attempt costs the caller an error, never a hang: libpq's
    /// `connect_timeout` is set.
    func connect() throws(DatabaseError) {
        if isConnected && !hasHungUp { return }
        close()
        let connection = PQconnectdb(settings.conninfo)
        guard let connection, PQstatus(connection) == CONNECTION_OK else {
            let message = connection.map { String(cString: PQerrorMessage($0)) } ?? "out of memory"
            PQfinish(connection)
            throw DatabaseError(code: .unavailable, message: message.trimmed)
        }
        raw = connection
        // Notices would go to standard error: they are of no use to anybody there.
        _ = PQsetNoticeProcessor(connection, { _, _ in }, nil)
        guard PQenterPipelineMode(connection) == 1 else { throw lost() }
        canceller.arm(connection)
    }

    /// True when the server ended an idle connection, seen before anything is sent on it: reopening then is free of
    /// the question whether a commit took place.
    private var hasHungUp: Bool {
        var descriptor = pollfd(fd: PQsocket(raw), events: Int16(POLLIN), revents: 0)
        guard poll(&descriptor, 1, 0) > 0 else { return false }
        return PQconsumeInput(raw) == 0 || PQstatus(raw) != CONNECTION_OK
    }

    /// Closes the connection; the next `connect()` opens a new one.
    func close() {
        canceller.disarm()
        if let raw { PQfinish(raw) }
        raw = nil
        prepared.removeAll()
    }

    /// Sends all requests in one go and gives each one's rows or error, in order.
    ///
    /// With `continuing` the requests belong to a transaction that is open: a connection that broke meanwhile is an
    /// error, never silently another one, on which the rest would run and commit alone.
    func run(_ requests: [[Statement]], continuing: Bool = false) -> [Result<[Rows], DatabaseError>] {
        if continuing {
            guard isConnected, !hasHungUp else {
                let error = lost()
                return requests.map { _ in .failure(error) }
            }
        } else {
            // Filters come in as many shapes as callers think of; each would stay prepared for ever.
            if prepared.count > Self.mostPrepared { close() }
            do { try connect() } catch { return requests.map { _ in .failure(error) } }
        }
        var plans: [[Sent]] = []
        for statements in requests {
            guard let plan = send(statements) else {
                let error = lost()
                return requests.map { _ in .failure(error) }
            }
            plans.append(plan)
        }
        return plans.map(receive)
    }

    /// Runs statements as they stand, in one request.
    func run(_ statements: [Statement]) throws(DatabaseError) -> [Rows] {
        try run([statements])[0].get()
    }

    // MARK: Sending

    private enum Sent {
        case prepare(sql: String, name: String)
        case execute
    }

    /// Nil when the connection broke while sending.
    private func send(_ statements: [Statement]) -> [Sent]? {
        var plan: [Sent] = []
        var preparing: [String: String] = [:]
        for statement in statements {
            let name: String
            if let known = prepared[statement.sql] ?? preparing[statement.sql] {
                name = known
            } else {
                preparedCount += 1
                name = "s\(preparedCount)"
                guard PQsendPrepare(raw, name, statement.sql, 0, nil) == 1 else { return nil }
                plan.append(.prepare(sql: statement.sql, name: name))
                preparing[statement.sql] = name
            }
            guard sendExecute(name, statement.parameters) else { return nil }
            plan.append(.execute)
        }
        guard PQpipelineSync(raw) == 1 else { return nil }
        return plan
    }

    private func sendExecute(_ name: String, _ parameters: [Parameter]) -> Bool {
        // All texts go into one buffer, each ended by a NUL; the pointers are taken once it no longer moves.
        var buffer: [UInt8] = []
        var offsets: [Int] = []
        var lengths: [Int32] = []
        var formats: [Int32] = []
        for parameter in parameters {
            switch parameter {
            case .null:
                offsets.append(-1)
                lengths.append(0)
                formats.append(0)
            case .text(let text):
                offsets.append(buffer.count)
                lengths.append(Int32(text.utf8.count))
                formats.append(0)
                buffer.append(contentsOf: text.utf8)
                buffer.append(0)
            case .bytes(let bytes):
                offsets.append(buffer.count)
                lengths.append(Int32(bytes.count))
                formats.append(1)
                buffer.append(contentsOf: bytes)
                buffer.append(0)
            }
        }
        return buffer.withUnsafeBytes { bytes in
            let base = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
            let pointers: [UnsafePointer<CChar>?] = offsets.map { $0 < 0 ? nil : base! + $0 }
            return PQsendQueryPrepared(raw, name, Int32(parameters.count), pointers, lengths, formats, 0) == 1
        }
    }

    // MARK: Receiving

    private func receive(_ plan: [Sent]) -> Result<[Rows], DatabaseError> {
        guard raw != nil else { return .failure(lost()) }
        var rows: [Rows] = []
        var failure: DatabaseError?
        for sent in plan {
            guard let result = PQgetResult(raw) else { return .failure(lost()) }
            switch PQresultStatus(result) {
            case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
                if case .prepare(let sql, let name) = sent {
                    prepared[sql] = name
                    PQclear(result)
                } else {
                    rows.append(Rows(taking: result))
                }
            case PGRES_PIPELINE_ABORTED:
                PQclear(result)
            default:
                if failure == nil { failure = Self.error(from: result) }
                PQclear(result)
                if PQstatus(raw) != CONNECTION_OK { return .failure(lost(failure)) }
                // The plan may have gone stale with the schema (0A000): prepare anew next time.
                if failure?.sqlState == "0A000" || failure?.sqlState == "26000" { prepared.removeAll() }
            }
            // Each statement's results end with a null.
            while let extra = PQgetResult(raw) { PQclear(extra) }
        }
        guard let sync = PQgetResult(raw) else { return .failure(lost(failure)) }
        let synced = PQresultStatus(sync) == PGRES_PIPELINE_SYNC
        // An error at commit (a deferred constraint, say) comes in place of the Sync, which then follows.
        if !synced { failure = failure ?? Self.error(from: sync) }
        PQclear(sync)
        if !synced {
            var settled = false
            while !settled {
                guard let next = PQgetResult(raw) else {
                    if PQstatus(raw) != CONNECTION_OK { return .failure(lost(failure)) }
                    continue
                }
                settled = PQresultStatus(next) == PGRES_PIPELINE_SYNC
                PQclear(next)
            }
        }
        if let failure { return .failure(failure) }
        return .success(rows)
    }

    /// Drops the broken connection and says so.
    private func lost(_ cause: DatabaseError? = nil) -> DatabaseError {
        let message = cause?.message ?? raw.map { String(cString: PQerrorMessage($0)).trimmed } ?? "connection lost"
        close()
        return DatabaseError(
            code: .connectionLost, sqlState: cause?.sqlState ?? "",
            message: message.isEmpty ? "connection lost" : message)
    }

    private static func error(from result: OpaquePointer) -> DatabaseError {
        func field(_ code: Character) -> String? {
            PQresultErrorField(result, Int32(code.asciiValue!)).map { String(cString: $0) }
        }
        let state = field("C") ?? ""
        return DatabaseError(
            code: DatabaseError.code(sqlState: state), sqlState: state,
            message: field("M") ?? String(cString: PQresultErrorMessage(result)).trimmed,
            constraint: field("n"), column: field("c"), detail: field("D"))
    }

    // MARK: COPY

    /// Sends `chunks` of COPY text as `next` gives them, until it gives nil. Returns how many rows went in.
    func copyIn(_ sql: String, next: () -> [UInt8]?) throws(DatabaseError) -> Int {
        try plainQuery(sql, expecting: PGRES_COPY_IN)
        while let chunk = next() {
            let sent = chunk.withUnsafeBytes { bytes in
                PQputCopyData(raw, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
            }
            guard sent == 1 else { throw lost() }
        }
        guard PQputCopyEnd(raw, nil) == 1 else { throw lost() }
        return try finishPlainQuery()
    }

    /// Gives COPY text to `receive` in chunks of whole rows; when that returns false, the rest is cancelled and dropped.
    func copyOut(_ sql: String, receive: ([UInt8]) -> Bool) throws(DatabaseError) {
        try plainQuery(sql, expecting: PGRES_COPY_OUT)
        var wanted = true
        // A row alone is small, and to hand it over to another thread costs more than to read it.
        var rows: [UInt8] = []
        func hand() {
            guard wanted, !rows.isEmpty else { return }
            wanted = receive(rows)
            rows.removeAll(keepingCapacity: true)
            if !wanted { canceller.cancel() }
        }
        while true {
            var chunk: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(raw, &chunk, 0)
            if length < 0 { break }
            if wanted, let chunk {
                rows.append(contentsOf: UnsafeRawBufferPointer(start: chunk, count: Int(length)))
                if rows.count >= 65_536 { hand() }
            }
            PQfreemem(chunk)
        }
        hand()
        do { _ = try finishPlainQuery() } catch { if wanted || error.code != .cancelled { throw error } }
    }

    /// COPY is not allowed in pipeline mode: leave it for one statement.
    private func plainQuery(_ sql: String, expecting status: ExecStatusType) throws(DatabaseError) {
        guard isConnected, PQexitPipelineMode(raw) == 1, PQsendQuery(raw, sql) == 1, let result = PQgetResult(raw)
        else { throw lost() }
        let got = PQresultStatus(result)
        guard got == status else {
            let error = Self.error(from: result)
            PQclear(result)
            _ = try finishPlainQuery()
            throw error
        }
        PQclear(result)
    }

    private func finishPlainQuery() throws(DatabaseError) -> Int {
        var failure: DatabaseError?
        var affected = 0
        while let result = PQgetResult(raw) {
            let status = PQresultStatus(result)
            if status == PGRES_FATAL_ERROR { failure = Self.error(from: result) }
            affected = Int(String(cString: PQcmdTuples(result))) ?? affected
            PQclear(result)
        }
        guard PQstatus(raw) == CONNECTION_OK, PQenterPipelineMode(raw) == 1 else { throw lost(failure) }
        if let failure { throw failure }
        return affected
    }

    /// Runs a script of several statements without parameters: migrations only.
    func script(_ sql: String) throws(DatabaseError) {
        try connect()
        guard PQexitPipelineMode(raw) == 1, PQsendQuery(raw, sql) == 1 else { throw lost() }
        _ = try finishPlainQuery()
    }

    // MARK: LISTEN

    /// Waits up to `milliseconds` for notifications and gives them as (channel, payload).
    func notifications(within milliseconds: Int32) throws(DatabaseError) -> [(String, String)] {
        var descriptor = pollfd(fd: PQsocket(raw), events: Int16(POLLIN), revents: 0)
        _ = poll(&descriptor, 1, milliseconds)
        guard PQconsumeInput(raw) == 1 else { throw lost() }
        var received: [(String, String)] = []
        while let notification = PQnotifies(raw) {
            received.append(
                (String(cString: notification.pointee.relname), String(cString: notification.pointee.extra)))
            PQfreemem(notification)
        }
        return received
    }
}

/// Lets another thread cancel what a connection is running.
///
/// `@unchecked Sendable`: the one pointer is read and written with the lock held, and `PQcancel` is documented as safe
/// from any thread; it runs under the same lock so that the handle can't be freed beneath it.
final class Canceller: @unchecked Sendable {
    private let lock = Lock()
    private var handle: OpaquePointer?

    deinit { PQfreeCancel(handle) }

    func arm(_ connection: OpaquePointer) {
        lock.withLock {
            PQfreeCancel(handle)
            handle = PQgetCancel(connection)
        }
    }

    func disarm() {
        lock.withLock {
            PQfreeCancel(handle)
            handle = nil
        }
    }

    func cancel() {
        lock.withLock {
            guard let handle else { return }
            var message = [CChar](repeating: 0, count: 256)
            _ = PQcancel(handle, &message, Int32(message.count))
        }
    }
}

extension String {
    var trimmed: String {
        var text = Substring(self)
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }
}

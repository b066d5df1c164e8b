import Synchronization

/// An open transaction on a leased connection. Use it from one task at a time, and not after its closure returned.
package final class Transaction: Sendable {
    private struct State {
        var opening: [Statement]
        var deferred: [Statement] = []
        var commitWasSent = false
        var hooks: [@Sendable () async -> Void] = []
        var notes: [any Sendable] = []
    }

    private let lease: LeasedConnection
    private let state: Mutex<State>

    init(lease: LeasedConnection, opening: [Statement]) {
        self.lease = lease
        state = Mutex(State(opening: opening))
    }

    /// Runs one statement and gives its rows.
    package func query(_ statement: Statement) async throws(DatabaseError) -> Rows {
        try await batch([statement])[0]
    }

    /// Runs statements in one round trip, in order, and gives each one's rows. The first error ends the transaction.
    package func batch(_ statements: [Statement]) async throws(DatabaseError) -> [Rows] {
        let (before, isOpen) = takeUnsent()
        let rows = try await lease.run(before + statements, continuing: isOpen)
        return Array(rows.dropFirst(before.count))
    }

    /// Notes a statement to be sent with the next one, or with the commit: it costs no round trip of its own. Its error
    /// is thrown from there.
    package func later(_ statement: Statement) {
        state.withLock { $0.deferred.append(statement) }
    }

    /// Runs `hook` once the commit is acknowledged, and never otherwise.
    package func afterCommit(_ hook: @escaping @Sendable () async -> Void) {
        state.withLock { $0.hooks.append(hook) }
    }

    /// Remembers what was done in the transaction, for `notes`: an undone savepoint forgets its own.
    package func note(_ value: some Sendable) {
        state.withLock { $0.notes.append(value) }
    }

    /// What was noted so far, in order: what a dry run predicts is read from here.
    package var notes: [any Sendable] { state.withLock { $0.notes } }

    /// Runs `body` within a savepoint. When it throws, what it did and noted since is undone, hooks included, the
    /// transaction goes on, and the error is thrown on. With `undoing` it is undone even when it succeeds.
    package func savepoint<Result: Sendable>(
        undoing: Bool = false, _ body: @Sendable () async throws -> Result
    ) async throws -> Result {
        _ = try await batch([Statement("savepoint inner_work")])
        let counts = state.withLock { ($0.hooks.count, $0.notes.count) }
        do {
            let result = try await body()
            _ = try await batch([])
            if undoing {
                try await undoSavepoint(counts)
            } else {
                _ = try await query(Statement("release savepoint inner_work"))
            }
            return result
        } catch {
            try await undoSavepoint(counts)
            throw error
        }
    }

    private func undoSavepoint(_ counts: (hooks: Int, notes: Int)) async throws(DatabaseError) {
        state.withLock { state in
            state.deferred = []
            state.hooks.removeLast(state.hooks.count - counts.hooks)
            state.notes.removeLast(state.notes.count - counts.notes)
        }
        // Released as well: an outer savepoint has the same name, and is the one that counts from here on.
        _ = try await batch([Statement("rollback to savepoint inner_work"), Statement("release savepoint inner_work")])
    }

    /// Streams `chunks` of COPY text in; `sql` is a `COPY … FROM STDIN`. Returns the number of rows.
    package func copyIn<Chunks: AsyncSequence & Sendable>(
        _ sql: String, chunks: Chunks
    ) async throws -> Int where Chunks.Element == [UInt8] {
        _ = try await batch([])
        let pipe = CopyPipe()
        return try await withThrowingTaskGroup(of: Int?.self) { group in
            group.addTask {
                do {
                    for try await chunk in chunks where await pipe.push(chunk) == false { break }
                } catch {
                    pipe.fail()
                    throw error
                }
                pipe.finish()
                return nil
            }
            group.addTask { [lease] in
                try await lease.perform { connection in
                    Result { () throws(DatabaseError) in try connection.copyIn(sql) { pipe.takeBlocking() } }
                }
            }
            var count = 0
            do {
                for try await result in group { count = result ?? count }
            } catch {
                pipe.fail()
                throw error
            }
            return count
        }
    }

    /// Gives a `COPY … TO STDOUT` to `receive` in chunks of whole rows, one at a time. When `receive` throws, the rest is
    /// cancelled.
    package func copyOut(_ sql: String, receive: @Sendable ([UInt8]) async throws -> Void) async throws {
        _ = try await batch([])
        let pipe = CopyPipe()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [lease] in
                defer { pipe.finish() }
                try await lease.perform { connection in
                    Result { () throws(DatabaseError) in
                        try connection.copyOut(sql) { pipe.pushBlocking($0) }
                    }
                }
            }
            do {
                while let chunk = await pipe.take() { try await receive(chunk) }
            } catch {
                pipe.fail()
                throw error
            }
            try await group.waitForAll()
        }
    }

    /// Runs a script of several statements without parameters. For migrations.
    package func script(_ sql: String) async throws(DatabaseError) {
        _ = try await batch([])
        try await lease.perform { connection in
            Result { () throws(DatabaseError) in try connection.script(sql) }
        }
    }

    var commitWasSent: Bool { state.withLock { $0.commitWasSent } }
    var hooks: [@Sendable () async -> Void] { state.withLock { $0.hooks } }

    func commit() async throws(DatabaseError) {
        let (before, isOpen) = takeUnsent()
        state.withLock { $0.commitWasSent = true }
        let rows = try await lease.run(before + [Statement("commit")], continuing: isOpen)
        // After an error that the caller swallowed, PostgreSQL answers COMMIT with a rollback: that is no success.
        guard rows.last?.commandTag == "COMMIT" else {
            throw DatabaseError(code: .other, message: "the transaction had failed and was rolled back")
        }
    }

    func rollback() async {
        let nothingWasSent = state.withLock { !$0.opening.isEmpty }
        if nothingWasSent { return }
        _ = try? await lease.run([Statement("rollback")], continuing: true)
    }

    /// What is to go before the next statement, and whether the transaction was opened already.
    private func takeUnsent() -> ([Statement], isOpen: Bool) {
        state.withLock { state in
            defer {
                state.opening = []
                state.deferred = []
            }
            return (state.opening + state.deferred, state.opening.isEmpty)
        }
    }
}

/// A transaction in which row security shows one tenant's rows and no others. Stores take this and nothing else.
///
/// Only `Database.withTenant` makes one.
package struct TenantTransaction: Sendable {
    /// Whose rows these are; bind it wherever a statement says `tenant_id = $n`.
    package let tenant: TenantID
    private let transaction: Transaction

    init(tenant: TenantID, transaction: Transaction) {
        self.tenant = tenant
        self.transaction = transaction
    }

    /// See `Transaction.query`.
    @discardableResult
    package func query(_ sql: String, _ parameters: [Parameter] = []) async throws(DatabaseError) -> Rows {
        try await transaction.query(Statement(sql, parameters))
    }

    /// See `Transaction.query`.
    @discardableResult
    package func query(_ statement: Statement) async throws(DatabaseError) -> Rows {
        try await transaction.query(statement)
    }

    /// See `Transaction.batch`.
    @discardableResult
    package func batch(_ statements: [Statement]) async throws(DatabaseError) -> [Rows] {
        try await transaction.batch(statements)
    }

    /// See `Transaction.later`.
    package func later(_ statement: Statement) { transaction.later(statement) }

    /// See `Transaction.afterCommit`.
    package func afterCommit(_ hook: @escaping @Sendable () async -> Void) { transaction.afterCommit(hook) }

    /// See `Transaction.note`.
    package func note(_ value: some Sendable) { transaction.note(value) }

    /// See `Transaction.notes`.
    package var notes: [any Sendable] { transaction.notes }

    /// See `Transaction.savepoint`.
    package func savepoint<Result: Sendable>(
        undoing: Bool = false, _ body: @Sendable () async throws -> Result
    ) async throws -> Result {
        try await transaction.savepoint(undoing: undoing, body)
    }

    /// See `Transaction.copyIn`.
    package func copyIn<Chunks: AsyncSequence & Sendable>(
        _ sql: String, chunks: Chunks
    ) async throws -> Int where Chunks.Element == [UInt8] {
        try await transaction.copyIn(sql, chunks: chunks)
    }

    /// See `Transaction.copyOut`.
    package func copyOut(_ sql: String, receive: @Sendable ([UInt8]) async throws -> Void) async throws {
        try await transaction.copyOut(sql, receive: receive)
    }
}

import Database
import Foundation
import Synchronization
import TestSupport
import Testing

@Suite("The database")
struct DatabaseTests {
    @Test("a batch commits whole or not at all, and a failing one leaves its neighbours alone")
    func atomicity() async throws {
        let database = try await TestDatabase().pool(role: "postgres")
        defer { database.close() }
        _ = try await database.query(tenant: nil, Statement("create table public.t (n int primary key)"))
        let outcomes = await withTaskGroup(of: Bool.self) { group in
            for n in 0..<200 {
                group.addTask {
                    let second = n % 2 == 0 ? n : 0
                    return
                        (try? await database.batch(
                            tenant: nil,
                            [
                                Statement("insert into public.t values ($1)", [.int(1000 + n)]),
                                Statement("select 1 / $1::int", [.int(n % 2 == 0 ? 1 : second)]),
                            ])) != nil
                }
            }
            return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(outcomes == 100)
        let count = try await database.query(
            tenant: nil, Statement("select count(*), bool_and(n % 2 = 0) from public.t"))
        #expect(count.int(0, 0) == 100)
        #expect(count.bool(0, 1) == true)
    }

    @Test("reads, and writes that come later, go past writes that wait for a lock")
    func pastALock() async throws {
        let test = try await TestDatabase()
        let database = test.pool(role: "postgres")
        let owner = test.pool(role: "postgres")
        defer {
            database.close()
            owner.close()
        }
        for table in ["held", "free"] {
            _ = try await owner.query(tenant: nil, Statement("create table public.\(table) (n int)"))
        }
        let blocked = try await owner.withoutTenant { transaction in
            _ = try await transaction.query(Statement("lock table public.held"))
            let waiting = Statement(
                "select count(*) from pg_locks where not granted and relation = 'public.held'::regclass")
            var blocked: [Task<Int, any Error>] = []
            // One for each of its connections.
            for number in 1...2 {
                blocked.append(
                    Task {
                        try await database.query(tenant: nil, Statement("insert into public.held values (1)")).affected
                    })
                try await eventually("it waits for the lock") {
                    try await owner.query(tenant: nil, waiting).int(0, 0) == number
                }
            }
            let read = try await database.query(tenant: nil, Statement("select 1"), readOnly: true)
            #expect(read.count == 1)
            _ = try await database.query(tenant: nil, Statement("insert into public.free values (1)"))
            #expect(try await owner.query(tenant: nil, waiting).int(0, 0) == 2, "they wait still")
            #expect(database.pools[0].connections == 2 && (3...6).contains(database.pools[1].connections))
            return blocked
        }
        for task in blocked { #expect(try await task.value == 1) }
        try await eventually("the further connection is closed, though requests come") {
            _ = try await database.query(tenant: nil, Statement("insert into public.free values (1)"))
            return database.pools[1].connections == 2
        }
    }

    @Test("values of every kind come back as they went in")
    func values() async throws {
        let database = try await TestDatabase().pool(role: "postgres")
        defer { database.close() }
        let text = "关系 🤝 \"q\" \\ {a,b} NULL"
        let rows = try await database.query(
            tenant: nil,
            Statement(
                "select $1::text, $2::bytea, $3::text[], $4::timestamptz, $5::uuid, $6::bigint, $7::text, ($3::text[])[2]",
                [
                    .text(text), .bytes([0, 1, 255]), .array([text, nil, ""]), .time(Date(timeIntervalSince1970: 0.5)),
                    .uuid(UUID(uuidString: "01a2020b-f649-73f6-bfbd-0f8bc144b072")!), .int(Int.min), .null,
                ]))
        #expect(rows.text(0, 0) == text)
        #expect(rows.bytes(0, 1) == [0, 1, 255])
        #expect(rows.time(0, 3) == Date(timeIntervalSince1970: 0.5))
        #expect(rows.uuid(0, 4)?.lowercased == "01a2020b-f649-73f6-bfbd-0f8bc144b072")
        #expect(rows.isNull(0, 6) && rows.isNull(0, 7))
    }

    @Test("a number too large for an Int is the nearest there is, and the least is itself")
    func largeNumbers() async throws {
        let database = try await TestDatabase().pool(role: "postgres")
        defer { database.close() }
        let rows = try await database.query(
            tenant: nil,
            Statement(
                """
                select (-2::numeric ^ 63)::numeric(30), (2::numeric ^ 63)::numeric(30), (2::numeric ^ 63 - 1)::numeric(30),
                    (-2::numeric ^ 63 - 1)::numeric(30), 1e29::numeric(30), '-', '', '1.5', '-7'
                """))
        #expect((0..<5).map { rows.int(0, $0) } == [.min, .max, .max, .min, .max])
        #expect(rows.int(0, 7) == nil && rows.int(0, 8) == -7)
    }

    @Test("a transaction that conflicts runs again and both end")
    func conflicts() async throws {
        let database = try await TestDatabase().pool(role: "postgres", interactive: 8)
        defer { database.close() }
        _ = try await database.batch(
            tenant: nil,
            [
                Statement("create table public.c (id int, n int)"),
                Statement("insert into public.c values (1, 0), (2, 0)"),
            ])
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for _ in 0..<5 {
                        try await database.withoutTenant { transaction in
                            _ = try await transaction.query(Statement("set transaction isolation level serializable"))
                            let first = task % 2 + 1
                            let rows = try await transaction.query(
                                Statement("select sum(n) from public.c where id = $1", [.int(first)]))
                            _ = try await transaction.query(
                                Statement("update public.c set n = n + 1 where id = $1", [.int(3 - first)]))
                            _ = rows
                        }
                    }
                }
            }
            // A conflict may outlive its three repetitions: that is an error to the caller, not a half-done change.
            while true {
                do { if try await group.next() == nil { break } } catch let error as DatabaseError {
                    #expect(error.code == .conflict)
                }
            }
        }
        let sum = try await database.query(tenant: nil, Statement("select sum(n) from public.c"))
        #expect((1...40).contains(sum.int(0, 0)!))
    }

    @Test("a savepoint undoes what was written and noted since, hooks included")
    func savepoints() async throws {
        struct Stop: Error {}
        let database = try await TestDatabase().pool(role: "postgres")
        defer { database.close() }
        _ = try await database.query(tenant: nil, Statement("create table public.s (n int)"))
        let heard = Mutex<[Int]>([])
        try await database.withTenant(TenantID(1)) { transaction in
            transaction.later(Statement("insert into public.s values (1)"))
            transaction.afterCommit { heard.withLock { $0.append(1) } }
            await #expect(throws: Stop.self) {
                try await transaction.savepoint {
                    transaction.later(Statement("insert into public.s values (2)"))
                    transaction.afterCommit { heard.withLock { $0.append(2) } }
                    throw Stop()
                }
            }
            await #expect(throws: DatabaseError.self) {
                try await transaction.savepoint { try await transaction.query("select 1 / 0") }
            }
            transaction.later(Statement("insert into public.s values (3)"))
        }
        let rows = try await database.query(
            tenant: nil, Statement("select array_agg(n order by n)::text from public.s"))
        #expect(rows.text(0, 0) == "{1,3}")
        #expect(heard.withLock { $0 } == [1])
    }

    @Test("COPY streams in and out")
    func copy() async throws {
        let database = try await TestDatabase().pool(role: "postgres")
        defer { database.close() }
        _ = try await database.query(tenant: nil, Statement("create table public.copied (n int, t text)"))
        let chunks = AsyncStream<[UInt8]> { continuation in
            for n in 0..<5000 { continuation.yield(Array("\(n)\t关系 \(n)\n".utf8)) }
            continuation.finish()
        }
        let total = Mutex(0)
        try await database.withTenant(TenantID(1)) { transaction in
            let count = try await transaction.copyIn("copy public.copied from stdin", chunks: chunks)
            #expect(count == 5000)
            try await transaction.copyOut("copy public.copied to stdout") { chunk in
                total.withLock { $0 += chunk.filter { $0 == 10 }.count }
            }
        }
        #expect(total.withLock { $0 } == 5000)
    }

    @Test("cancelling a task cancels its statement, and the connection goes on")
    func cancellation() async throws {
        let database = try await TestDatabase().pool(role: "postgres", interactive: 1)
        defer { database.close() }
        let task = Task {
            try await database.withoutTenant { transaction in
                _ = try await transaction.query(Statement("select pg_sleep(30)"))
            }
        }
        try await Task.sleep(for: .milliseconds(300))
        let started = ContinuousClock.now
        task.cancel()
        await #expect(throws: DatabaseError.self) { try await task.value }
        #expect(ContinuousClock.now - started < .seconds(20))
        let rows = try await database.withoutTenant { try await $0.query(Statement("select 7")) }
        #expect(rows.int(0, 0) == 7)
    }

    @Test("a backend that is terminated costs one error at most, and the pool reconnects")
    func lostConnection() async throws {
        let test = try await TestDatabase()
        let database = test.pool(role: "postgres")
        let killer = test.pool(role: "postgres")
        defer {
            database.close()
            killer.close()
        }
        _ = try await database.query(tenant: nil, Statement("select 1"))
        _ = try await killer.query(
            tenant: nil,
            Statement(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            ))
        try await eventually("the pool answers again") {
            (try? await database.query(tenant: nil, Statement("select 1"), readOnly: true)) != nil
        }
    }

    @Test("a server without room on its disk or for connections is away for a while, and its caller not to blame")
    func noRoom() async throws {
        let test = try await TestDatabase()
        let database = test.pool(role: "postgres")
        defer { database.close() }
        for state in ["53100", "53300"] {
            do {
                _ = try await database.query(
                    tenant: nil, Statement("do $$ begin raise exception 'full' using errcode = '\(state)'; end $$"))
                Issue.record("\(state) passed")
            } catch { #expect(error.code == .unavailable && error.sqlState == state) }
        }
    }

    @Test("no connection in time is told as such")
    func leaseTimeout() async throws {
        let test = try await TestDatabase()
        let database = Database(
            settings: ConnectionSettings(connection: test.connection(role: "guanxi_owner")), pipelined: 1,
            interactive: 1,
            leaseTimeout: .milliseconds(200), logger: TestServers.logger)
        defer { database.close() }
        try await database.withoutTenant { _ in
            await #expect(throws: DatabaseError.self) { _ = try await database.withoutTenant { _ in 1 } }
        }
        _ = try await database.withoutTenant { _ in 1 }
    }

    @Test("a notification reaches its listener")
    func listen() async throws {
        let database = try await TestDatabase().pool(role: "postgres")
        let heard = Mutex<[Listener.Event]>([])
        let listener = database.listen(channels: ["greeting"]) { event in heard.withLock { $0.append(event) } }
        defer {
            listener.close()
            database.close()
        }
        try await eventually("the listener is connected") { heard.withLock { $0.contains(.reconnected) } }
        _ = try await database.query(tenant: nil, Statement("select pg_notify('greeting', '你好')"))
        try await eventually("the notification came") {
            heard.withLock { $0.contains(.notification(channel: "greeting", payload: "你好")) }
        }
    }

    @Test("migrations run once, whoever starts at the same time, and an edited one is refused")
    func migrator() async throws {
        let database = try await TestDatabase().pool(role: "postgres", interactive: 8)
        defer { database.close() }
        let migrations = [
            Migration("M1", "create table public.m (n int)"), Migration("M2", "insert into public.m values (1)"),
        ]
        let applied = try await withThrowingTaskGroup(of: [String].self) { group in
            for _ in 0..<6 { group.addTask { try await Migrator(database: database).migrate(schema: "x", migrations) } }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(applied.sorted() == ["M1", "M2"])
        let edited = [Migration("M1", "create table public.other (n int)")]
        #expect(try await Migrator(database: database).status(schema: "x", edited).map(\.state) == [.edited])
        await #expect(throws: Migrator.EditedMigration.self) {
            _ = try await Migrator(database: database).migrate(schema: "x", edited)
        }
    }
}

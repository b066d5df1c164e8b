import Database
import Foundation
import Records
import Redis
import Synchronization
import Tenancy

/// All of Guanxi as processes of a test's own: a database, a Redis, services and workers.
package final class TestPlatform: Sendable {
    package let database: TestDatabase
    package let redis: TestRedis
    package let owner: Database
    private let processes = Mutex<[String: TestProcess]>([:])
    private let ports = Mutex<[String: Int]>([:])
    private let folder: URL
    private let pass: Turnstile.Pass
    private static let turnstile = Turnstile(width: 4)

    /// Starts `roles`, such as `contacts serve`.
    package init(_ roles: [String], redis arguments: [String] = []) async throws {
        pass = await Self.turnstile.enter()
        database = try await TestDatabase()
        redis = try await TestRedis(arguments)
        owner = database.pool(role: "guanxi_owner")
        folder = FileManager.default.temporaryDirectory.appending(path: "guanxi-platform-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        for role in roles { try await start(role) }
    }

    deinit {
        owner.close()
        // All at once, before each waits for its own end.
        for process in processes.withLock({ $0.values.map { $0 } }) { process.signal(SIGKILL) }
        try? FileManager.default.removeItem(at: folder)
    }

    /// Starts a process under `name` (its role, unless there are several of one), on the port it had before.
    package func start(_ role: String, as name: String? = nil, environment: [String: String] = [:]) async throws {
        let name = name ?? role
        let words = role.split(separator: " ").map(String.init)
        let port = try ports.withLock { ports in
            if let known = ports[name] { return known }
            let port = try freePort()
            ports[name] = port
            return port
        }
        let process = try TestProcess(
            TestServers.binaries.appending(path: words[0]), Array(words.dropFirst()),
            environment: [
                "GUANXI_DATABASE_URL": database.connection(role: "guanxi_\(words[0])"), "GUANXI_REDIS_URL": redis.url,
                "GUANXI_HTTP_PORT": "\(port)", "GUANXI_SECRET": "0123456789abcdef0123456789abcdef",
                "GUANXI_WORKER_GRACE": "5",
            ].merging(environment) { $1 }, log: folder.appending(path: "\(name).log"))
        _ = try await process.line(beginning: "ready")
        processes.withLock { $0[name] = process }
    }

    package func process(_ name: String) -> TestProcess { processes.withLock { $0[name]! } }
    package var names: [String] { processes.withLock { $0.keys.sorted() } }

    /// What a process wrote to its log.
    package func log(_ name: String) -> String {
        (try? String(contentsOf: folder.appending(path: "\(name).log"), encoding: .utf8)) ?? ""
    }

    /// Kills a process as a crash would and starts it again.
    package func crashAndRestart(_ name: String) async throws {
        try await process(name).crash()
        try await start(name)
    }

    /// A client of a service's own port.
    package func client(_ service: String, token: String? = nil) -> HTTPClient {
        HTTPClient(base: "http://127.0.0.1:\(ports.withLock { $0["\(service) serve"]! })", token: token)
    }

    package func address(_ service: String) -> String { "127.0.0.1:\(ports.withLock { $0["\(service) serve"]! })" }

    /// A fresh tenant with an owner's key.
    package func tenant(_ slug: String, roles: [String] = ["owner"]) async throws -> (id: TenantID, key: String) {
        let directory = TenantDirectory(owner: owner)
        var tenant = TenantDirectory.NewTenant(slug: slug, name: slug)
        tenant.requestsPerSecond = 100_000
        tenant.currency = "EUR"
        tenant.country = "DE"
        let id = try await directory.create(tenant)
        return (id, try await directory.createKey(tenant: id, name: "test", roles: roles).text)
    }

    /// Defines a role of the tenant's own, with its grants as JSON.
    package func role(_ tenant: TenantID, _ name: String, _ grants: JSONValue) async throws {
        _ = try await owner.withoutTenant { transaction in
            _ = try await transaction.query(Statement("set local role guanxi_across"))
            return try await transaction.query(
                Statement(
                    """
                    insert into platform.role (tenant_id, name, grants) values ($1, $2, $3::jsonb)
                    on conflict (tenant_id, name) do update set grants = excluded.grants
                    """, [tenant.parameter, .text(name), .text(grants.encoded)]))
        }
    }

    /// A key of the tenant with roles; with `team` it acts for a new user, of that team.
    package func key(
        _ tenant: TenantID, roles: [String], team: UUID? = nil, isUser: Bool = false
    ) async throws -> (key: String, user: UUID?) {
        let directory = TenantDirectory(owner: owner)
        var user: UUID?
        if isUser || team != nil {
            user = try await directory.createUser(
                tenant: tenant, email: "\(UUID().uuidString)@example.com", name: "Somebody", password: "password-123",
                roles: roles, team: team)
        }
        return (try await directory.createKey(tenant: tenant, name: "test", roles: roles, user: user).text, user)
    }

    /// Starts nginx with the gateway's template and gives its address.
    package func gateway() async throws -> String {
        let template = URL(filePath: #filePath).deletingLastPathComponent().appending(
            path: "../../deploy/gateway/nginx.conf.template")
        let port = try freePort()
        var text = try String(contentsOf: template, encoding: .utf8)
        let values = ["STATE": folder.path, "GATEWAY": "127.0.0.1:\(port)"]
            .merging(allServices.map { ($0.name.uppercased(), address($0.name)) }) { $1 }
        for (name, value) in values { text = text.replacing("@\(name)@", with: value) }
        let file = folder.appending(path: "nginx.conf")
        try text.write(to: file, atomically: true, encoding: .utf8)
        let nginx = try TestProcess(
            URL(filePath: "/usr/sbin/nginx"),
            [
                // One process, so that none is left when it is killed.
                "-c", file.path, "-e", folder.appending(path: "nginx.log").path, "-g", "master_process off;",
            ])
        processes.withLock { $0["nginx"] = nginx }
        let client = HTTPClient(base: "http://127.0.0.1:\(port)")
        try await eventually("the gateway answers") { (try? await client.get("/"))?.status == 200 }
        return client.base
    }

    /// Waits until a job is over and gives its last state.
    package func finished(_ client: HTTPClient, job: String, prefix: String = "", within seconds: Double = 120)
        async throws -> JSONValue
    {
        var last: JSONValue = .null
        try await eventually(within: seconds, "job \(job) is over") {
            guard let answer = try? await client.get("\(prefix)/v1/jobs/\(job)"), answer.status == 200 else {
                return false
            }
            last = answer.json
            return ["done", "failed", "dead", "cancelled"].contains(last["state"]?.text)
        }
        return last
    }
}

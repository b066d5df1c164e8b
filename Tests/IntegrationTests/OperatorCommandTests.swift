import Foundation
import Records
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite("The operator's command", .serialized)
struct OperatorCommandTests {
    @Test("a waiting job is seen, explained and cancelled; what changes something asks first")
    func jobs() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("waiting")
        let command = try OperatorCommand(platform.database, redis: platform.redis.url)
        defer { command.clean() }
        func json(_ words: String..., orStatus other: Int32 = 0) async throws -> JSONValue {
            let outcome = try await command.run(words + ["--json"])
            guard outcome.status == 0 || outcome.status == other else {
                throw TestFailure("\(words): \(outcome.error)")
            }
            return try outcome.json
        }
        let client = platform.client("contacts", token: tenant.key)
        let file = Array("external_id,given_name\n1,Ada\n".utf8)
        let job = try await client.upload(options: ["type": "contact"], file: file).json["job_id"]!.text!
        try await eventually("it waits") {
            let queues = try await json("queues").array ?? []
            return queues.first { $0["queue"] == "contacts.import" }?["waiting"] == 1
        }
        #expect(try await json("jobs", "list", "--queue", "contacts.import").array?.first?["id"]?.text == job)
        #expect(try await json("jobs", "show", job)["job"]?["queue"] == "contacts.import")
        #expect(try await json("jobs", "why", job)["reason"] == "no_worker")
        #expect(try await json("queues", "share", "contacts.import", "waiting", "--cap", "2")["cap"] == 2)
        #expect(try await json("queues", "tenants", "contacts.import").array?.first?["cap"] == 2)
        #expect(try await json("workers").array == [])
        let demand = try await json("autoscale").array ?? []
        #expect(demand.first { $0["service"] == "contacts" }?["wanted"] == 1)

        for words in [["queues", "pause", "contacts.import"], ["jobs", "cancel", job]] {
            let asked = try await command.run(words)
            #expect(asked.status == 64 && asked.error.contains("--yes"), "\(words)")
        }
        #expect(try await json("queues", "pause", "contacts.import", "--yes")["paused"] == true)
        #expect(try await json("queues", "drain", "contacts.import", "--yes")["running"] == 0)
        #expect(try await json("jobs", "cancel", job, "--yes")["outcome"] == 2)
        #expect(try await command.run(["jobs", "cancel", job, "--yes"]).status != 0, "it is over")
        #expect(try await client.get("/v1/jobs/\(job)").json["state"] == "cancelled")
        #expect(try await json("queues", "resume", "contacts.import")["paused"] == false)

        let doctor = try await command.run(["doctor"])
        #expect(
            doctor.output.contains("ok     PostgreSQL") && doctor.output.contains("ok     Redis"), "\(doctor.output)")
        let findings = try await json("doctor", orStatus: 1).array ?? []
        #expect(findings.contains { $0["what"] == "Redis" && $0["mend"] == nil }, "\(findings)")
        #expect(findings.contains { $0["what"] == "workers of contacts" && $0["mend"] != nil }, "nobody works")
        let migrations = try await json("migrate", "--status").array ?? []
        #expect(!migrations.isEmpty && migrations.allSatisfy { $0["state"] == "applied" })
        let key = try await json("keys", "create", "waiting", "--roles", "analyst")
        #expect(try await platform.client("contacts", token: key["key"]?.text ?? "").get("/v1/contacts").status == 200)
        #expect(try await json("keys", "revoke", key["id"]?.text ?? "", "--yes")["id"] == key["id"])
        let revoked = try await command.run(["keys", "revoke", tenant.key])
        #expect(revoked.status == 64 && revoked.error.contains("--yes"))
        #expect(try await command.run(["keys", "revoke", tenant.key, "--yes"]).status == 0)
        try await eventually("the key is out") { try await client.get("/v1/contacts").status == 401 }
        #expect(try await command.run(["jobs", "show", "no-id"]).status == 64)
    }

    @Test("a tenant's plan is a tier of the metrics, its rate and its weight hold at once")
    func plans() async throws {
        let platform = try await TestPlatform(["contacts serve"])
        let tenant = try await platform.tenant("paying")
        let command = try OperatorCommand(platform.database, redis: platform.redis.url)
        defer { command.clean() }
        #expect(try await command.run(["tenants", "change", "paying"]).status == 64)
        for wrong in [["--plan", "No Plan"], ["--weight", "0"], ["--requests-per-second", "0"]] {
            #expect(try await command.run(["tenants", "change", "paying"] + wrong).status == 64, "\(wrong)")
        }
        #expect(try await command.run(["tenants", "change", "nobody", "--plan", "premium"]).status == 64)
        let changed = try await command.run([
            "tenants", "change", "paying", "--plan", "premium", "--weight", "2", "--requests-per-second", "77",
            "--json",
        ])
        #expect(try changed.json.array?.first?["plan"] == "premium", "\(changed.error)")
        let client = platform.client("contacts", token: tenant.key)
        try await eventually("the rate is the new one") {
            try await client.get("/v1/usage").json["limits"]?["requests_per_second"] == 77
        }
        let port = try freePort()
        try await platform.start("contacts work", environment: ["GUANXI_INTERNAL_PORT": "\(port)"])
        let worker = HTTPClient(base: "http://127.0.0.1:\(port)", token: "")
        try await eventually("it works") { (try? await worker.get("/healthz"))?.status == 200 }
        _ = try await client.upload(options: ["type": "contact"], file: Array("external_id,given_name\n1,Ada\n".utf8))
        try await eventually("its jobs are counted as those of its plan") {
            try await worker.get("/metrics").text.contains(
                #"guanxi_jobs_done_total{queue="contacts.import",tier="premium"} 1"#)
        }
    }

    @Test("autoscale --apply starts workers, replaces one that died, and ends all in good order")
    func supervisor() async throws {
        let platform = try await TestPlatform([])
        let command = try OperatorCommand(platform.database, redis: platform.redis.url)
        defer { command.clean() }
        func workers() async throws -> Set<Int32> {
            let lines = try await command.run(["workers", "--json"]).json.array ?? []
            return Set(lines.compactMap { $0["pid"].flatMap { Int32($0.encoded) } })
        }
        let scaler = try command.start([
            "autoscale", "--apply", "--binaries", TestServers.binaries.path, "--minimum", "1", "--maximum", "1",
            "--interval", "0.5s",
        ])
        let services = 5
        try await eventually("each service has a worker") { try await workers().count == services }
        let first = try await workers()
        let victim = try #require(first.first)
        kill(victim, SIGKILL)
        try await eventually("it is replaced") {
            let now = try await workers()
            return now.count == services && !now.contains(victim) && now.isSuperset(of: first.subtracting([victim]))
        }
        kill(scaler.pid, SIGTERM)
        #expect(try await scaler.finished() == 0)
        #expect(try await workers().isEmpty, "all have left their queues")
        for pid in first { #expect(kill(pid, 0) != 0, "worker \(pid) has ended") }
    }
}

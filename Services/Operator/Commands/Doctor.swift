import ArgumentParser
import Database
import Foundation
import Jobs
import ServiceKit

struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks everything Guanxi needs, and says how to mend what is wrong.")

    @Flag(help: "Answer in JSON.") var json = false

    /// One finding: fine when `mend` is nil.
    struct Finding: Encodable {
        let what: String
        let state: String
        let mend: String?
    }

    func run() async throws {
        let session = try await OperatorSession()
        defer { session.close() }
        var findings: [Finding] = []
        findings += await postgres(session)
        findings += await redis(session)
        findings += await queues(session)
        if json { try printOperatorJSON(findings) }
        for finding in findings where !json {
            print("\(finding.mend == nil ? "ok   " : "WRONG")  \(finding.what): \(finding.state)")
            if let mend = finding.mend { print("       → \(mend)") }
        }
        if findings.contains(where: { $0.mend != nil }) { throw ExitCode(1) }
    }

    private func postgres(_ session: OperatorSession) async -> [Finding] {
        var findings: [Finding] = []
        do {
            let rows = try await session.owner.query(
                tenant: nil,
                Statement(
                    """
                    select current_setting('server_version_num')::int, current_setting('server_version'),
                        extract(epoch from clock_timestamp()), current_setting('fsync'), session_user,
                        (select rolbypassrls or rolsuper from pg_roles where rolname = session_user)
                    """), readOnly: true)
            let version = rows.int(0, 0) ?? 0
            findings.append(
                Finding(
                    what: "PostgreSQL", state: rows.text(0, 1) ?? "?",
                    mend: version >= 150_000
                        ? nil : "install PostgreSQL 15 or newer: unique indexes need NULLS NOT DISTINCT"))
            let skew = abs((rows.double(0, 2) ?? 0) - Date().timeIntervalSince1970)
            findings.append(
                Finding(
                    what: "clock", state: String(format: "%.3f s apart from the database's", skew),
                    mend: skew < 2 ? nil : "run an NTP client on both machines: ids and schedules are times"))
            findings.append(
                Finding(
                    what: "fsync", state: rows.text(0, 3) ?? "?",
                    mend: rows.text(0, 3) == "on" ? nil : "set fsync = on: committed work would be lost in a crash"))
            let mayBypass = rows.bool(0, 5) == true
            findings.append(
                Finding(
                    what: "privileges of \(rows.text(0, 4) ?? "?")",
                    state: mayBypass ? "bypasses row security" : "bound by row security",
                    mend: mayBypass ? "sign in as guanxi_owner, not as a superuser" : nil))
            let setup = SchemaSetup(services: services, logger: session.logger)
            let status = try await setup.status(owner: session.owner)
            let pending = status.filter { $0.state == .pending }.count
            let edited = status.filter { $0.state == .edited }
            findings.append(
                Finding(
                    what: "migrations", state: "\(status.count - pending) applied, \(pending) pending",
                    mend: pending > 0 ? "run `guanxi migrate`" : nil))
            if let first = edited.first {
                findings.append(
                    Finding(
                        what: "migration \(first.schema)/\(first.id)", state: "differs from what was applied",
                        mend: "run the release that applied it, or restore the file: migrations are never edited"))
            }
            findings += try await roles(session)
        } catch {
            findings.append(
                Finding(
                    what: "PostgreSQL", state: "\(error)",
                    mend:
                        "check GUANXI_DATABASE_OWNER_URL and that the server listens; the first time run `guanxi migrate` with GUANXI_DATABASE_ADMIN_URL set"
                ))
        }
        return findings
    }

    private func roles(_ session: OperatorSession) async throws -> [Finding] {
        let wanted = services.map { "guanxi_\($0.name)" }
        let rows = try await session.owner.query(
            tenant: nil,
            Statement(
                "select rolname, rolbypassrls or rolsuper from pg_roles where rolname = any($1::text[])",
                [.array(wanted)]),
            readOnly: true)
        let known = Dictionary(uniqueKeysWithValues: (0..<rows.count).map { (rows.text($0, 0)!, rows.bool($0, 1)!) })
        return wanted.map { role in
            guard let bypasses = known[role] else {
                return Finding(
                    what: "role \(role)", state: "missing",
                    mend: "run `guanxi migrate` with GUANXI_DATABASE_ADMIN_URL set")
            }
            return Finding(
                what: "role \(role)", state: bypasses ? "bypasses row security" : "bound by row security",
                mend: bypasses ? "alter role \(role) nosuperuser nobypassrls" : nil)
        }
    }

    private func redis(_ session: OperatorSession) async -> [Finding] {
        do {
            let text = try await session.redis.command(key: "gx", ["INFO"]).text ?? ""
            func value(_ key: String) -> String? {
                text.split(whereSeparator: \.isNewline).first { $0.hasPrefix("\(key):") }.map {
                    String($0.dropFirst(key.count + 1))
                }
            }
            let version = value("redis_version") ?? "?"
            let major = Int(version.split(separator: ".").first ?? "0") ?? 0
            return [
                Finding(
                    what: "Redis", state: version, mend: major >= 7 ? nil : "install Redis 7 or newer"),
                Finding(
                    what: "Redis persistence", state: value("aof_enabled") == "1" ? "append-only file" : "none",
                    mend: value("aof_enabled") == "1"
                        ? nil
                        : "set appendonly yes: without it every restart means a repair of all queues (nothing is lost, it takes seconds)"
                ),
                Finding(
                    what: "Redis eviction", state: value("maxmemory_policy") ?? "?",
                    mend: value("maxmemory_policy") == "noeviction"
                        ? nil : "set maxmemory-policy noeviction: evicted keys are forgotten jobs"),
                Self.memory(value),
            ]
        } catch {
            return [
                Finding(what: "Redis", state: "\(error)", mend: "check GUANXI_REDIS_URL and that the server listens")
            ]
        }
    }
}

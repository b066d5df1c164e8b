import Database
import Foundation
import Jobs

/// What the doctor says of queues: those nobody serves, those that are behind, and what holds jobs back.
extension Doctor {
    func queues(_ session: OperatorSession) async -> [Finding] {
        do {
            var findings = try await clocks(session)
            findings += try await transactions(session)
            let figures = try await session.queues.figures()
            for service in services {
                let unserved = figures.filter { service.queues.contains($0.queue) && $0.workers == 0 }
                if unserved.isEmpty { continue }
                findings.append(
                    Finding(
                        what: "workers of \(service.name)",
                        state: "none for \(unserved.map(\.queue).joined(separator: ", ")), "
                            + "\(unserved.reduce(0) { $0 + $1.ready }) jobs wait", mend: "start `\(service.name) work`")
                )
            }
            return findings + figures.flatMap(Self.findings)
        } catch {
            return [Finding(what: "queues", state: "\(error)", mend: "mend PostgreSQL and Redis first")]
        }
    }

    private static func findings(_ one: QueueOperator.Figures) -> [Finding] {
        var findings: [Finding] = []
        if one.paused {
            findings.append(
                Finding(
                    what: "queue \(one.queue)", state: "paused, \(one.ready) jobs wait",
                    mend: "when that is no longer wanted: `guanxi queues resume \(one.queue)`"))
        }
        if one.backlog > 0 {
            findings.append(
                Finding(
                    what: "backlog of \(one.queue)",
                    state: "\(one.backlog) jobs of \(one.backlogTenants) tenants wait in PostgreSQL",
                    // Nothing is wrong as long as it is worked off in bearable time.
                    mend: one.donePerSecond > 0 && Double(one.ready) / one.donePerSecond < 3600
                        ? nil : "start more workers: `guanxi autoscale` says how many"))
        }
        if one.dead > 0 {
            findings.append(
                Finding(
                    what: "dead jobs of \(one.queue)", state: "\(one.dead)",
                    mend:
                        "`guanxi jobs list --phase dead --queue \(one.queue)`, and `guanxi jobs replay` once their cause is mended"
                ))
        }
        return findings
    }

    private func clocks(_ session: OperatorSession) async throws -> [Finding] {
        let started = ContinuousClock.now
        let reply = try await session.redis.command(key: "gx", ["TIME"]).array ?? []
        let rows = try await session.owner.query(
            tenant: nil, Statement("select extract(epoch from clock_timestamp())"), readOnly: true)
        let took = (.now - started) / .seconds(1)
        guard reply.count == 2, let seconds = reply[0].text.flatMap(Double.init),
            let micros = reply[1].text.flatMap(Double.init), let database = rows.double(0, 0)
        else { return [] }
        let redis = seconds + micros / 1_000_000
        let here = Date().timeIntervalSince1970
        let skew = max(abs(redis - here), abs(redis - database)) - took
        return [
            Finding(
                what: "clock of Redis",
                state: String(format: "at most %.3f s apart from PostgreSQL's and this machine's", max(0, skew)),
                mend: skew < 2 ? nil : "run an NTP client there: leases and delays go by its clock")
        ]
    }

    /// The relay sends what committed below the oldest transaction that writes: a long one holds it back.
    private func transactions(_ session: OperatorSession) async throws -> [Finding] {
        let rows = try await session.owner.query(
            tenant: nil,
            Statement(
                """
                select pid, usename, extract(epoch from clock_timestamp() - xact_start)::int, left(query, 60)
                from pg_stat_activity
                where backend_xid is not null and xact_start < clock_timestamp() - interval '10 seconds'
                and pid <> pg_backend_pid() order by xact_start limit 5
                """), readOnly: true)
        if rows.isEmpty { return [Finding(what: "long transactions", state: "none", mend: nil)] }
        return (0..<rows.count).map { row in
            Finding(
                what: "transaction of process \(rows.int(row, 0) ?? 0)",
                state:
                    "\(rows.text(row, 1) ?? "?") has written for \(rows.int(row, 2) ?? 0) s: \(rows.text(row, 3) ?? "")",
                mend: "end it, or pg_terminate_backend: jobs that are not in Redis yet wait for it")
        }
    }

    /// Redis's memory, from its INFO.
    static func memory(_ value: (String) -> String?) -> Finding {
        let used = Double(value("used_memory") ?? "") ?? 0
        let limit = Double(value("maxmemory") ?? "") ?? 0
        let text = String(format: "%.0f MB used", used / 1_048_576)
        guard limit > 0 else {
            return Finding(what: "Redis memory", state: text + ", no limit", mend: nil)
        }
        return Finding(
            what: "Redis memory", state: text + String(format: " of %.0f MB", limit / 1_048_576),
            mend: used < limit * 0.8
                ? nil : "raise maxmemory: at its limit Redis refuses new jobs, which then wait in PostgreSQL")
    }
}

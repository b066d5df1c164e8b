import Database
import Foundation
import Jobs
import Synchronization

/// A job of `kind` (nothing, row, rows), stamped with now.
func make(
    _ kind: String, tag: String, milliseconds: Double, payload: Int, number: Int = 0
) throws -> PendingJob {
    func body<Body: BenchmarkJob>(_: Body.Type) throws -> PendingJob {
        return try PendingJob(
            Body(
                at: Date().timeIntervalSince1970, tag: tag, milliseconds: milliseconds > 0 ? milliseconds : nil,
                number: number > 0 ? number : nil, filler: filler(of: payload)))
    }
    var job =
        switch kind {
        case "row": try body(OneRow.self)
        case "rows": try body(ManyRows.self)
        default: try body(NoOperation.self)
        }
    job.options.cost = Float(max(0.1, milliseconds))
    return job
}

/// What fills a payload up to `length` bytes, beside the fields around it. Made once: the queue is measured, not the
/// making of text.
private func filler(of length: Int) -> String {
    fillers.withLock { fillers in
        if let known = fillers[length] { return known }
        let made = String(repeating: "x", count: max(0, length - 60))
        fillers[length] = made
        return made
    }
}

private let fillers = Mutex<[Int: String]>([:])

/// The effect whose doing twice would show: a row per job.
enum Effect {
    static func statement(_ ids: [UUID], _ tenant: TenantID) -> Statement {
        Statement(
            "insert into contacts.benchmark_effect (tenant_id, id) select $1, unnest($2::uuid[])",
            [tenant.parameter, .array(ids.map(\.lowercased))])
    }
}

/// What a worker saw, by tag and tenant.
final class Ledger: Sendable {
    private struct Line {
        var count = 0
        var first = Double.infinity
        var last = 0.0
        var waits: [Double] = []
        var running = 0.0
        var starts: [Int: Double] = [:]
    }

    private struct Key: Hashable {
        let tag: String
        let tenant: Int64
    }

    private let lines = Mutex<[Key: Line]>([:])

    func run(_ job: some BenchmarkJob, _ context: JobContext, _ body: () async throws -> Void) async throws {
        let start = Date().timeIntervalSince1970
        if let milliseconds = job.milliseconds { try await Task.sleep(for: .milliseconds(milliseconds)) }
        try await body()
        note(job, context.tenant, start: start, end: Date().timeIntervalSince1970)
    }

    func note(_ jobs: [some BenchmarkJob], _ tenant: TenantID) {
        let now = Date().timeIntervalSince1970
        for job in jobs { note(job, tenant, start: now, end: now) }
    }

    private func note(_ job: some BenchmarkJob, _ tenant: TenantID, start: Double, end: Double) {
        lines.withLock { lines in
            let key = Key(tag: job.tag, tenant: tenant.rawValue)
            var line = lines.removeValue(forKey: key) ?? Line()
            line.count += 1
            line.first = min(line.first, start)
            line.last = max(line.last, end)
            line.running += end - start
            // Enough for a p99, and no more memory than the queue itself would take.
            if let number = job.number { line.starts[number] = start }
            if line.waits.count < 20_000 { line.waits.append(start - job.at) }
            lines[key] = line
        }
    }

    func json(memory: Int) -> String {
        let parts = lines.withLock { lines in
            lines.map { key, line in
                let waits = line.waits.sorted()
                func quantile(_ q: Double) -> Double {
                    waits.isEmpty ? 0 : waits[min(waits.count - 1, Int(Double(waits.count) * q))] * 1000
                }
                return """
                    {"tag": "\(key.tag)", "tenant": \(key.tenant), "count": \(line.count), \
                    "first": \(line.first), "last": \(line.last), "running": \(line.running), \
                    "p50": \(quantile(0.5)), "p99": \(quantile(0.99)), \
                    "starts": {\(line.starts.map { "\"\($0)\": \($1)" }.joined(separator: ", "))}}
                    """
            }
        }
        return "{\"memory\": \(memory), \"lines\": [\(parts.joined(separator: ", "))]}"
    }
}

/// What the kernel knows of this process.
enum Memory {
    /// The most bytes that it ever held.
    static var peak: Int {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) } ?? 0) * 1024
    }
}

import Database
import Foundation

/// Clears what a service keeps for a while besides records: answers, files, errors, payloads.
struct ErasureSweep: Sendable {
    let schema: String
    let note: ErasureNote
    /// The name of the jobs that carry the erasure itself.
    let spared: String

    /// Throws while an import or export is under way, or a job that speaks of the person is still to run: what it does
    /// would come after the erasure. Six hours on nothing is waited for any more.
    func requireQuiet(in transaction: TenantTransaction) async throws {
        let running = try await transaction.query(
            """
            select 1 from (
                select job_id, created_at from \(schema).import where tenant_id = $1
                union all select job_id, created_at from \(schema).export where tenant_id = $1) f
            join \(schema).job_status s on s.tenant_id = $1 and s.id = f.job_id
            where s.state in ('waiting', 'running', 'failed') and f.created_at > now() - interval '6 hours' limit 1
            """, [transaction.tenant.parameter])
        // Only asked here: what it empties is counted in the transaction that ends the erasure.
        let jobs = try await transaction.savepoint(undoing: true) {
            try await transaction.query(
                "select redacted, waiting from \(schema).redact_payloads($1::text[], $2)",
                [.array(note.traces.patterns), .text(spared)])
        }
        let isLate = note.erasure.v7Time < Date(timeIntervalSinceNow: -6 * 3600)
        if (!running.isEmpty || jobs.int(0, 1)! > 0) && !isLate { throw ErasureMustWait() }
    }

    /// Clears, and gives from how many rows of each table something went.
    func run(in transaction: TenantTransaction) async throws -> [String: Int] {
        let tenant = transaction.tenant.parameter
        let (patterns, rows) = (Parameter.array(note.traces.patterns), Parameter.array(note.traces.rowPatterns))
        let ids = Parameter.array(note.subjects.map { "%\($0.lowercased)%" })
        let erasure = Parameter.uuid(note.erasure)
        let statements: [(table: String, Statement)] = [
            (
                // A digest of what was sent could be tried; the request, sent again, is refused.
                "idempotency",
                Statement(
                    """
                    update \(schema).idempotency i set body = '{"erased":true}',
                        digest = uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
                    where tenant_id = $1 and (lower(body) like any($2::text[]) or body like any($3::text[])
                        or exists (select 1 from \(schema).history h where h.tenant_id = $1
                            and h.record_id = i.record_id and h.change_set = $4 and h.operation = 'erase'))
                    """, [tenant, patterns, ids, erasure])
            ),
            (
                "import_error",
                Statement(
                    """
                    update \(schema).import_error set row_text = null, message = 'Erased.'
                    where tenant_id = $1 and (lower(coalesce(row_text, '') || message) like any($2::text[])
                        or regexp_replace(coalesce(row_text, ''), '[^0-9]', '', 'g') like any($3::text[]))
                    """, [tenant, rows, .array(note.traces.digitPatterns)])
            ),
            (
                // Of imports that are over, and uploads that never came to their end.
                "import_chunk",
                Statement(
                    """
                    delete from \(schema).import_chunk c where tenant_id = $1 and not exists (
                        select 1 from \(schema).import i join \(schema).job_status s
                            on s.tenant_id = i.tenant_id and s.id = i.job_id
                        where i.tenant_id = $1 and i.id = c.import_id and s.state in ('waiting', 'running', 'failed')
                        and i.created_at > now() - interval '6 hours')
                    and (c.import_id < platform.uuid_lower_bound(now() - interval '1 hour') or exists (
                        select 1 from \(schema).import i where i.tenant_id = $1 and i.id = c.import_id))
                    """, [tenant])
            ),
            // A file that was made may hold the person; it can be made again.
            (
                "export_piece",
                Statement("delete from \(schema).export_piece where tenant_id = $1", [tenant])
            ),
            (
                // Nor does anybody need to know any more whom it was filtered for.
                "export",
                Statement(
                    """
                    update \(schema).export set options = options - 'filter',
                        finished_at = least(finished_at, now() - interval '2 days')
                    where tenant_id = $1 and (finished_at > now() - interval '2 days'
                        or jsonb_typeof(options -> 'filter') <> 'null')
                    """, [tenant])
            ),
            (
                "job_status",
                Statement(
                    """
                    update \(schema).job_status set result = null, error = null, note = null
                    where tenant_id = $1
                    and lower(concat_ws(' ', result::text, error::text, note)) like any($2::text[])
                    """, [tenant, patterns])
            ),
            (
                "dead_job",
                Statement(
                    """
                    update \(schema).dead_job set error = 'erased'
                    where tenant_id = $1 and lower(error) like any($2::text[])
                    """, [tenant, patterns])
            ),
            (
                "job_group",
                Statement(
                    """
                    update platform.job_group set payload = '{}'
                    where tenant_id = $1 and queue like '\(schema).%' and lower(payload) like any($2::text[])
                    """, [tenant, patterns])
            ),
            (
                "serial_job",
                Statement(
                    """
                    update platform.serial_job set payload = '{}'
                    where tenant_id = $1 and queue like '\(schema).%' and lower(payload) like any($2::text[])
                    """, [tenant, patterns])
            ),
        ]
        var counts: [String: Int] = [:]
        for (table, statement) in statements {
            counts["\(schema).\(table)"] = try await transaction.query(statement).affected
        }
        let jobs = try await transaction.query(
            // A story may say no more than a family name: what tells of the person goes by their id too.
            "select redacted from \(schema).redact_payloads($1::text[] || $3::text[], $2)",
            [patterns, .text(spared), ids])
        counts["\(schema).outbox"] = jobs.int(0, 0)!
        return counts
    }
}

/// Something is under way that may hold the person: the erasure looks again in a while.
struct ErasureMustWait: Error, CustomStringConvertible {
    let description = "an import, an export or a job may still hold the person"
}

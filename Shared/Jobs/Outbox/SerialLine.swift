import Database
import Foundation

/// Jobs of one serial key stand in a line in PostgreSQL: the first is in the outbox like any other job, the others wait
/// in `platform.serial_job`, where no Redis knows of them, and each is written into the outbox by the transaction that
/// settles the one before. So a key's jobs have their effects one after another, in the order of their commits, whatever
/// is sent twice, run twice or lost in between.
extension Outbox {
    /// Ends a job's turn, in the transaction that settles it; or takes it out of the line before its turn. Gives the
    /// next of its key, in this outbox now: push it with `pushNext` after the commit.
    func turnEnded(_ job: UUID, tenant: TenantID) -> Statement {
        Statement("select * from platform.end_turn($1, $2, $3)", [tenant.parameter, .uuid(job), .text(schema)])
    }

    /// Pushes whose turn it is now, from what `turnEnded` gave.
    func pushNext(in rows: Rows) { push(OutboxRow.all(in: rows, origin: schema)) }

    /// Whether it is a job's turn. One that had it and has it no more is settled: what was delivered twice need not
    /// begin beside the next of its key.
    func hasTurn(_ envelope: JobEnvelope) async throws(DatabaseError) -> Bool {
        let rows = try await database.query(
            tenant: envelope.tenant,
            Statement(
                "select 1 from platform.serial_line where tenant_id = $1 and job_id = $2",
                [envelope.tenant.parameter, .uuid(envelope.id)]), readOnly: true)
        return !rows.isEmpty
    }

    /// Ends the turn of a job that is settled already: one that was cancelled while it waited in line has its turn all
    /// the same once its like come to it.
    func leaveLine(_ envelope: JobEnvelope) async throws(DatabaseError) {
        if !envelope.isSerial { return }
        let next = try await database.query(
            tenant: envelope.tenant, turnEnded(envelope.id, tenant: envelope.tenant))
        pushNext(in: next)
    }
}

import Database
import Foundation
import Logging

/// Runs one job to its end and says what that was.
struct JobRunner: Sendable {
    let registry: JobRegistry
    let outbox: Outbox
    let database: Database
    let queue: String

    func run(_ envelope: JobEnvelope, logger: Logger) async -> RedisQueue.Outcome {
        var envelope = envelope
        do {
            if envelope.payloadIsElsewhere { envelope.payload = try await payload(of: envelope) }
            let context = JobContext(envelope: envelope, logger: logger, outbox: outbox, database: database)
            guard let handler = registry.handlers[envelope.name] else {
                // In a rolling deployment a newer worker of the same queue may know the name: wait for it, a day.
                if envelope.id.v7Time > Date(timeIntervalSinceNow: -86_400) {
                    logger.warning("no handler here, waiting for another worker")
                    return .again(due: Date(timeIntervalSinceNow: 5), envelope)
                }
                throw PermanentFailure(code: "no_handler", message: "no handler for \(envelope.name)")
            }
            if envelope.isTracked { try await noteStart(envelope) }
            try await withTimeout(envelope.timeout) { try await handler(context) }
            // A handler that needed no transaction of its own is settled here.
            if !context.isSettled && !envelope.isEphemeral { try await context.once { _ in } }
            return .done
        } catch is JobIsSettled {
            return .done
        } catch {
            return await fail(envelope, error, logger)
        }
    }

    private func fail(_ envelope: JobEnvelope, _ error: any Error, _ logger: Logger) async -> RedisQueue.Outcome {
        // Cancelled from outside: by an operator (the inbox says so next time), a lost lease, or a shutdown.
        if error is CancellationError || Task.isCancelled { return .handedBack }
        var envelope = envelope
        let isOutage = (error as? DatabaseError).map { $0.code == .unavailable || $0.code == .connectionLost } ?? false
        // An outage of the database is no fault of the job: it uses up no attempt.
        if !isOutage { envelope.attempts = envelope.attempts == 255 ? 255 : envelope.attempts + 1 }
        let isDead = error is PermanentFailure || envelope.attempts >= envelope.maxAttempts
        if envelope.payloadIsElsewhere { envelope.payload = [] }
        guard isDead else {
            logger.warning(
                "job failed, will be tried again",
                metadata: ["attempt": "\(envelope.attempts)", "error": "\(error)"])
            return .again(due: Date(timeIntervalSinceNow: Self.delay(after: envelope.attempts)), envelope)
        }
        logger.error("job is dead", metadata: ["attempts": "\(envelope.attempts)", "error": "\(error)"])
        do { try await bury(envelope, error) } catch let failure {
            logger.warning("death could not be written down", metadata: ["error": "\(failure)"])
            return .again(due: Date(timeIntervalSinceNow: 5), envelope)
        }
        return .dead(envelope)
    }

    /// Exponential, from about a second, capped at an hour, with jitter so that what failed together does not return
    /// together.
    static func delay(after attempts: UInt8) -> TimeInterval {
        min(3600, pow(2, Double(min(attempts, 12)))) * Double.random(in: 0.5...1)
    }

    private func bury(_ envelope: JobEnvelope, _ error: any Error) async throws {
        if envelope.isEphemeral { return }
        let failure = error as? PermanentFailure
        let context = JobContext(envelope: envelope, logger: Logger(label: "bury"), outbox: outbox, database: database)
        var statements = [
            context.claim(outcome: 3),
            Statement(
                """
                insert into \(outbox.schema).dead_job (tenant_id, job_id, queue, name, attempts, crashes, error)
                values ($1, $2, $3, $4, $5, $6, $7)
                """,
                [
                    envelope.tenant.parameter, .uuid(envelope.id), .text(queue), .text(envelope.name),
                    .int(Int(envelope.attempts)), .int(Int(envelope.crashes)), .text("\(error)"),
                ]),
        ]
        if envelope.isTracked {
            statements.append(
                outbox.end(
                    """
                    state = $3, finished_at = now(),
                    error = coalesce(error, jsonb_build_object('code', $4::text, 'message', $5::text))
                    """,
                    [
                        envelope.tenant.parameter, .uuid(envelope.id), .text(failure == nil ? "dead" : "failed"),
                        .text(failure?.code ?? "internal"),
                        .text(failure?.message ?? "the job failed too often and was set aside"),
                    ]))
        }
        do {
            let results = try await database.batch(tenant: envelope.tenant, statements)
            if envelope.isTracked, let user = results[2].firstUser { outbox.live.tell(user, envelope.tenant) }
        } catch {
            if !error.isInboxDuplicate { throw error }
        }
    }

    private func noteStart(_ envelope: JobEnvelope) async throws {
        _ = try await database.query(
            tenant: envelope.tenant,
            Statement(
                """
                update \(outbox.schema).job_status
                set state = 'running', started_at = coalesce(started_at, now())
                where tenant_id = $1 and id = $2 and state = 'waiting'
                """, [envelope.tenant.parameter, .uuid(envelope.id)]))
    }

    private func payload(of envelope: JobEnvelope) async throws -> [UInt8] {
        let rows = try await database.query(
            tenant: envelope.tenant,
            Statement(
                "select platform.job_payload($1, $2, $3)",
                [.text(envelope.origin), .uuid(envelope.id), envelope.tenant.parameter]), readOnly: true)
        guard let text = rows.text(0, 0) else {
            throw PermanentFailure(code: "payload_missing", message: "the payload is no longer in the outbox")
        }
        return Array(text.utf8)
    }

    private func withTimeout(_ seconds: UInt32, _ body: @escaping @Sendable () async throws -> Void) async throws {
        if seconds == 0 { return try await body() }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await body()
                return true
            }
            group.addTask {
                try await Task.sleep(for: .seconds(seconds))
                return false
            }
            let isDone = try await group.next() ?? false
            group.cancelAll()
            if !isDone { throw JobTimeout(seconds: Int(seconds)) }
        }
    }
}

/// A job took longer than its time limit and was cancelled. It counts as a failed attempt.
struct JobTimeout: Error, CustomStringConvertible {
    let seconds: Int
    var description: String { "cancelled after its time limit of \(seconds) s" }
}

import Database
import Foundation
import Logging
import Spans

/// Runs one job to its end, writes down in PostgreSQL what must outlive Redis, and says what Redis is to be told.
struct JobRunner: Sendable {
    let registry: JobRegistry
    let outbox: Outbox
    let database: Database
    let queue: String
    let tracer: SpanTracer?
    let logger: Logger

    /// Runs one job; what it causes hangs below its span in the trace that it came with.
    func run(_ envelope: JobEnvelope, _ run: JobRun) async -> RedisQueue.Outcome {
        let span = tracer?.begin([envelope], of: queue)
        let outcome = await perform(envelope, run, below: span?.context.spanContext?.traceparent)
        span?.end(outcome)
        return outcome
    }

    private func perform(_ envelope: JobEnvelope, _ run: JobRun, below span: String?) async -> RedisQueue.Outcome {
        if let fate = JobFate.beforehand(envelope, now: Date()) {
            guard case .dead(_, "quarantined", _) = fate, await hasMovedOn(envelope) else {
                return await settle(fate, envelope)
            }
        }
        do {
            try await handle(envelope, below: span)
            return .done
        } catch is JobIsSettled {
            do { try await outbox.leaveLine(envelope) } catch {
                log(envelope).warning("a line could not be left", metadata: ["error": "\(error)"])
                return .again(due: Date(timeIntervalSinceNow: 5), envelope)
            }
            return .done
        } catch {
            let fate = JobFate.after(
                error, stop: run.stopped, of: envelope, delay: registry.retryDelay(of: envelope.name),
                jitter: .random(in: 0.5...1))
            if case .again = fate {
                log(envelope).warning(
                    "job failed, will be tried again",
                    metadata: ["attempt": "\(envelope.attempts)", "error": "\(error)"])
            }
            return await settle(fate, envelope)
        }
    }

    /// Whether a job may be done together with others of its name and tenant. One that crashed a worker, waits in
    /// PostgreSQL or is waited for goes alone.
    func canJoinSet(_ envelope: JobEnvelope) -> Bool {
        registry.setHandlers[envelope.name] != nil && envelope.crashes == 0 && envelope.attempts == 0
            && envelope.expiresAt == nil && !envelope.isAwaited && !envelope.payloadIsElsewhere && !envelope.isEphemeral
    }

    /// Does several jobs in one transaction, and each alone when that fails. What is not done when their time is over is
    /// tried again one by one, and counts as tried: whose fault it was, nobody knows.
    func runSet(_ envelopes: [JobEnvelope], _ run: JobRun) async -> [RedisQueue.Outcome] {
        let span = tracer?.begin(envelopes, of: queue)
        do {
            var opened = envelopes
            for position in opened.indices {
                guard let payload = await outbox.seal.opened(opened[position]) else { throw PayloadStaysSealed() }
                opened[position].payload = payload
            }
            try await registry.setHandlers[envelopes[0].name]!(opened, outbox, database)
            span?.end(.done)
            return envelopes.map { _ in .done }
        } catch {
            span?.end(.handedBack)
            logger.debug("a set of jobs failed, each is done alone", metadata: ["error": "\(error)"])
            var outcomes: [RedisQueue.Outcome] = []
            for envelope in envelopes {
                switch run.stopped {
                case nil: outcomes.append(await self.run(envelope, run))
                case .abandoned: outcomes.append(.handedBack)
                case .timeLimit:
                    var next = envelope
                    next.attempts = 1
                    outcomes.append(.again(due: Date(), next))
                }
            }
            return outcomes
        }
    }

    private func handle(_ envelope: JobEnvelope, below span: String?) async throws {
        if envelope.isSerial, try await !outbox.hasTurn(envelope) { throw JobIsSettled() }
        var envelope = envelope
        envelope.payload = try await payload(of: envelope)
        // Seen by the handler alone: a later try hangs below whoever enqueued the job, like this one.
        if let span { envelope.traceparent = span }
        let context = JobContext(envelope: envelope, logger: logger, outbox: outbox, database: database)
        guard let handler = registry.handlers[envelope.name] else {
            // In a rolling deployment a newer worker of the same queue may know the name: wait for it, a day.
            if envelope.id.v7Time > Date(timeIntervalSinceNow: -86_400) { throw NotYet(seconds: 5) }
            throw PermanentFailure(code: "no_handler", message: "no handler for \(envelope.name)")
        }
        if envelope.isTracked { try await noteStart(envelope) }
        try await handler(context)
        // A handler that needed no transaction of its own is settled here.
        if !context.isSettled && !envelope.isEphemeral { try await context.settle() }
    }

    private func settle(_ fate: JobFate, _ envelope: JobEnvelope) async -> RedisQueue.Outcome {
        switch fate {
        case .done: return .done
        case .handedBack: return .handedBack
        case .again(let seconds, let next):
            if seconds >= Retries.nearest && !envelope.isEphemeral {
                do {
                    try await Retries.putOff(next, by: seconds, queue: queue, database: database)
                    return .putOff(next)
                } catch {
                    log(envelope).warning("a try waits in Redis", metadata: ["error": "\(error)"])
                }
            }
            return .again(due: Date(timeIntervalSinceNow: seconds), next)
        case .dead(let last, let code, let message):
            log(envelope).error(
                "job is dead", metadata: ["attempts": "\(last.attempts)", "code": "\(code)", "error": "\(message)"])
            do { try await bury(last, code: code, message: message) } catch {
                log(envelope).warning("death could not be written down", metadata: ["error": "\(error)"])
                return .again(due: Date(timeIntervalSinceNow: 5), last)
            }
            return .dead(last)
        }
    }

    private func log(_ envelope: JobEnvelope) -> Logger { logger.with(envelope) }

    private func bury(_ envelope: JobEnvelope, code: String, message: String) async throws {
        if envelope.isEphemeral { return }
        let context = JobContext(envelope: envelope, logger: logger, outbox: outbox, database: database)
        var statements = [
            context.claim(code == "expired" ? .expired : .dead),
            Statement(
                """
                insert into \(outbox.schema).dead_job (tenant_id, job_id, queue, name, attempts, crashes, code, error)
                values ($1, $2, $3, $4, $5, $6, $7, $8)
                """,
                [
                    envelope.tenant.parameter, .uuid(envelope.id), .text(queue), .text(envelope.name),
                    .int(Int(envelope.attempts)), .int(Int(envelope.crashes)), .text(code), .text(message),
                ]),
        ]
        if envelope.isTracked {
            let isFailure = code != "internal" && code != "quarantined"
            statements.append(
                outbox.end(
                    """
                    state = $3, finished_at = now(),
                    error = coalesce(error, jsonb_build_object('code', $4::text, 'message', $5::text))
                    """,
                    [
                        envelope.tenant.parameter, .uuid(envelope.id), .text(isFailure ? "failed" : "dead"),
                        .text(code), .text(isFailure ? message : "the job failed too often and was set aside"),
                    ]))
        }
        if let group = envelope.group { statements.append(JobGroup.failed(group, tenant: envelope.tenant)) }
        if envelope.isSerial { statements.append(outbox.turnEnded(envelope.id, tenant: envelope.tenant)) }
        do {
            let results = try await database.batch(tenant: envelope.tenant, statements)
            if envelope.isTracked, let user = results[2].firstUser { outbox.live.tell(user, envelope.tenant) }
            if envelope.isSerial { outbox.pushNext(in: results.last!) }
        } catch {
            if !error.isInboxDuplicate { throw error }
            try await outbox.leaveLine(envelope)
        }
    }

    private func noteStart(_ envelope: JobEnvelope) async throws {
        _ = try await database.query(
            tenant: envelope.tenant,
            Statement(
                """
                update \(outbox.schema).job_status
                set state = 'running', started_at = coalesce(started_at, now()),
                    done_before = case when $3 then done else done_before end
                where tenant_id = $1 and id = $2 and (state = 'waiting' or $3)
                """, [envelope.tenant.parameter, .uuid(envelope.id), .bool(envelope.crashes > 0)]))
    }

    /// Whether a job that outlived several workers got further with each of them: a long import of which machines are
    /// taken away is no poison. What stands still between two deaths is.
    private func hasMovedOn(_ envelope: JobEnvelope) async -> Bool {
        guard envelope.isTracked else { return false }
        let rows = try? await database.query(
            tenant: envelope.tenant,
            Statement(
                "select 1 from \(outbox.schema).job_status where tenant_id = $1 and id = $2 and done > done_before",
                [envelope.tenant.parameter, .uuid(envelope.id)]), readOnly: true)
        return rows.map { !$0.isEmpty } ?? false
    }

    /// What the job carries: from Redis where it is there and opens, otherwise from the outbox.
    private func payload(of envelope: JobEnvelope) async throws -> [UInt8] {
        if !envelope.payloadIsElsewhere {
            if let payload = await outbox.seal.opened(envelope) { return payload }
            if envelope.isEphemeral {
                throw PermanentFailure(code: "payload_sealed", message: "\(PayloadStaysSealed())")
            }
        }
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
}

/// What a job carries can't be opened by this process.
private struct PayloadStaysSealed: Error, CustomStringConvertible {
    var description: String { "what the job carries is sealed with a key that is not to be had here" }
}

extension Logger {
    /// The same with the job's id, name and tenant on each line.
    func with(_ envelope: JobEnvelope) -> Logger {
        var copy = self
        copy[metadataKey: "job"] = "\(envelope.id.lowercased)"
        copy[metadataKey: "name"] = "\(envelope.name)"
        copy[metadataKey: "tenant"] = "\(envelope.tenant)"
        if let trace = SpanContext(traceparent: envelope.traceparent)?.traceID {
            copy[metadataKey: "trace"] = "\(trace)"
        }
        return copy
    }
}

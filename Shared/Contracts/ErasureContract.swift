import Foundation
import Jobs
import Records

/// A person was erased from Contacts; the other services may still be at it.
public struct ContactErased: Event {
    public static let name = "contacts.contact.erased"
    public let erasure: UUID
    /// The contact and those merged into it, which are gone with it.
    public let contacts: [UUID]

    public init(erasure: UUID, contacts: [UUID]) {
        self.erasure = erasure
        self.contacts = contacts
    }
}

/// A person is to be erased: every service takes out what it holds of them, and reports to Contacts.
///
/// The only event that carries personal values, since they are what is looked for: it is for services alone, never for
/// webhooks. It is emptied out of the outbox once all have reported.
public struct ErasureRequested: Event {
    public static let name = "contacts.erasure.requested"
    public let erasure: UUID
    /// The contact and those merged into it.
    public let contacts: [UUID]
    /// Who asked.
    public let actor: String
    package let traces: PersonTraces

    package init(_ note: ErasureNote) {
        erasure = note.erasure
        contacts = note.subjects
        actor = note.actor
        traces = note.traces
    }
}

extension ErasureNote {
    /// What the event asks for.
    package init(_ event: ErasureRequested) {
        self.init(erasure: event.erasure, subjects: event.contacts, actor: event.actor, traces: event.traces)
    }
}

/// Tells Contacts what a service has erased.
public struct RecordErasureJob: Job {
    public static let name = "contacts.record-erasure"
    public let erasure: UUID
    package let report: ErasureReport

    package init(erasure: UUID, report: ErasureReport) {
        self.erasure = erasure
        self.report = report
    }
}

extension PersonErasure {
    /// Does a service's part of `event` and reports it.
    package func run(_ event: ErasureRequested, _ context: JobContext) async throws {
        try await run(ErasureNote(event), spared: ErasureRequested.name, context) { report, transaction in
            let job = RecordErasureJob(erasure: event.erasure, report: report)
            context.outbox.enqueue(
                [try PendingJob(job, traceparent: context.traceparent)], in: transaction)
        }
    }
}

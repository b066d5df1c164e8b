import Database
import Foundation

/// What becomes of a job after a run of it: decided from the run's end alone.
enum JobFate: Sendable, Equatable {
    case done
    /// Tried again after so many seconds.
    case again(after: TimeInterval, JobEnvelope)
    /// Set aside, with what an operator reads about it.
    case dead(JobEnvelope, code: String, message: String)
    /// Not run to its end, and through no fault of its own: another worker takes it at once.
    case handedBack

    /// A job that was running in so many workers as they died is set aside: a poisonous job must not take down one
    /// worker after the other.
    static let crashLimit = 2

    /// Seconds between tries while the database is away, which is no fault of the job and says nothing of when it can run.
    static let outageWait: TimeInterval = 2

    /// Why a run was stopped from outside.
    enum Stop: Sendable, Equatable {
        case timeLimit(seconds: Int)
        /// Its lease is gone, its worker ends, or its job was cancelled: what is true of it, the inbox says next time.
        case abandoned
    }

    /// What is decided before anything of the job runs; nil lets it run.
    static func beforehand(_ envelope: JobEnvelope, now: Date) -> JobFate? {
        if envelope.crashes >= crashLimit {
            return .dead(
                envelope, code: "quarantined",
                message: "set aside: \(envelope.crashes) workers died while they ran it")
        }
        if let expiresAt = envelope.expiresAt, now > expiresAt {
            return .dead(envelope, code: "expired", message: "not begun before \(Timestamp.rfc3339(expiresAt))")
        }
        return nil
    }

    /// After an error of its handler, or a stop.
    ///
    /// - Parameter jitter: 0.5 to 1, so that what failed together does not return together.
    static func after(
        _ error: any Error, stop: Stop?, of envelope: JobEnvelope, delay: RetryDelay = RetryDelay(), jitter: Double
    ) -> JobFate {
        var failure = error
        switch stop {
        case .abandoned: return .handedBack
        case .timeLimit(let seconds): failure = JobTimeout(seconds: seconds)
        case nil: if error is CancellationError { return .handedBack }
        }
        var envelope = envelope
        if envelope.payloadIsElsewhere { envelope.payload = [] }
        if let wait = failure as? NotYet { return .again(after: wait.seconds, envelope) }
        // An outage uses up no attempt.
        if (failure as? DatabaseError)?.isOutage == true { return .again(after: outageWait * jitter, envelope) }
        envelope.attempts = envelope.attempts == 255 ? 255 : envelope.attempts + 1
        if let permanent = failure as? PermanentFailure {
            return .dead(envelope, code: permanent.code, message: permanent.message)
        }
        if envelope.attempts >= envelope.maxAttempts { return .dead(envelope, code: "internal", message: "\(failure)") }
        return .again(after: delay.seconds(after: envelope.attempts) * jitter, envelope)
    }

}

/// Thrown by a handler whose time has not come: the job is tried again later, and uses up no attempt.
package struct NotYet: Error {
    package let seconds: TimeInterval

    package init(seconds: TimeInterval) { self.seconds = seconds }
}

/// A job took longer than its time limit and was cancelled. It counts as a failed attempt.
struct JobTimeout: Error, CustomStringConvertible {
    let seconds: Int
    var description: String { "cancelled after its time limit of \(seconds) s" }
}

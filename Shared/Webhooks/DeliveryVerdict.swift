/// What to do after an attempt.
package enum DeliveryVerdict: Sendable, Equatable {
    /// The receiver has it.
    case delivered
    /// Try again: after the caller's own backoff, and not before `after` if the receiver asked for a pause (at most one
    /// hour).
    case retry(after: Duration?, DeliveryFailure)
    /// The receiver wants no more of this subscription: switch it off and tell its owner.
    case disable(DeliveryFailure)

    /// The longest pause that a receiver can ask for.
    package static let longestPause = Duration.seconds(3_600)

    /// Judges `outcome`.
    ///
    /// Standard Webhooks: 2xx is delivered, 410 means never again, everything else is a failure. A redirect isn't
    /// followed but retried like any failure, since a receiver under maintenance may send one for a while.
    ///
    /// - Parameter now: Unix seconds, for a `Retry-After` that is a date. It is heeded with 429 and 503.
    package init(_ outcome: DeliveryOutcome, now: Int) {
        switch outcome.result {
        case .failure(let failure):
            self = .retry(after: nil, failure)
        case .success(let answer):
            switch answer.status {
            case 200...299:
                self = .delivered
            case 300...399:
                let place = answer.location.map { " to \($0)" } ?? ""
                self = .retry(
                    after: nil,
                    DeliveryFailure(
                        code: .redirect,
                        message: "The receiver answered \(answer.status), a redirect\(place), which is not followed."))
            case 410:
                self = .disable(
                    DeliveryFailure(code: .status, message: "The receiver answered 410: it wants no more deliveries."))
            default:
                let pause = [429, 503].contains(answer.status) ? answer.retryAfter : nil
                self = .retry(
                    after: pause.flatMap { RetryAfter.pause($0, now: now) }.map { min($0, Self.longestPause) },
                    DeliveryFailure(code: .status, message: "The receiver answered \(answer.status)."))
            }
        }
    }
}

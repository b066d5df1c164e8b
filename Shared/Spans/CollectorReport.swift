import Logging

/// Tells the log about the collector: when its state changes, not at every try, since a collector may be away for days.
struct CollectorReport {
    private enum State {
        case well, away, refusing
    }

    /// Spans of batches that were under way when the time was up.
    var givenUp = 0
    private let url: String
    private let logger: Logger
    private var state = State.well
    private var since = ContinuousClock.now
    /// When spans were last reported as rejected, and how many have been since.
    private var lastRejection: ContinuousClock.Instant?
    private var unreportedRejections = 0

    init(url: String, logger: Logger) {
        self.url = url
        self.logger = logger
    }

    mutating func taken(rejected: Int, message: String) {
        if state != .well {
            let away = "\((ContinuousClock.now - since).components.seconds)"
            logger.info("the collector takes spans again", metadata: ["url": "\(url)", "seconds": "\(away)"])
            state = .well
        }
        if rejected > 0 {
            note(rejected: rejected, message)
        } else if !message.isEmpty {
            // By OTLP's rules a warning: everything was taken, but something about it could be better.
            logger.debug("the collector has a remark", metadata: ["url": "\(url)", "remark": "\(message)"])
        }
    }

    mutating func unavailable(_ reason: String, queued: Int) {
        guard enter(.away) else { return }
        logger.warning(
            "the collector can't be reached; spans are kept",
            metadata: ["url": "\(url)", "error": "\(reason)", "spans": "\(queued)"])
    }

    mutating func refused(_ reason: String, spans: Int) {
        guard enter(.refusing) else { return }
        logger.warning(
            "the collector refuses spans; they are dropped",
            metadata: ["url": "\(url)", "error": "\(reason)", "spans": "\(spans)"])
    }

    /// - Parameter dropped: spans still queued.
    func gaveUp(dropped: Int) {
        logger.warning(
            "spans could not be sent before the end",
            metadata: ["url": "\(url)", "spans": "\(givenUp + dropped)"])
    }

    /// True when this is news.
    private mutating func enter(_ new: State) -> Bool {
        if state == new { return false }
        if state == .well { since = .now }
        state = new
        return true
    }

    /// A collector that finds fault with one span does with many: one line a minute, with the sum.
    private mutating func note(rejected: Int, _ message: String) {
        unreportedRejections += rejected
        let now = ContinuousClock.now
        if let lastRejection, now - lastRejection < .seconds(60) { return }
        logger.warning(
            "the collector rejected some spans",
            metadata: ["url": "\(url)", "error": "\(message)", "spans": "\(unreportedRejections)"])
        (lastRejection, unreportedRejections) = (now, 0)
    }
}

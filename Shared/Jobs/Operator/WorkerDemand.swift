import Foundation

/// How many workers a queue needs, from what is measured of it.
///
/// Little's law (L = λ·W: the jobs in service are the arrivals per second times the seconds that each takes) gives the
/// slots that are busy while nothing piles up, λ·s. A backlog of b jobs that is to be gone within the objective of T
/// seconds keeps b·s/T more busy. A worker has c slots, so the number wanted is (λ·s + b·s/T) / c, rounded up. Models of
/// waiting lines (M/M/c) would add room for chance; the measured backlog says the same a moment later, and holds for any
/// distribution.
package struct WorkerDemand: Sendable, Equatable {
    /// Jobs per second that are enqueued.
    package var arrivalRate: Double
    /// Seconds that a job runs, on average.
    package var meanSeconds: Double
    /// Jobs that could run now and do not, wherever they wait.
    package var backlog: Int
    /// Workers there are now.
    package var workers: Int

    package init(arrivalRate: Double, meanSeconds: Double, backlog: Int, workers: Int) {
        self.arrivalRate = max(0, arrivalRate)
        self.meanSeconds = max(0, meanSeconds)
        self.backlog = max(0, backlog)
        self.workers = max(0, workers)
    }

    /// What is wanted of a service's workers.
    package struct Goal: Sendable, Equatable {
        /// Jobs that one worker runs at once in the queue.
        package var concurrency = 16
        /// Seconds within which what waits is to have begun.
        package var objective = 10.0
        package var minimum = 1
        package var maximum = 8

        package init() {}
    }

    /// The workers wanted now, between the goal's minimum and maximum.
    package func needed(for goal: Goal) -> Int {
        let slots = arrivalRate * meanSeconds + Double(backlog) * meanSeconds / max(goal.objective, 0.001)
        // A hair above a whole number is rounding, not need.
        let exact = slots / Double(max(1, goal.concurrency)) - 1e-9
        let needed = exact >= Double(goal.maximum) ? goal.maximum : Int(exact.rounded(.up))
        // What waits needs somebody, however short it is.
        let least = backlog > 0 || arrivalRate > 0 ? 1 : 0
        return min(goal.maximum, max(needed, least, goal.minimum))
    }

    /// Seconds until `workers` have emptied the backlog while more arrives; nil when they never will.
    package func drainSeconds(workers: Int, concurrency: Int) -> Double? {
        if backlog == 0 { return 0 }
        if workers == 0 { return nil }
        if meanSeconds == 0 { return 0 }
        let spare = Double(workers * max(1, concurrency)) / meanSeconds - arrivalRate
        return spare > 0 ? Double(backlog) / spare : nil
    }
}

/// A number of workers that follows the demand up at once, and down only when the lower demand has lasted, and then to
/// half of it at most: a lull of a minute must not cost the next minute its workers.
package struct WorkerScale: Sendable, Equatable {
    /// Seconds for which fewer must have been enough.
    package static let patience = 60.0

    package private(set) var wanted: Int
    private var lowSince: Double?
    /// The most that was needed since then.
    private var mostSince = 0

    package init(wanted: Int) { self.wanted = wanted }

    /// Takes in what is needed at a time, in seconds of any clock that never goes back, and gives the number wanted.
    package mutating func follow(_ needed: Int, at now: Double) -> Int {
        guard needed < wanted else {
            wanted = needed
            lowSince = nil
            return wanted
        }
        guard let since = lowSince else {
            lowSince = now
            mostSince = needed
            return wanted
        }
        mostSince = max(mostSince, needed)
        if now - since >= Self.patience {
            wanted = max(mostSince, (wanted + 1) / 2)
            lowSince = now
            mostSince = needed
        }
        return wanted
    }
}

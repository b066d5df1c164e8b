/// Pauses between tries: each about twice as long as the one before, and random, so that the services don't all come
/// back to a collector in the same moment.
struct Backoff {
    private let first: Duration
    private let longest: Duration

    init(_ pace: SpanExporter.Pace) {
        first = pace.firstPause
        longest = max(pace.firstPause, pace.longestPause)
    }

    /// After so many failures in a row, at least 1: from `first` up to `longest`.
    func pause(after failures: Int) -> Duration {
        // Shifts beyond 30 would be years in any case.
        let ceiling = min(longest, first * (1 << min(failures, 30)))
        let floor = max(first, ceiling / 2)
        return floor + (ceiling - floor) * Double.random(in: 0...1)
    }
}

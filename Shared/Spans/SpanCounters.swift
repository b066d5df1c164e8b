import Synchronization

/// Counts what becomes of spans, from any thread.
final class SpanCounters: Sendable {
    private let exported = Atomic<Int>(0)
    private let dropped = Atomic<Int>(0)
    private let rejected = Atomic<Int>(0)
    private let failedBatches = Atomic<Int>(0)
    private let retries = Atomic<Int>(0)

    func export(_ spans: Int) { exported.add(spans, ordering: .relaxed) }
    func drop(_ spans: Int) { dropped.add(spans, ordering: .relaxed) }
    func reject(_ spans: Int) { rejected.add(spans, ordering: .relaxed) }
    func failBatch() { failedBatches.add(1, ordering: .relaxed) }
    func retry() { retries.add(1, ordering: .relaxed) }

    func counts(queued: Int) -> SpanExporter.Counts {
        SpanExporter.Counts(
            exported: exported.load(ordering: .relaxed), dropped: dropped.load(ordering: .relaxed),
            rejected: rejected.load(ordering: .relaxed), failedBatches: failedBatches.load(ordering: .relaxed),
            retries: retries.load(ordering: .relaxed), queued: queued)
    }
}

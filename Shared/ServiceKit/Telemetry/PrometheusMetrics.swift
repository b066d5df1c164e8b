import CoreMetrics
import Synchronization

/// Keeps metrics and prints them as Prometheus text (format 0.0.4). Nothing that reaches Swift Prometheus is to be had
/// here, and what it does for us is this page.
package final class PrometheusMetrics: MetricsFactory {
    private enum Instrument {
        case counter(CounterCell)
        case gauge(GaugeCell)
        case histogram(HistogramCell)
    }

    private struct Series: Hashable {
        let name: String
        let labels: String
    }

    private let instruments = Mutex<[Series: Instrument]>([:])

    package init() {}

    /// Gives the cell of a name and its dimensions, made on first use.
    private func cell<Cell>(
        _ label: String, _ dimensions: [(String, String)], make: () -> (Cell, Instrument), read: (Instrument) -> Cell?
    ) -> Cell {
        let series = Series(name: Self.clean(label), labels: Self.labels(dimensions))
        return instruments.withLock { instruments in
            if let known = instruments[series], let cell = read(known) { return cell }
            let (cell, instrument) = make()
            instruments[series] = instrument
            return cell
        }
    }

    /// A counter, printed as `<label>_total`; the same cell for the same label and dimensions.
    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        cell(label, dimensions) {
            let cell = CounterCell()
            return (cell, .counter(cell))
        } read: {
            if case .counter(let cell) = $0 { cell } else { nil }
        }
    }

    /// A gauge; the same cell for the same label and dimensions.
    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        cell(label, dimensions) {
            let cell = GaugeCell()
            return (cell, .gauge(cell))
        } read: {
            if case .gauge(let cell) = $0 { cell } else { nil }
        }
    }

    /// A gauge of the last value; the same cell for the same label and dimensions.
    package func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        cell(label, dimensions) {
            let cell = GaugeCell()
            return (cell, .gauge(cell))
        } read: {
            if case .gauge(let cell) = $0 { cell } else { nil }
        }
    }

    /// A histogram, printed as `<label>_seconds`; the same cell for the same label and dimensions.
    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        cell(label, dimensions) {
            let cell = HistogramCell()
            return (cell, .histogram(cell))
        } read: {
            if case .histogram(let cell) = $0 { cell } else { nil }
        }
    }

    // Cells are shared by name: none goes while the process lives.
    /// Does nothing: the cell may be shared.
    package func destroyCounter(_ handler: any CounterHandler) {}
    /// Does nothing: the cell may be shared.
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    /// Does nothing: the cell may be shared.
    package func destroyTimer(_ handler: any TimerHandler) {}
    /// Does nothing: the cell may be shared.
    package func destroyMeter(_ handler: any MeterHandler) {}

    /// How often a timer was recorded in this process, whatever its further dimensions, and the seconds of all together;
    /// nothing where it never was.
    package func timed(_ label: String, _ dimensions: [(String, String)]) -> (count: Int, seconds: Double) {
        let (name, wanted) = (Self.clean(label), dimensions.map { Self.labels([$0]) })
        let found = instruments.withLock { instruments in
            instruments.filter { series, _ in series.name == name && wanted.allSatisfy(series.labels.contains) }
        }
        return found.values.reduce(into: (count: 0, seconds: 0.0)) { sum, instrument in
            guard case .histogram(let cell) = instrument else { return }
            sum.count += cell.total.count
            sum.seconds += cell.total.seconds
        }
    }

    /// All metrics as text.
    package var text: String {
        let all = instruments.withLock { $0 }
        var out = ""
        for (name, group) in Dictionary(grouping: all, by: \.key.name).sorted(by: { $0.key < $1.key }) {
            let members = group.sorted { $0.key.labels < $1.key.labels }
            switch members[0].value {
            case .counter: out += "# TYPE \(name)_total counter\n"
            case .gauge: out += "# TYPE \(name) gauge\n"
            case .histogram: out += "# TYPE \(name)_seconds histogram\n"
            }
            for (series, instrument) in members {
                let labels = series.labels.isEmpty ? "" : "{\(series.labels)}"
                switch instrument {
                case .counter(let cell): out += "\(name)_total\(labels) \(cell.value)\n"
                case .gauge(let cell): out += "\(name)\(labels) \(cell.value)\n"
                case .histogram(let cell): out += cell.text(name: name + "_seconds", labels: series.labels)
                }
            }
        }
        return out
    }

    private static func clean(_ name: String) -> String {
        String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") ? $0 : "_" })
    }

    private static func labels(_ dimensions: [(String, String)]) -> String {
        dimensions.sorted { $0.0 < $1.0 }.map { name, value in
            let escaped = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
            return "\(clean(name))=\"\(escaped)\""
        }.joined(separator: ",")
    }
}

private final class CounterCell: CounterHandler {
    private let count = Atomic<Int64>(0)
    var value: Int64 { count.load(ordering: .relaxed) }
    func increment(by amount: Int64) { count.add(amount, ordering: .relaxed) }
    func reset() { count.store(0, ordering: .relaxed) }
}

private final class GaugeCell: MeterHandler, RecorderHandler {
    private let number = Mutex(0.0)
    var value: Double { number.withLock { $0 } }
    func set(_ value: Int64) { number.withLock { $0 = Double(value) } }
    func set(_ value: Double) { number.withLock { $0 = value } }
    func increment(by amount: Double) { number.withLock { $0 += amount } }
    func decrement(by amount: Double) { number.withLock { $0 -= amount } }
    func record(_ value: Int64) { set(value) }
    func record(_ value: Double) { set(value) }
}

private final class HistogramCell: TimerHandler {
    /// Seconds; from half a millisecond, what an idle system takes, to an hour, the longest wait worth telling apart.
    private static let bounds = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600,
    ]
    private let state = Mutex((counts: [Int](repeating: 0, count: bounds.count + 1), sum: 0.0))

    func recordNanoseconds(_ duration: Int64) {
        let seconds = Double(duration) / 1e9
        let index = Self.bounds.firstIndex { seconds <= $0 } ?? Self.bounds.count
        state.withLock { state in
            state.counts[index] += 1
            state.sum += seconds
        }
    }

    var total: (count: Int, seconds: Double) { state.withLock { ($0.counts.reduce(0, +), $0.sum) } }

    func text(name: String, labels: String) -> String {
        let (counts, sum) = state.withLock { $0 }
        let prefix = labels.isEmpty ? "" : labels + ","
        var out = ""
        var total = 0
        for (bound, count) in zip(Self.bounds.map { "\($0)" } + ["+Inf"], counts) {
            total += count
            out += "\(name)_bucket{\(prefix)le=\"\(bound)\"} \(total)\n"
        }
        let braces = labels.isEmpty ? "" : "{\(labels)}"
        return out + "\(name)_sum\(braces) \(sum)\n\(name)_count\(braces) \(total)\n"
    }
}

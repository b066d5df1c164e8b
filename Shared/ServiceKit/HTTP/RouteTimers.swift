import Metrics
import Synchronization

/// How long the answers of one route took, by the class of their status: `guanxi_http_request_seconds`.
///
/// Each is made once, with the first answer of its class: to find a metric by name and labels costs more than to answer
/// a small request.
final class RouteTimers: Sendable {
    private let route: String
    private let method: String
    private let classes = Mutex<[Metrics.Timer?]>(Array(repeating: nil, count: 5))

    init(route: String, method: String) {
        self.route = route
        self.method = method
    }

    func record(_ duration: Duration, status: Int) {
        let index = min(max(status / 100, 1), 5) - 1
        let timer = classes.withLock { classes in
            if let known = classes[index] { return known }
            let made = Metrics.Timer(
                label: "guanxi_http_request",
                dimensions: [("route", route), ("method", method), ("status", "\(index + 1)xx")])
            classes[index] = made
            return made
        }
        timer.recordNanoseconds(Int64(duration / .nanoseconds(1)))
    }
}

/// Decides which waiting delivery starts next: a few at once per host, so that a slow receiver holds up only its own
/// deliveries, and hosts in turn, so that one with thousands waiting doesn't take every place.
struct DeliveryQueue {
    private struct Host {
        var waiting: [UInt64] = []
        var running = 0
    }

    private let perHost: Int
    private let atOnce: Int
    private var hosts: [String: Host] = [:]
    /// The hosts that have something waiting and room for it, each once, the next one first.
    private var turn: [String] = []
    private var running = 0

    init(perHost: Int, atOnce: Int) {
        self.perHost = perHost
        self.atOnce = atOnce
    }

    mutating func add(_ id: UInt64, host name: String) {
        hosts[name, default: Host()].waiting.append(id)
        giveTurn(name)
    }

    /// Takes out a delivery that has not started.
    mutating func remove(_ id: UInt64, host name: String) {
        guard var host = hosts[name], let index = host.waiting.firstIndex(of: id) else { return }
        host.waiting.remove(at: index)
        keep(host, name)
        if host.waiting.isEmpty { turn.removeAll { $0 == name } }
    }

    /// The delivery to start now, counted as running until `finish`; nil when there is none or no room.
    mutating func next() -> UInt64? {
        guard running < atOnce, !turn.isEmpty else { return nil }
        let name = turn.removeFirst()
        let id = hosts[name]!.waiting.removeFirst()
        hosts[name]!.running += 1
        running += 1
        giveTurn(name)
        return id
    }

    /// Gives back the place of a delivery that `next` gave.
    mutating func finish(host name: String) {
        guard var host = hosts[name] else { return }
        host.running -= 1
        running -= 1
        keep(host, name)
        giveTurn(name)
    }

    private mutating func giveTurn(_ name: String) {
        guard let host = hosts[name], !host.waiting.isEmpty, host.running < perHost, !turn.contains(name) else {
            return
        }
        turn.append(name)
    }

    private mutating func keep(_ host: Host, _ name: String) {
        hosts[name] = host.waiting.isEmpty && host.running == 0 ? nil : host
    }
}

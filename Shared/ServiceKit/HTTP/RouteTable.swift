import Foundation

/// Finds the endpoint of a path, segment by segment. A literal segment wins over a placeholder; a path that can't be
/// decoded matches nothing.
struct RouteTable: Sendable {
    /// An endpoint and the histograms of its answers, which are made once.
    final class Route: Sendable {
        let endpoint: Endpoint
        let timers: RouteTimers
        /// The names in braces, in the order of the path.
        fileprivate let names: [String]

        fileprivate init(_ endpoint: Endpoint, names: [String]) {
            self.endpoint = endpoint
            self.names = names
            timers = RouteTimers(route: endpoint.path, method: endpoint.method.rawValue)
        }
    }

    enum Match {
        case found(Route, [String: String])
        /// The path is known, with these other methods.
        case otherMethod([String])
        case none
    }

    /// One position in a path: what may follow, and what ends here.
    private final class Node: Sendable {
        private let literals: [String: Node]
        private let placeholder: Node?
        let routes: [String: Route]

        /// Endpoints with what is left of their paths, and the names in braces that stood before.
        init(_ endpoints: [(endpoint: Endpoint, rest: ArraySlice<String>, names: [String])]) {
            var routes: [String: Route] = [:]
            for (endpoint, rest, names) in endpoints where rest.isEmpty {
                routes[endpoint.method.rawValue] = Route(endpoint, names: names)
            }
            self.routes = routes
            let groups = Dictionary(grouping: endpoints.filter { !$0.rest.isEmpty }) {
                $0.rest.first!.hasPrefix("{") ? "{" : $0.rest.first!
            }
            literals = groups.filter { $0.key != "{" }.mapValues { group in
                Node(group.map { ($0.endpoint, $0.rest.dropFirst(), $0.names) })
            }
            placeholder = groups["{"].map { group in
                Node(
                    group.map {
                        ($0.endpoint, $0.rest.dropFirst(), $0.names + [String($0.rest.first!.dropFirst().dropLast())])
                    })
            }
        }

        /// The node where the segments end; `values` collects what stood at the placeholders.
        func find(_ segments: ArraySlice<String>, _ values: inout [String]) -> Node? {
            guard let segment = segments.first else { return routes.isEmpty ? nil : self }
            let rest = segments.dropFirst()
            if let found = literals[segment]?.find(rest, &values) { return found }
            guard let placeholder else { return nil }
            values.append(segment)
            if let found = placeholder.find(rest, &values) { return found }
            values.removeLast()
            return nil
        }
    }

    private let root: Node

    init(_ endpoints: [Endpoint]) {
        root = Node(endpoints.map { ($0, $0.path.split(separator: "/").map(String.init)[...], []) })
    }

    func match(method: String, path: Substring) -> Match {
        var segments: [String] = []
        for raw in path.utf8.split(separator: UInt8(ascii: "/")) {
            guard let segment = Self.decoded(Substring(raw)) else { return .none }
            segments.append(segment)
        }
        var values: [String] = []
        guard let node = root.find(segments[...], &values) else { return .none }
        guard let route = node.routes[method] else { return .otherMethod(node.routes.keys.sorted()) }
        return .found(route, Dictionary(zip(route.names, values)) { $1 })
    }

    /// Percent decoding; nil for a broken escape, text that is not UTF-8, or control characters.
    static func decoded(_ text: Substring, plusIsSpace: Bool = false) -> String? {
        if !text.utf8.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") || $0 == 0 }) {
            return String(text)
        }
        var bytes: [UInt8] = []
        var iterator = text.utf8.makeIterator()
        while let byte = iterator.next() {
            if byte == UInt8(ascii: "%") {
                guard let high = iterator.next().flatMap(nibble), let low = iterator.next().flatMap(nibble) else {
                    return nil
                }
                bytes.append(high << 4 | low)
            } else {
                bytes.append(plusIsSpace && byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
            }
        }
        return bytes.contains(0) ? nil : String(validating: bytes, as: UTF8.self)
    }

    private static func nibble(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }
}

import Foundation

/// Finds the endpoint of a path. Segments are compared after decoding; a path that can't be decoded matches nothing.
struct RouteTable: Sendable {
    enum Match {
        case found(Endpoint, [String: String])
        /// The path is known, with these other methods.
        case otherMethod([String])
        case none
    }

    private struct Route: Sendable {
        let segments: [String]
        let endpoint: Endpoint
    }

    /// By the number of segments and the second one, which is the record type's path.
    private var routes: [String: [Route]] = [:]

    init(_ endpoints: [Endpoint]) {
        for endpoint in endpoints {
            let segments = endpoint.path.split(separator: "/").map(String.init)
            routes[Self.key(segments), default: []].append(Route(segments: segments, endpoint: endpoint))
        }
        // Literal segments win over placeholders.
        for key in routes.keys {
            routes[key]!.sort { left, right in
                left.segments.filter { $0.hasPrefix("{") }.count < right.segments.filter { $0.hasPrefix("{") }.count
            }
        }
    }

    private static func key(_ segments: [String]) -> String {
        "\(segments.count)/\(segments.count > 1 ? segments[1] : segments.first ?? "")"
    }

    func match(method: String, path: Substring) -> Match {
        var segments: [String] = []
        for raw in path.split(separator: "/") {
            guard let segment = Self.decoded(raw) else { return .none }
            segments.append(segment)
        }
        var methods: [String] = []
        for route in routes[Self.key(segments)] ?? [] {
            guard let values = Self.values(route.segments, segments) else { continue }
            if route.endpoint.method.rawValue == method { return .found(route.endpoint, values) }
            if !methods.contains(route.endpoint.method.rawValue) { methods.append(route.endpoint.method.rawValue) }
        }
        return methods.isEmpty ? .none : .otherMethod(methods)
    }

    private static func values(_ pattern: [String], _ segments: [String]) -> [String: String]? {
        var values: [String: String] = [:]
        for (part, segment) in zip(pattern, segments) {
            if part.hasPrefix("{") {
                values[String(part.dropFirst().dropLast())] = segment
            } else if part != segment {
                return nil
            }
        }
        return values
    }

    /// Percent decoding; nil for a broken escape, text that is not UTF-8, or control characters.
    static func decoded(_ text: Substring, plusIsSpace: Bool = false) -> String? {
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

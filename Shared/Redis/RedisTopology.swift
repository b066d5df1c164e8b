import Foundation

/// Where one Redis server listens.
package struct RedisAddress: Hashable, Sendable, CustomStringConvertible {
    package let host: String
    package let port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads `host:port`; the port defaults to 6379.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard let host = parts.first, !host.isEmpty, parts.count <= 2 else { return nil }
        guard let port = parts.count == 2 ? Int(parts[1]) : 6379, (1...65_535).contains(port) else { return nil }
        self.init(host: String(host), port: port)
    }

    package var description: String { "\(host):\(port)" }
}

/// How Redis is set up: the one value that tells a client apart from the next.
package enum RedisTopology: Sendable, Equatable, CustomStringConvertible {
    /// One server: `redis://[:password@]host:port`.
    case single(RedisAddress)
    /// A master that sentinels know by name: `sentinel://host:port,host:port/name`.
    case sentinel([RedisAddress], master: String)
    /// A cluster, known by some of its nodes: `cluster://host:port,host:port`.
    case cluster([RedisAddress])

    /// Reads one of the three forms; nil when it is none of them.
    package init?(_ text: String) {
        guard let separator = text.range(of: "://") else { return nil }
        var rest = text[separator.upperBound...]
        if let at = rest.lastIndex(of: "@") { rest = rest[rest.index(after: at)...] }
        let path = rest.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let addresses = path[0].split(separator: ",").map { RedisAddress($0) }
        guard !addresses.isEmpty, !addresses.contains(where: { $0 == nil }) else { return nil }
        let known = addresses.compactMap { $0 }
        switch text[..<separator.lowerBound] {
        case "redis" where known.count == 1:
            self = .single(known[0])
        case "sentinel":
            guard path.count == 2, !path[1].isEmpty else { return nil }
            self = .sentinel(known, master: String(path[1]))
        case "cluster":
            self = .cluster(known)
        default:
            return nil
        }
    }

    /// The password within a configuration value, between `:` and `@`.
    package static func password(in text: String) -> String? {
        guard let start = text.range(of: "://"), let at = text.lastIndex(of: "@"), at > start.upperBound else {
            return nil
        }
        let credentials = text[start.upperBound..<at]
        guard let colon = credentials.firstIndex(of: ":") else { return nil }
        return String(credentials[credentials.index(after: colon)...])
    }

    package var description: String {
        switch self {
        case .single(let address): return "redis://\(address)"
        case .sentinel(let addresses, let master):
            return "sentinel://\(addresses.map(\.description).joined(separator: ","))/\(master)"
        case .cluster(let addresses): return "cluster://\(addresses.map(\.description).joined(separator: ","))"
        }
    }
}

/// The hash slot of a key, as Redis Cluster counts it: CRC16 (XMODEM) of the part between the first `{` and the next
/// `}`, or of the whole key, modulo 16,384.
package func redisSlot(of key: String) -> Int {
    var bytes = Substring(key).utf8
    if let open = bytes.firstIndex(of: UInt8(ascii: "{")) {
        let rest = bytes[bytes.index(after: open)...]
        if let close = rest.firstIndex(of: UInt8(ascii: "}")), close != rest.startIndex {
            bytes = rest[..<close]
        }
    }
    var crc: UInt16 = 0
    for byte in bytes {
        crc ^= UInt16(byte) << 8
        for _ in 0..<8 { crc = crc & 0x8000 != 0 ? (crc << 1) ^ 0x1021 : crc << 1 }
    }
    return Int(crc % 16_384)
}

import Foundation
import Synchronization
import ThreadExecutor

/// A request as a receiver got it.
package struct ReceivedRequest: Sendable {
    package let head: String
    package let body: [UInt8]

    /// The value of a header field by its name in lower case.
    package func field(_ name: String) -> String? {
        for line in head.split(separator: "\r\n").dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2, parts[0].lowercased() == name { return parts[1].trimmingCharacters(in: .whitespaces) }
        }
        return nil
    }
}

/// A receiver of HTTP requests on a free port of a loopback address: reads them and lets the test do the rest, each
/// connection on a thread of its own.
package final class Receiver: Sendable {
    package let port: Int
    private let listener: Int32
    private let serve: @Sendable (Connection) -> Bool
    private let log = Mutex<(requests: [ReceivedRequest], connections: Int)>(([], 0))

    /// - Parameters:
    ///   - isListening: false for one that can't be connected to before `listen()`, but keeps its port.
    ///   - serve: answers one request, the connection's `request`; false when the connection is to be closed.
    package init(
        address: String = "127.0.0.1", isListening: Bool = true, serve: @escaping @Sendable (Connection) -> Bool
    ) throws {
        (listener, port) = try Self.bind(address)
        self.serve = serve
        if isListening { listen() }
    }

    /// Answers every request with `answer` and keeps the connection open.
    package convenience init(address: String = "127.0.0.1", answer: String) throws {
        try self.init(address: address) { connection in
            connection.send(answer)
            return true
        }
    }

    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    package var requests: [ReceivedRequest] { log.withLock { $0.requests } }

    /// How many connections were opened so far.
    package var connections: Int { log.withLock { $0.connections } }

    package func listen() {
        Glibc.listen(listener, 128)
        OSThread.start { [weak self, listener] in
            while true {
                let socket = accept(listener, nil, nil)
                if socket < 0 { break }
                OSThread.start { [self] in self?.hold(Connection(socket: socket)) }
            }
            Glibc.close(listener)
        }
    }

    /// A port on which nobody listens.
    package static func freePort() throws -> Int {
        let (listener, port) = try bind("127.0.0.1")
        Glibc.close(listener)
        return port
    }

    private func hold(_ connection: Connection) {
        var connection = connection
        log.withLock { $0.connections += 1 }
        while let request = connection.receive() {
            log.withLock { $0.requests.append(request) }
            connection.request = request
            if !serve(connection) { break }
        }
        connection.close()
    }

    private static func bind(_ address: String) throws -> (Int32, Int) {
        let isSix = address.contains(":")
        let listener = socket(isSix ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var four = sockaddr_in()
        var six = sockaddr_in6()
        four.sin_family = sa_family_t(AF_INET)
        six.sin6_family = sa_family_t(AF_INET6)
        _ = isSix ? inet_pton(AF_INET6, address, &six.sin6_addr) : inet_pton(AF_INET, address, &four.sin_addr)
        var storage = sockaddr_storage()
        var length = socklen_t(isSix ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &storage) { pointer in
            let raw = UnsafeMutableRawPointer(pointer)
            if isSix { raw.storeBytes(of: six, as: sockaddr_in6.self) }
            if !isSix { raw.storeBytes(of: four, as: sockaddr_in.self) }
            let address = raw.assumingMemoryBound(to: sockaddr.self)
            return Glibc.bind(listener, address, length) == 0 ? getsockname(listener, address, &length) : -1
        }
        guard status == 0 else {
            Glibc.close(listener)
            throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO)
        }
        // The port lies at the same place in both.
        let port = withUnsafeBytes(of: storage) { UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self)) }
        return (listener, Int(port))
    }
}

/// A connection that a receiver has accepted.
package struct Connection: Sendable {
    package let socket: Int32
    /// What was received last.
    package var request: ReceivedRequest?

    package init(socket: Int32) { self.socket = socket }

    /// False when the other side is gone.
    @discardableResult
    package func send(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return false }
            sent += count
        }
        return true
    }

    /// Blocks until the other side closes, at most 20 s.
    package func waitForEnd() {
        var byte: UInt8 = 0
        while recv(socket, &byte, 1, 0) > 0 {}
    }

    /// The next request; nil when the other side closes or sends nothing for 20 s.
    package func receive() -> ReceivedRequest? {
        var patience = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var head: [UInt8] = []
        var byte: UInt8 = 0
        while !head.suffix(4).elementsEqual([13, 10, 13, 10]) {
            guard recv(socket, &byte, 1, 0) == 1 else { return nil }
            head.append(byte)
        }
        let request = ReceivedRequest(head: String(decoding: head, as: UTF8.self), body: [])
        var body = [UInt8](repeating: 0, count: request.field("content-length").flatMap { Int($0) } ?? 0)
        var filled = 0
        while filled < body.count {
            let count = body[filled...].withUnsafeMutableBytes { recv(socket, $0.baseAddress, $0.count, 0) }
            if count <= 0 { return nil }
            filled += count
        }
        return ReceivedRequest(head: request.head, body: body)
    }

    package func close() { Glibc.close(socket) }
}

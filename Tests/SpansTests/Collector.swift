import Foundation
import Synchronization
import ThreadExecutor

#if canImport(Glibc)
    import Glibc
#endif

/// A collector on a free port of 127.0.0.1 that answers as it is told to, each connection on a thread of its own.
final class Collector: Sendable {
    enum Answer: Sendable {
        case ok
        case partialSuccess(rejected: Int, message: String)
        case status(Int, fields: String = "", body: String = "")
        /// Reads the request and never answers.
        case hang
        /// Reads the request and closes the connection.
        case close
    }

    private struct State {
        var script: [Answer] = []
        var otherwise = Answer.ok
        var requests: [ReceivedRequest] = []
        var connections = 0
    }

    let port: Int
    private let listener: Int32
    private let state: Mutex<State>

    /// - Parameter isListening: false for one that can't be connected to before `listen()`, but keeps its port.
    init(_ script: [Answer] = [], otherwise: Answer = .ok, isListening: Bool = true) throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 ? getsockname(listener, $0, &length) : -1
            }
        }
        guard status == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        self.listener = listener
        port = Int(UInt16(bigEndian: address.sin_port))
        state = Mutex(State(script: script, otherwise: otherwise))
        if isListening { listen() }
    }

    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    var endpoint: String { "http://127.0.0.1:\(port)" }

    /// What was received so far, whatever was answered.
    var requests: [ReceivedRequest] { state.withLock { $0.requests } }

    /// How many connections were opened so far.
    var connections: Int { state.withLock { $0.connections } }

    /// The names of the spans that were answered with success.
    var takenNames: [String] { requests.filter(\.isTaken).flatMap(\.spans).compactMap { $0["name"] as? String } }

    /// Answers like this from now on.
    func answer(_ answer: Answer) { state.withLock { ($0.script, $0.otherwise) = ([], answer) } }

    func listen() {
        Glibc.listen(listener, 128)
        OSThread.start { [weak self, listener] in
            while true {
                let socket = accept(listener, nil, nil)
                if socket < 0 { break }
                OSThread.start { [self] in
                    self?.serve(socket)
                    Glibc.close(socket)
                }
            }
            Glibc.close(listener)
        }
    }

    private func serve(_ socket: Int32) {
        state.withLock { $0.connections += 1 }
        while let (head, body) = Wire.receive(socket) {
            let answer = state.withLock { state in
                let answer = state.script.isEmpty ? state.otherwise : state.script.removeFirst()
                state.requests.append(ReceivedRequest(head: head, body: body, answer: answer))
                return answer
            }
            switch answer {
            case .ok: Wire.send(socket, 200, body: "{}")
            case .partialSuccess(let rejected, let message):
                let text = #"{"partialSuccess":{"rejectedSpans":"\#(rejected)","errorMessage":"\#(message)"}}"#
                Wire.send(socket, 200, body: text)
            case .status(let status, let fields, let body): Wire.send(socket, status, fields: fields, body: body)
            case .hang: return Wire.waitForEnd(socket)
            case .close: return
            }
        }
    }
}

/// A request as the collector got it.
struct ReceivedRequest: Sendable {
    let head: String
    let body: [UInt8]
    let answer: Collector.Answer

    var isTaken: Bool {
        switch answer {
        case .ok, .partialSuccess: true
        default: false
        }
    }

    /// All spans in the body.
    var spans: [[String: Any]] { JSON.spans(body) }

    /// The value of a header field by its name in lower case.
    func field(_ name: String) -> String? {
        for line in head.split(separator: "\r\n").dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2, parts[0].lowercased() == name { return parts[1].trimmingCharacters(in: .whitespaces) }
        }
        return nil
    }
}

/// Just enough of HTTP.
private enum Wire {
    /// The next request; nil when the other side closes or sends nothing for a minute.
    static func receive(_ socket: Int32) -> (head: String, body: [UInt8])? {
        var patience = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var head: [UInt8] = []
        var byte: UInt8 = 0
        while !head.suffix(4).elementsEqual([13, 10, 13, 10]) {
            guard recv(socket, &byte, 1, 0) == 1 else { return nil }
            head.append(byte)
        }
        let text = String(decoding: head, as: UTF8.self)
        let length = ReceivedRequest(head: text, body: [], answer: .ok).field("content-length").flatMap { Int($0) }
        var body = [UInt8](repeating: 0, count: length ?? 0)
        var filled = 0
        while filled < body.count {
            let count = body[filled...].withUnsafeMutableBytes { recv(socket, $0.baseAddress, $0.count, 0) }
            if count <= 0 { return nil }
            filled += count
        }
        return (text, body)
    }

    static func send(_ socket: Int32, _ status: Int, fields: String = "", body: String) {
        let head = "HTTP/1.1 \(status) X\r\nContent-Length: \(body.utf8.count)\r\n\(fields)\r\n"
        let bytes = Array((head + body).utf8)
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return }
            sent += count
        }
    }

    static func waitForEnd(_ socket: Int32) {
        var byte: UInt8 = 0
        while recv(socket, &byte, 1, 0) > 0 {}
    }
}

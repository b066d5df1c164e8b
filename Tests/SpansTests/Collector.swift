import Foundation
import HTTPReceiver
import Synchronization

/// A collector on a free port of 127.0.0.1 that answers as it is told to.
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

    /// A request, and what was answered.
    struct Collected: Sendable {
        let request: ReceivedRequest
        let answer: Answer

        var isTaken: Bool {
            switch answer {
            case .ok, .partialSuccess: true
            default: false
            }
        }

        /// All spans in the body.
        var spans: [[String: Any]] { JSON.spans(request.body) }
    }

    private final class Script: Sendable {
        private struct State {
            var next: [Answer]
            var otherwise: Answer
            var collected: [Collected] = []
        }

        private let state: Mutex<State>

        init(_ next: [Answer], otherwise: Answer) { state = Mutex(State(next: next, otherwise: otherwise)) }

        var collected: [Collected] { state.withLock { $0.collected } }

        func replace(_ answer: Answer) { state.withLock { ($0.next, $0.otherwise) = ([], answer) } }

        func answer(to request: ReceivedRequest) -> Answer {
            state.withLock { state in
                let answer = state.next.isEmpty ? state.otherwise : state.next.removeFirst()
                state.collected.append(Collected(request: request, answer: answer))
                return answer
            }
        }
    }

    private let receiver: Receiver
    private let script: Script

    /// - Parameter isListening: false for one that can't be connected to before `listen()`, but keeps its port.
    init(_ next: [Answer] = [], otherwise: Answer = .ok, isListening: Bool = true) throws {
        let script = Script(next, otherwise: otherwise)
        self.script = script
        receiver = try Receiver(isListening: isListening) { connection in
            switch script.answer(to: connection.request!) {
            case .ok: return connection.send(200, body: "{}")
            case .partialSuccess(let rejected, let message):
                let text = #"{"partialSuccess":{"rejectedSpans":"\#(rejected)","errorMessage":"\#(message)"}}"#
                return connection.send(200, body: text)
            case .status(let status, let fields, let body): return connection.send(status, fields: fields, body: body)
            case .hang:
                connection.waitForEnd()
                return false
            case .close: return false
            }
        }
    }

    var endpoint: String { "http://127.0.0.1:\(receiver.port)" }
    var port: Int { receiver.port }

    /// What was received so far, whatever was answered.
    var requests: [Collected] { script.collected }

    /// How many connections were opened so far.
    var connections: Int { receiver.connections }

    /// The names of the spans that were answered with success.
    var takenNames: [String] { requests.filter(\.isTaken).flatMap(\.spans).compactMap { $0["name"] as? String } }

    /// Answers like this from now on.
    func answer(_ answer: Answer) { script.replace(answer) }

    func listen() { receiver.listen() }
}

extension Connection {
    fileprivate func send(_ status: Int, fields: String = "", body: String) -> Bool {
        send("HTTP/1.1 \(status) X\r\nContent-Length: \(body.utf8.count)\r\n\(fields)\r\n" + body)
    }
}

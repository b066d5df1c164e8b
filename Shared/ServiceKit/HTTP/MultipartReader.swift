import Foundation
import NIOCore
import Records

/// Reads `multipart/form-data` (RFC 7578) as it arrives: a part's bytes are handed on, never gathered.
struct MultipartReader {
    enum Event {
        case begin(name: String)
        case bytes(ArraySlice<UInt8>)
        case end
    }

    private enum State { case preamble, headers, content, finished }

    private let delimiter: [UInt8]
    private var buffer: [UInt8]
    private var state = State.preamble

    /// Nil when the content type is no form with a boundary.
    init?(contentType: String) {
        let parts = contentType.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) }
        guard parts.first?.lowercased() == "multipart/form-data",
            let parameter = parts.dropFirst().first(where: { $0.lowercased().hasPrefix("boundary=") })
        else { return nil }
        let boundary = parameter.dropFirst("boundary=".count).trimmingCharacters(in: CharacterSet(charactersIn: "\""))
        guard (1...70).contains(boundary.utf8.count) else { return nil }
        delimiter = Array("\r\n--\(boundary)".utf8)
        // The first boundary has no line break before it.
        buffer = [13, 10]
    }

    var isFinished: Bool { state == .finished }

    /// Feeds bytes and gives what they complete. Throws 400 for what is no form.
    mutating func feed(_ bytes: some Sequence<UInt8>) throws(Problem) -> [Event] {
        // What follows the last boundary is nobody's.
        if state == .finished { return [] }
        buffer.append(contentsOf: bytes)
        var events: [Event] = []
        while true {
            switch state {
            case .preamble:
                guard let position = Self.find(delimiter, in: buffer) else {
                    guard buffer.count < 4096 else { throw Self.malformed }
                    return events
                }
                guard buffer.count >= position + delimiter.count + 2 else { return events }
                buffer.removeFirst(position + delimiter.count)
                try afterDelimiter()
            case .headers:
                guard let end = Self.find(Array("\r\n\r\n".utf8), in: buffer) else {
                    guard buffer.count < 8192 else { throw Self.malformed }
                    return events
                }
                let head = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeFirst(end + 4)
                // So that a part without content still has a line break before its delimiter.
                buffer.insert(contentsOf: [13, 10], at: 0)
                events.append(.begin(name: try Self.name(in: head)))
                state = .content
                skipBreak = true
            case .content:
                guard let position = Self.find(delimiter, in: buffer) else {
                    // Whatever can't be the start of a delimiter goes on.
                    let safe = buffer.count - delimiter.count
                    let start = skipBreak ? 2 : 0
                    if safe > start {
                        events.append(.bytes(buffer[start..<safe]))
                        skipBreak = false
                        buffer.removeFirst(safe)
                    }
                    return events
                }
                guard buffer.count >= position + delimiter.count + 2 else { return events }
                let start = skipBreak ? 2 : 0
                if position > start { events.append(.bytes(buffer[start..<position])) }
                skipBreak = false
                events.append(.end)
                buffer.removeFirst(position + delimiter.count)
                try afterDelimiter()
            case .finished:
                return events
            }
        }
    }

    private var skipBreak = false

    private mutating func afterDelimiter() throws(Problem) {
        if buffer.starts(with: [45, 45]) {
            state = .finished
        } else if buffer.starts(with: [13, 10]) {
            buffer.removeFirst(2)
            state = .headers
        } else {
            throw Self.malformed
        }
    }

    private static let malformed = Problem(400, "invalid_multipart", "The body is no multipart/form-data.")

    private static func name(in head: String) throws(Problem) -> String {
        for line in head.split(whereSeparator: \.isNewline) {
            guard line.lowercased().hasPrefix("content-disposition:") else { continue }
            for piece in line.split(separator: ";").dropFirst() {
                let pair = piece.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
                if pair.count == 2, pair[0].lowercased() == "name" {
                    return pair[1].trimmingCharacters(in: CharacterSet(charactersIn: "\""))
                }
            }
        }
        throw malformed
    }

    private static func find(_ needle: [UInt8], in haystack: [UInt8]) -> Int? {
        guard haystack.count >= needle.count else { return nil }
        return haystack.withUnsafeBufferPointer { hay in
            needle.withUnsafeBufferPointer { need in
                var position = 0
                let last = hay.count - need.count
                while position <= last {
                    // memchr finds the next candidate far faster than a loop does.
                    guard let found = memchr(hay.baseAddress! + position, Int32(need[0]), last - position + 1) else {
                        return nil
                    }
                    position = hay.baseAddress!.distance(to: found.assumingMemoryBound(to: UInt8.self))
                    if memcmp(hay.baseAddress! + position, need.baseAddress!, need.count) == 0 { return position }
                    position += 1
                }
                return nil
            }
        }
    }
}

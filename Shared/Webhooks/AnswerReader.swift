/// Puts an answer together from what libcurl hands over, within bounds: a receiver can neither fill our memory nor
/// keep us reading.
struct AnswerReader {
    /// Bytes of all header fields, those of interim answers (1xx) included.
    static let headerLimit = 65_536
    /// Bytes of the body that are kept.
    static let keptLimit = 4_096
    /// Bytes of the body that are read, so that the connection can be used again after an ordinary answer.
    static let bodyLimit = 65_536
    /// Characters of a header field that are kept.
    static let fieldLimit = 2_000

    private var status = 0
    private var headerBytes = 0
    private var bodyBytes = 0
    private var kept: [UInt8] = []
    private var location: String?
    private var retryAfter: String?
    /// The final answer's status and header fields have come: whatever happens to the body, the receiver has spoken.
    private(set) var isAnswered = false
    private(set) var isHeaderTooLong = false

    /// Takes one line of the header. False when it is too much and the transfer must end.
    mutating func header(_ line: UnsafeRawBufferPointer) -> Bool {
        headerBytes += line.count
        if headerBytes > Self.headerLimit {
            isHeaderTooLong = !isAnswered
            return false
        }
        // After the end there are only trailers.
        if isAnswered { return true }
        let text = String(decoding: line, as: UTF8.self).trimmingLineEnd()
        if text.isEmpty {
            isAnswered = status >= 200
        } else if text.hasPrefix("HTTP/") {
            status = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
            (location, retryAfter) = (nil, nil)
        } else if let colon = text.firstIndex(of: ":") {
            field(text[..<colon].lowercased(), text[text.index(after: colon)...])
        }
        return true
    }

    /// Takes a piece of the body. False when no more is wanted and the transfer must end.
    mutating func body(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bodyBytes += bytes.count
        kept.append(contentsOf: bytes.prefix(Self.keptLimit - kept.count))
        return bodyBytes <= Self.bodyLimit
    }

    /// - Parameter isComplete: the transfer ended as it should.
    func answer(isComplete: Bool) -> DeliveryAnswer {
        DeliveryAnswer(
            status: status, body: text, isBodyComplete: isComplete && bodyBytes == kept.count, location: location,
            retryAfter: retryAfter)
    }

    private mutating func field(_ name: String, _ value: Substring) {
        let value = Self.clean(String(value.trimmingSpace().prefix(Self.fieldLimit)))
        switch name {
        case "location": location = location ?? value
        case "retry-after": retryAfter = retryAfter ?? value
        default: break
        }
    }

    private var text: String {
        var bytes = kept[...]
        // A character that the limit cut in two would become U+FFFD.
        if bodyBytes > kept.count, let start = bytes.suffix(4).lastIndex(where: { $0 & 0xc0 != 0x80 }),
            bytes[start] >= 0xc0, bytes.count - start < (~bytes[start]).leadingZeroBitCount
        {
            bytes = bytes[..<start]
        }
        return Self.clean(String(decoding: bytes, as: UTF8.self))
    }

    /// Without NUL, which PostgreSQL's text doesn't take.
    private static func clean(_ text: String) -> String {
        text.utf8.contains(0) ? text.replacing("\0", with: "\u{fffd}") : text
    }
}

extension StringProtocol {
    fileprivate func trimmingLineEnd() -> SubSequence {
        // "\r\n" is one character to Swift.
        var text = self[...]
        while let last = text.last, last == "\r\n" || last == "\n" || last == "\r" { text.removeLast() }
        return text
    }

    fileprivate func trimmingSpace() -> SubSequence {
        var text = self[...]
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }
}

/// Joins the physical lines of a vCard text into logical ones as the bytes arrive (RFC 6350 §3.2).
///
/// A line that begins with a space or tab goes on where the one before it ended, be it within a UTF-8 sequence; so does
/// any line after the `=` at the end of a QUOTED-PRINTABLE one (vCard 2.1). Of an inline picture only the head is held.
struct LineUnfolder {
    struct Line {
        var bytes: [UInt8]
        /// The number of its first physical line, from 1.
        let number: Int
        /// How many physical lines the text has up to its end.
        let lines: Int
        /// Where it lies in the text.
        let start: Int
        let end: Int
        let isTooLong: Bool
        /// Most of it is a picture, sound or key, and is gone.
        let isMedia: Bool
    }

    /// As much of a line as shows whether it is a picture; a link is shorter.
    static let headLength = 2048
    private static let lineFeed = UInt8(ascii: "\n")

    private var bytes: [UInt8] = []
    private var limit = headLength
    private var isOpen = false
    private var isAtLineStart = true
    private var isSoftBreak = false
    private var isTooLong = false
    private var isMedia = false
    private var header = Header()
    private var start = 0
    private var number = 0
    private var consumed: Int
    private var lines: Int

    init(offset: Int, lines: Int) {
        consumed = offset
        self.lines = lines
    }

    /// The next logical line that is certainly complete; nil when the chunk is used up. Its first bytes are taken away.
    mutating func next(from chunk: inout Slice<UnsafeBufferPointer<UInt8>>) -> Line? {
        while let first = chunk.first {
            if isAtLineStart && isOpen {
                if isSoftBreak {
                    isSoftBreak = false
                } else if first == 32 || first == 9 {
                    chunk.removeFirst()
                    consumed += 1
                } else {
                    return close()
                }
            }
            isAtLineStart = false
            if !isOpen { open() }
            guard let end = chunk.firstIndex(of: Self.lineFeed) else {
                consumed += chunk.count
                append(chunk)
                chunk = chunk[chunk.endIndex...]
                return nil
            }
            consumed += chunk.distance(from: chunk.startIndex, to: end) + 1
            append(chunk[..<end])
            chunk = chunk[(end + 1)...]
            endPhysicalLine()
        }
        return nil
    }

    /// The last line, once the text is at its end.
    mutating func finish() -> Line? {
        guard isOpen else { return nil }
        if !isAtLineStart { endPhysicalLine() }
        return close()
    }

    private mutating func open() {
        isOpen = true
        // Whoever had the line before is done with it: its memory serves again.
        bytes.removeAll(keepingCapacity: true)
        start = consumed
        number = lines + 1
    }

    private mutating func append(_ run: Slice<UnsafeBufferPointer<UInt8>>) {
        if isMedia || isTooLong { return }
        let room = limit - bytes.count
        if run.count <= room {
            bytes.append(contentsOf: run)
            return
        }
        bytes.append(contentsOf: run.prefix(room))
        overflow()
        append(run.dropFirst(room))
    }

    private mutating func overflow() {
        header.scan(bytes)
        if limit > Self.headLength {
            isTooLong = true
            bytes = []
        } else if header.isMedia {
            isMedia = true
        } else {
            // One more for the CR, which is no part of the line.
            limit = VCardReader.longestLine + 1
        }
    }

    private mutating func endPhysicalLine() {
        lines += 1
        isAtLineStart = true
        if isMedia || isTooLong { return }
        if bytes.last == 13 { bytes.removeLast() }
        if bytes.last == UInt8(ascii: "=") {
            header.scan(bytes)
            if header.isQuotedPrintable {
                bytes.removeLast()
                isSoftBreak = true
            }
        }
    }

    private mutating func close() -> Line {
        // A byte-order mark stands at the very start, or where files were joined.
        if bytes.first == 0xef && bytes.starts(with: [0xef, 0xbb, 0xbf]) { bytes.removeFirst(3) }
        defer {
            limit = Self.headLength
            isOpen = false
            isSoftBreak = false
            isTooLong = false
            isMedia = false
            header = Header()
        }
        return Line(
            bytes: bytes, number: number, lines: lines, start: start, end: consumed,
            isTooLong: isTooLong || bytes.count > VCardReader.longestLine,
            isMedia: isMedia)
    }
}

/// What the part before the colon says of the bytes after it. Each byte is looked at once, however often it is asked.
private struct Header {
    private(set) var isMedia = false
    private(set) var isQuotedPrintable = false
    private var scanned = 0
    private var isQuoted = false
    private var isComplete = false

    mutating func scan(_ bytes: [UInt8]) {
        while scanned < bytes.count && !isComplete {
            switch bytes[scanned] {
            case UInt8(ascii: "\""): isQuoted.toggle()
            case UInt8(ascii: ":"): isComplete = !isQuoted
            default: break
            }
            scanned += 1
            if isComplete { read(Array(bytes[..<scanned])) }
        }
    }

    private mutating func read(_ head: [UInt8]) {
        var budget = VCardReader.mostValues
        guard let line = try? ContentLine(head, budget: &budget) else { return }
        isMedia = ValueKind.isMedia(line.name) || line.encoding == .base64
        isQuotedPrintable = line.encoding == .quotedPrintable
    }
}

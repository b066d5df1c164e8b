/// Makes cards of logical lines: a state machine that knows only the card it is in.
struct CardAssembler {
    fileprivate struct Draft {
        let start: Int
        let line: Int
        var card = VCard(version: nil)
        var size = 0
        var budget = VCardReader.mostValues
        var error: VCardError?
        var skippedLines: [Int] = []
        /// Some old telephones don't fold a picture's lines: those that follow it without a colon belong to it.
        var isAfterData = false
        /// The line before was an empty AGENT, after which vCard 2.1 puts a whole card.
        var isAfterAgent = false
        var isInAgent = false
    }

    private var draft: Draft?
    /// The first line of text outside of any card that was not reported yet.
    private var stray: (start: Int, line: Int)?
    private var number: Int
    private var end: Int
    private var lines: Int

    init(entries: Int, offset: Int, lines: Int) {
        number = entries
        end = offset
        self.lines = lines
    }

    /// The entry that this line ends.
    mutating func take(_ line: LineUnfolder.Line) -> VCardReader.Entry? {
        if Self.isMark(line.bytes, Self.beginMark) { return begin(line) }
        end = line.end
        lines = line.lines
        if Self.isMark(line.bytes, Self.endMark) { return endCard(line) }
        if line.bytes.allSatisfy({ $0 == 32 || $0 == 9 }) && !line.isTooLong { return nil }
        if draft == nil {
            if stray == nil { stray = (line.start, line.number) }
        } else {
            read(line)
        }
        return nil
    }

    /// The entry that the end of the text ends.
    mutating func finish() -> VCardReader.Entry? { fail(.missingEnd, at: max(lines, 1)) }

    private mutating func begin(_ line: LineUnfolder.Line) -> VCardReader.Entry? {
        if draft?.isAfterAgent == true {
            draft?.isAfterAgent = false
            draft?.isInAgent = true
            return nil
        }
        let entry = fail(.nestedBegin, at: line.number)
        draft = Draft(start: line.start, line: line.number)
        end = line.end
        lines = line.lines
        return entry
    }

    /// Gives up on what is open: a card, or text outside of any.
    private mutating func fail(_ code: VCardError.Code, at line: Int) -> VCardReader.Entry? {
        if let draft {
            self.draft = nil
            return entry(draft, .failure(draft.error ?? VCardError(code: code, line: line)))
        }
        guard let stray else { return nil }
        self.stray = nil
        return entry(
            Draft(start: stray.start, line: stray.line), .failure(VCardError(code: .outsideCard, line: stray.line)))
    }

    private mutating func endCard(_ line: LineUnfolder.Line) -> VCardReader.Entry? {
        guard let draft else {
            if stray == nil { stray = (line.start, line.number) }
            return nil
        }
        if draft.isInAgent {
            self.draft?.isInAgent = false
            return nil
        }
        self.draft = nil
        return entry(draft, draft.error.map { .failure($0) } ?? .success(draft.card))
    }

    private mutating func entry(_ draft: Draft, _ result: Result<VCard, VCardError>) -> VCardReader.Entry {
        number += 1
        return VCardReader.Entry(
            number: number, line: draft.line, result: result, skippedLines: draft.skippedLines, start: draft.start,
            end: end, lines: lines)
    }

    private mutating func read(_ line: LineUnfolder.Line) {
        draft?.isAfterAgent = false
        if draft?.isInAgent == true || draft?.error != nil { return }
        do throws(VCardError.Code) {
            try draft?.add(line)
        } catch {
            draft?.error = VCardError(code: error, line: line.number)
            // A card that failed holds nothing any more, however long it goes on.
            draft?.card.properties = []
        }
    }
}

extension CardAssembler {
    private static let beginMark = Array("BEGIN:VCARD".utf8)
    private static let endMark = Array("END:VCARD".utf8)

    /// In any case, with white space after it.
    private static func isMark(_ bytes: [UInt8], _ mark: [UInt8]) -> Bool {
        guard bytes.count >= mark.count, Token.upper(bytes[0]) == mark[0] else { return false }
        for index in mark.indices where Token.upper(bytes[index]) != mark[index] { return false }
        return bytes[mark.count...].allSatisfy { $0 == 32 || $0 == 9 }
    }
}

extension CardAssembler.Draft {
    fileprivate mutating func add(_ line: LineUnfolder.Line) throws(VCardError.Code) {
        if line.isTooLong { throw .lineTooLong }
        if line.isMedia {
            isAfterData = true
            return
        }
        size += line.bytes.count
        if size > VCardReader.largestCard { throw .cardTooLarge }
        var bytes = line.bytes
        if ControlCharacters.isFound(in: bytes) {
            if bytes.contains(0) { throw .binary }
            bytes.removeAll(where: ControlCharacters.isControl)
        }
        guard let content = try ContentLine(bytes, budget: &budget) else { return skip(line) }
        if content.isInlineData {
            isAfterData = true
            return
        }
        isAfterData = false
        let property = try content.property(budget: &budget)
        switch property.name {
        case "VERSION": card.version = VCard.Version(rawValue: property.text.trimmed)
        case "BEGIN", "END": skip(line)
        case "AGENT" where property.text.isEmpty: isAfterAgent = true
        default: card.properties.append(property)
        }
    }

    private mutating func skip(_ line: LineUnfolder.Line) {
        if !isAfterData && skippedLines.count < 100 { skippedLines.append(line.number) }
    }
}

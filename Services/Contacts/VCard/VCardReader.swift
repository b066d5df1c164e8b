/// Reads vCards 4.0 (RFC 6350), 3.0 (RFC 2426) and 2.1 as their bytes arrive, holding one card at most.
///
/// A card that can't be read is an entry too, with the reason; the next one is read as if nothing had been. Pictures
/// and other data within a card are passed over and never held. The same bytes give the same entries in any chunks.
package struct VCardReader: Sendable {
    /// One card, or why it can't be read.
    package struct Entry: Sendable, Equatable {
        /// Counts cards and errors from 1.
        package let number: Int
        /// The line where it begins, from 1.
        package let line: Int
        package let result: Result<VCard, VCardError>
        /// Lines of the card that are no property (no name, no colon) and were left out; the first 100 of them.
        package let skippedLines: [Int]
        /// Where its bytes lie in the text. Reading can begin again at `end`, with `lines` and `number`.
        package let start: Int
        package let end: Int
        /// How many lines the text has up to `end`.
        package let lines: Int
    }

    /// A card that holds more bytes than this, pictures aside, is an error.
    package static let largestCard = 1 << 20
    /// A card of which one line, unfolded, holds more bytes than this is an error.
    package static let longestLine = 1 << 18
    /// A card with more properties, components, list items and parameter values than this is an error: each costs far
    /// more memory than the byte it takes in the text.
    package static let mostValues = 20_000

    private var unfolder: LineUnfolder
    private var assembler: CardAssembler

    /// - Parameters:
    ///   - offset: where in the text the first byte fed lies: 0, or the end of an entry.
    ///   - entries: how many entries came before: 0, or that entry's number.
    ///   - lines: how many lines came before: 0, or that entry's lines.
    package init(offset: Int = 0, entries: Int = 0, lines: Int = 0) {
        unfolder = LineUnfolder(offset: offset, lines: lines)
        assembler = CardAssembler(entries: entries, offset: offset, lines: lines)
    }

    /// Feeds bytes and gives the entries that they complete, at most one for each line fed.
    package mutating func feed(_ bytes: some Sequence<UInt8>) -> [Entry] {
        if let entries = bytes.withContiguousStorageIfAvailable({ take($0) }) { return entries }
        return Array(bytes).withUnsafeBufferPointer { take($0) }
    }

    /// The last entries, once all bytes were fed: a card whose END is the last line, or an error.
    package mutating func finish() -> [Entry] {
        var entries: [Entry] = []
        if let line = unfolder.finish(), let entry = assembler.take(line) { entries.append(entry) }
        if let entry = assembler.finish() { entries.append(entry) }
        return entries
    }

    private mutating func take(_ bytes: UnsafeBufferPointer<UInt8>) -> [Entry] {
        var entries: [Entry] = []
        var chunk = bytes[...]
        while let line = unfolder.next(from: &chunk) {
            if let entry = assembler.take(line) { entries.append(entry) }
        }
        return entries
    }
}

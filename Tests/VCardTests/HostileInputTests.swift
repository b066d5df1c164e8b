import Testing
import VCard

@Suite("Hostile input")
struct HostileInputTests {
    private let good = Array("BEGIN:VCARD\r\nFN:Good\r\nEND:VCARD\r\n".utf8)

    private func codes(_ bytes: [UInt8]) -> [VCardError.Code] { errors(entries(bytes)).map(\.code) }

    @Test("no bytes are no cards and no error")
    func nothing() {
        #expect(entries([]).isEmpty)
        #expect(entries("\r\n \r\n\r\n").isEmpty)
    }

    @Test("a zip file is one error, and a card behind it is read")
    func zip() throws {
        var generator = SeededGenerator(seed: 1)
        let noise = [0x50, 0x4b, 3, 4] + (0..<300_000).map { _ in UInt8.random(in: 0...255, using: &generator) }
        #expect(codes(noise) == [.outsideCard])
        let read = entries(noise + [10] + good)
        #expect(read.count == 2)
        #expect(try read[1].result.get().formattedName == "Good")
    }

    @Test("noise within a card spoils that card only")
    func noiseWithin() {
        for seed in 0..<200 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed)
            let noise = (0..<3000).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let read = entries(Array("BEGIN:VCARD\r\nFN:".utf8) + noise + Array("\r\nEND:VCARD\r\n".utf8) + good)
            #expect(cards(good) == read.suffix(1).compactMap { try? $0.result.get() })
            #expect(read.count == 2)
        }
    }

    @Test("a line without an end is refused, within a card and outside, in bounded memory", .timeLimit(.minutes(1)))
    func endlessLine() {
        let line = [UInt8](repeating: UInt8(ascii: "a"), count: 1 << 20)
        #expect(codes(line) == [.outsideCard])
        let card = Array("BEGIN:VCARD\r\nNOTE:".utf8) + line + Array("\r\nEND:VCARD\r\n".utf8)
        #expect(codes(card + good) == [.lineTooLong])
        #expect(cards(card + good).count == 1)
        let folded =
            Array("BEGIN:VCARD\r\nNOTE:".utf8) + Array(repeatElement(Array("\r\n abc".utf8), count: 90_000).joined())
        #expect(codes(folded) == [.lineTooLong])
    }

    @Test("a line at the limit is read")
    func longestLine() throws {
        let text = String(repeating: "a", count: VCardReader.longestLine - 5)
        #expect(try card("NOTE:" + text).note?.utf8.count == text.utf8.count)
    }

    @Test("10,000 beginnings are errors, and the last card is read")
    func beginnings() throws {
        let begin = Array("BEGIN:VCARD\r\n".utf8)
        let read = entries(Array(repeatElement(begin, count: 10_000).joined()) + good)
        #expect(read.count == 10_001)
        #expect(Set(errors(read).map(\.code)) == [.nestedBegin])
        #expect(errors(read).map(\.line) == Array(2...10_001))
        #expect(try read[10_000].result.get().formattedName == "Good")
    }

    @Test("a text that ends anywhere within a card says so, and never gives half a card")
    func truncated() {
        let text = Array("BEGIN:VCARD\r\nVERSION:4.0\r\nFN:张三\r\nEND:VCARD".utf8)
        for length in 11..<text.count {
            let isWithinCharacter = text[length] & 0xc0 == 0x80
            #expect(codes(Array(text[..<length])) == [isWithinCharacter ? .wrongEncoding : .missingEnd])
            #expect(cards(Array(text[..<length])).isEmpty)
        }
        #expect(cards(text).count == 1)
    }

    @Test("zero bytes and bytes that are not UTF-8 are errors of their card, with its line")
    func notText() {
        let zero = Array("BEGIN:VCARD\nFN:a\u{0}b\nEND:VCARD\n".utf8)
        let broken = Array("BEGIN:VCARD\nFN:a\nNOTE:".utf8) + [0xff, 0xfe] + Array("\nEND:VCARD\n".utf8)
        let surrogate = Array("BEGIN:VCARD\nTEL;X=".utf8) + [0xed, 0xa0, 0x80] + Array(":1\nEND:VCARD\n".utf8)
        let read = entries(zero + good + broken + good + surrogate + good)
        #expect(errors(read).map(\.code) == [.binary, .wrongEncoding, .wrongEncoding])
        #expect(errors(read).map(\.line) == [2, 9, 15])
        #expect(cards(zero + good + broken + good + surrogate + good).count == 3)
    }

    @Test("other control characters are dropped")
    func controlCharacters() throws {
        #expect(try card("NOTE:a\u{7}b\u{1b}c\td\u{7f}e\u{b}\u{85}f").note == "abc\tde\u{85}f")
        #expect(try card("NOTE;ENCODING=QUOTED-PRINTABLE:a=00b=07=0Dc=0D=0A=0A=41").note == "ab\nc\n\nA")
    }

    @Test("a card of very many bytes, properties or components is refused")
    func tooLarge() throws {
        let note = "NOTE:" + String(repeating: "n", count: 200_000) + "\n"
        let lines = [
            String(repeating: note, count: 6), String(repeating: "A:\n", count: 20_001),
            "N:" + String(repeating: ";", count: 100_000) + "\n",
            "CATEGORIES:" + String(repeating: ",", count: 100_000) + "\n",
            "TEL;X=" + String(repeating: ",", count: 100_000) + ":1\n",
            "TEL" + String(repeating: ";x", count: 100_000) + ":1\n",
        ]
        for line in lines {
            let text = Array("BEGIN:VCARD\n\(line)END:VCARD\n".utf8)
            #expect(codes(text + good) == [.cardTooLarge])
            #expect(cards(text + good).count == 1)
        }
    }

    @Test("soft line breaks without an end cost no more than their bytes", .timeLimit(.minutes(1)))
    func softBreaks() {
        let header = "NOTE;X=" + String(repeating: "a", count: 200_000)
        let breaks = String(repeating: "=\n", count: 100_000)
        #expect(codes(Array("BEGIN:VCARD\n\(header);QUOTED-PRINTABLE:\(breaks)".utf8)) == [.missingEnd])
        let folds = String(repeating: "=\n ", count: 80_000)
        #expect(codes(Array("BEGIN:VCARD\nNOTE;X=\(folds)".utf8)) == [.missingEnd])
        #expect(codes(Array("BEGIN:VCARD\nNOTE;X=\"\(folds)".utf8)) == [.missingEnd])
    }

    @Test("nothing that a card holds can begin or end a card when it is written")
    func injection() {
        let card = VCard(properties: [
            VCard.Property("FN", "a\r\nEND:VCARD\nBEGIN:VCARD"),
            VCard.Property(
                "X\nEND:VCARD", group: "g\n", parameters: [VCard.Parameter("P\n", ["v"])], .raw("a\nEND:VCARD")),
            VCard.Property("END", "VCARD"),
            VCard.Property("TEL", parameters: [VCard.Parameter("TYPE", ["\r\nEND:VCARD"])], .text("1")),
            VCard.Property("NOTE", parameters: [VCard.Parameter("ENCODING", ["BASE64"])], .text("kept")),
            VCard.Property("", ""),
        ])
        for version in [VCard.Version.v40, .v30] {
            let read = cards(VCardWriter(version: version).bytes(card))
            #expect(read == [card.adapted(to: version)])
            #expect(read.first?.note == "kept")
        }
    }
}

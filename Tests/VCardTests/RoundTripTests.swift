import Testing
import VCard

@Suite("Writing and reading again")
struct RoundTripTests {
    @Test("2,000 random cards are read back equal, in both versions, and written again to the same bytes")
    func randomCards() throws {
        var random = RandomCard(seed: 20_240_131)
        for _ in 0..<2000 {
            let card = random.next()
            for version in [VCard.Version.v40, .v30] {
                let bytes = VCardWriter(version: version).bytes(card)
                let read = entries(bytes)
                try #require(read.count == 1)
                try #require(read[0].skippedLines.isEmpty)
                let again = try read[0].result.get()
                try #require(again == card.adapted(to: version))
                // Strings are equal when they look equal; the bytes must be, too.
                try #require(VCardWriter(version: version).bytes(again) == bytes)
                try #require(isWellFormed(bytes))
            }
            // What needs no other form in 4.0 must not have changed at all.
            let read = cards(VCardWriter().bytes(card))[0]
            let plain = zip(card.properties, read.properties).filter { card, _ in
                !card.parameter("TYPE").joined().lowercased().contains("pref")
            }
            try #require(read.properties.count == card.properties.count && plain.allSatisfy { $0 == $1 })
        }
    }

    @Test("the same bytes give the same entries in any chunks")
    func anyChunks() throws {
        var random = RandomCard(seed: 7)
        var generator = SeededGenerator(seed: 8)
        var bytes: [UInt8] = []
        for index in 0..<150 {
            VCardWriter(version: index % 2 == 0 ? .v40 : .v30).append(random.next(), to: &bytes)
            if index % 10 == 0 { bytes += "BEGIN:VCARD\r\nFN;QUOTED-PRINTABLE:=E5=BC=\r\n=A0\r\n".utf8 }
            if index % 15 == 0 { bytes += "\u{feff}stray\n\nEND:VCARD\r\n".utf8 }
            if index % 20 == 0 {
                bytes += "BEGIN:VCARD\nPHOTO;ENCODING=b:".utf8 + [UInt8](repeating: 65, count: 5000) + [10]
            }
        }
        let whole = entries(bytes)
        #expect(whole.count > 150 && !errors(whole).isEmpty)
        for longest in [1, 2, 3, 7, 80, 4096, 1 << 16] {
            #expect(entries(bytes) { Int.random(in: 1...longest, using: &generator) } == whole)
        }
    }

    @Test("random bytes, of those that mean something, give the same entries in any chunks and write what is read")
    func randomText() throws {
        let pieces: [[UInt8]] =
            [
                "BEGIN:VCARD", "END:VCARD", "\n", "\r\n", "\n ", "\r", "FN:", "N:", ";", ",", ":", "=", "=\n", "\"",
                "\\", "^",
                "TEL;", "TYPE=", "QUOTED-PRINTABLE", "CHARSET=", "ISO-8859-1", "PHOTO;BASE64:", "AGENT:\n", "张", "a",
                ".", "\u{feff}",
                "=E5", "BEGIN:VCARD\nVERSION:2.1\n", "\nEND:VCARD\n",
            ].map { Array($0.utf8) } + [[0xff], [0xe5, 0xbc]]
        var generator = SeededGenerator(seed: 99)
        for _ in 0..<2000 {
            let bytes = Array((0..<60).flatMap { _ in pieces.randomElement(using: &generator)! })
            let whole = entries(bytes)
            try #require(entries(bytes) { Int.random(in: 1...5, using: &generator) } == whole)
            for card in whole.compactMap({ try? $0.result.get() }) {
                try #require(cards(VCardWriter().bytes(card)) == [card.adapted(to: .v40)])
            }
        }
    }

    /// Lines of at most 75 octets that end in CR LF and are UTF-8 each by itself.
    private func isWellFormed(_ bytes: [UInt8]) -> Bool {
        var isGood = bytes.suffix(2) == [13, 10]
        for line in bytes.dropLast().split(separator: 10, omittingEmptySubsequences: false) {
            isGood = isGood && line.last == 13 && line.count <= 76 && String(validating: line, as: UTF8.self) != nil
            isGood = isGood && !line.dropLast().contains { ($0 < 32 && $0 != 9) || $0 == 127 }
        }
        return isGood
    }
}

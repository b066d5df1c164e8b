import Testing
import VCard

@Suite("Reading cards")
struct VCardReaderTests {
    @Test("a 4.0 card is read with its groups, parameters and components")
    func version40() throws {
        let card = try card(
            "FN:Dr. Ada Example", "N:Example;Ada;Maria,Luise;Dr.;M.Sc.,MBA",
            "item1.TEL;VALUE=uri;PREF=1;TYPE=\"voice,home\":tel:+41-44-555-0100;ext=12",
            "ADR;TYPE=work;LABEL=\"Hall 3^nGate ^'B^'\":;;Bahnhofstrasse 1,Postfach;Zürich;ZH;8001;Switzerland",
            "ORG:Example\\, Ltd.;Research;Pumps", "CATEGORIES:vip,pump\\,valve")
        #expect(card.version == .v40)
        #expect(
            card.properties("n").first?.components == [
                ["Example"], ["Ada"], ["Maria", "Luise"], ["Dr."], ["M.Sc.", "MBA"],
            ])
        let telephone = try #require(card.property("TEL"))
        #expect(telephone.group == "item1")
        #expect(telephone.types == ["voice", "home"])
        #expect(telephone.preference == 1)
        #expect(card.phones.first?.value == "+41-44-555-0100")
        #expect(card.property("ADR")?.parameter("LABEL") == ["Hall 3\nGate \"B\""])
        #expect(card.addresses.first?.street == "Bahnhofstrasse 1, Postfach")
        #expect(card.organization == ["Example, Ltd.", "Research", "Pumps"])
        #expect(card.categories == ["vip", "pump,valve"])
    }

    @Test("a 3.0 card is read, with lines folded by a space or a tab and ended by LF alone")
    func version30() throws {
        let card = try #require(
            cards(
                "begin:vcard\nversion:3.0\nfn:Zhang\n  San\nNOTE:first\\nsec\n\tond\\; third\\, C:\\data \\\\\nend:vcard"
            ).first)
        #expect(card.version == .v30)
        #expect(card.formattedName == "Zhang San")
        #expect(card.note == "first\nsecond; third, C:\\data \\")
    }

    @Test("a 2.1 card is read with soft line breaks, bare types and three character sets")
    func version21() throws {
        let text =
            "BEGIN:VCARD\r\nVERSION:2.1\r\n"
            + "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=E5=BC=A0;=E4=\r\n=B8=89;;;\r\n"
            + "FN;ENCODING=QUOTED-PRINTABLE;CHARSET=ISO-8859-1:J=FCrg\r\n"
            + "NOTE;QUOTED-PRINTABLE:one=0D=0Atwo=3D2 =\r\n  indented\r\n"
            + "TEL;WORK;VOICE;PREF:+86 10 5555 0100\r\nTITLE;CHARSET=us-ascii:Buyer\r\nEND:VCARD\r\n"
        let card = try #require(cards(text).first)
        #expect(card.version == .v21)
        #expect(card.name?.formatted == "张三")
        #expect(card.formattedName == "Jürg")
        #expect(card.note == "one\ntwo=2   indented")
        #expect(card.phones == cards("BEGIN:VCARD\nTEL;TYPE=work,voice;PREF=1:+86 10 5555 0100\nEND:VCARD")[0].phones)
        #expect(card.properties.allSatisfy { $0.parameter("CHARSET").isEmpty && $0.parameter("ENCODING").isEmpty })
    }

    @Test("raw Latin-1 bytes are read where CHARSET says so, and refused where nothing does")
    func latin1() throws {
        let name: [UInt8] = [0x4a, 0xfc, 0x72, 0x67]
        let said = cards(cardBytes(Array("FN;CHARSET=ISO-8859-1:".utf8) + name))
        #expect(said.first?.formattedName == "Jürg")
        let refused = errors(entries(cardBytes(Array("FN:".utf8) + name)))
        #expect(refused.map(\.code) == [.wrongEncoding] && refused.map(\.line) == [3])
    }

    @Test("a character set that we don't know is an error only where a value needs it")
    func unsupportedCharset() {
        let chinese = cardBytes(Array("FN;CHARSET=GBK:".utf8) + [0xd5, 0xc5])
        #expect(errors(entries(chinese)).map(\.code) == [.unsupportedCharset])
        #expect(errors(entries(chinese)).map(\.line) == [3])
        #expect(cards("BEGIN:VCARD\nFN;CHARSET=GB2312:Zhang\nEND:VCARD").first?.formattedName == "Zhang")
        let wide = entries("BEGIN:VCARD\nFN;CHARSET=UTF-7:+ZYc-\nEND:VCARD")
        #expect(errors(wide).map(\.code) == [.unsupportedCharset])
    }

    @Test("a fold within a UTF-8 sequence is undone before the text is read")
    func foldWithinCharacter() {
        var line = Array("FN:张三丰".utf8)
        line.insert(contentsOf: Array("\r\n ".utf8), at: 5)
        #expect(cards(cardBytes(line)).first?.formattedName == "张三丰")
    }

    @Test("byte-order marks are skipped at the start and where files were joined")
    func byteOrderMark() {
        let one = "\u{feff}BEGIN:VCARD\r\nFN:A\r\nEND:VCARD\r\n"
        #expect(cards(one + one).map(\.formattedName) == ["A", "A"])
        #expect(errors(entries(one + one)).isEmpty)
    }

    @Test("unknown properties are kept as they stand")
    func unknownProperties() throws {
        let card = try card("X-CUSTOM;A=1;A=2;B=\"x;y\":one\\;two;three\\nfour", "GEO:geo:1.5,2.5")
        #expect(card.properties[0].value == .raw("one\\;two;three\\nfour"))
        #expect(card.properties[0].text == "one;two;three\nfour")
        #expect(card.properties[0].parameter("a") == ["1", "2"])
        #expect(card.properties[0].parameter("B") == ["x;y"])
        #expect(card.properties[1].value == .raw("geo:1.5,2.5"))
    }

    @Test("only the known escapes of a parameter are undone")
    func parameterEscapes() throws {
        let card = try card("TEL;X=^^n,^n,^',^x,^:1", "EMAIL;X=\"^'q^'\":a@b.example")
        #expect(card.properties[0].parameter("X") == ["^n", "\n", "\"", "^x", "^"])
        #expect(card.properties[1].parameter("X") == ["\"q\""])
    }

    @Test("pictures within a card are passed over, links to pictures are kept")
    func pictures() throws {
        let data = String(repeating: "QUJD", count: 100)
        let card = try card(
            "PHOTO;ENCODING=b;TYPE=JPEG:\(data)\r\n \(data)==", "LOGO:data:image/png;base64,\(data)", "KEY:\(data)",
            "X-PICTURE;ENCODING=BASE64:\(data)", "SOUND;TYPE=WAVE;BASE64:\r\n \(data)", "",
            "PHOTO;JPEG;BASE64:\(data)\r\n\(data)=\r\n\(data)==", "PHOTO;VALUE=uri:https://example.com/a.jpg", "FN:A")
        #expect(card.properties.map(\.name) == ["PHOTO", "FN"])
        #expect(card.properties[0].text == "https://example.com/a.jpg")
    }

    @Test("a picture far larger than a card may be doesn't make the card too large")
    func hugePicture() throws {
        let line = " " + String(repeating: "A", count: 74) + "\r\n"
        let picture = String(repeating: line, count: 60_000)
        let read = entries("BEGIN:VCARD\r\nPHOTO;ENCODING=b:\r\n\(picture)FN:A\r\nEND:VCARD\r\n")
        #expect(try read[0].result.get().formattedName == "A")
        #expect(read[0].skippedLines.isEmpty)
    }

    @Test("a card within AGENT of 2.1 is passed over")
    func agent() throws {
        let card = try card(
            "FN:Boss", "AGENT:", "BEGIN:VCARD", "FN:Assistant", "END:VCARD", "TITLE:CEO", version: "2.1")
        #expect(card.properties.map(\.text) == ["Boss", "CEO"])
    }

    @Test("a card without a version, or with one that nobody knows, is read all the same")
    func noVersion() {
        #expect(cards("BEGIN:VCARD\nFN:A\nEND:VCARD").map(\.version) == [nil])
        #expect(cards("BEGIN:VCARD\nVERSION:9.9\nFN:A\nEND:VCARD").map(\.formattedName) == ["A"])
    }

    @Test("lines that are no property are left out and named")
    func skippedLines() throws {
        let entry = entries("BEGIN:VCARD\nNOTE:one\ntwo\nFN;X=\"open:A\n:B\n BAD\nEND:VCARD")[0]
        #expect(entry.skippedLines == [3, 4, 5])
        #expect(try entry.result.get().properties.count == 1)
    }

    @Test("reading can begin again where any entry ended")
    func resuming() {
        let text =
            "junk\n\nBEGIN:VCARD\nFN:A\nEND:VCARD\n\nBEGIN:VCARD\nFN:\u{0}\nEND:VCARD\nBEGIN:VCARD\nBEGIN:VCARD\nFN:B\n C\nEND:VCARD\nBEGIN:VCARD\n"
        let bytes = Array(text.utf8)
        let all = entries(bytes)
        #expect(all.map(\.number) == Array(1...all.count))
        #expect(all.map(\.line) == [1, 3, 7, 10, 11, 15])
        for entry in all {
            var reader = VCardReader(offset: entry.end, entries: entry.number, lines: entry.lines)
            #expect(reader.feed(bytes[entry.end...]) + reader.finish() == Array(all[entry.number...]))
            #expect(entry.start <= entry.end && entry.end <= bytes.count)
        }
    }
}

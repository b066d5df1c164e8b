import Testing
import VCard

@Suite("Writing cards")
struct VCardWriterTests {
    private let card = VCard(properties: [
        VCard.Property("FN", "Zhang San; \"Sam\", 张三"),
        VCard.Property("N", components: ["Zhang", "San", "", "", ""]),
        VCard.Property("EMAIL", "sam@example.com", types: ["work"], preference: 1),
        VCard.Property("EMAIL", "sam@example.org", types: ["home"], preference: 2),
        VCard.Property("ORG", components: ["Acme, Inc.", "Pumps"]),
        VCard.Property(
            "ADR", components: ["", "", "1 Main St\nFloor 2", "Beijing", "", "100000", "China"], types: ["work"]),
        VCard.Property("CATEGORIES", .list(["vip", "a,b"])),
        VCard.Property("URL", "https://example.com/a,b;c"),
        VCard.Property("BDAY", "1960-01-31"),
        VCard.Property("TEL", parameters: [VCard.Parameter("VALUE", ["uri"])], .text("tel:+1-555-0100;ext=1")),
        VCard.Property("X-NEEDS", "pump; valve", group: "item1"),
        VCard.Property("NOTE", parameters: [VCard.Parameter("X-BY", ["\"A\": b", "^", "c\nd"])], .text("\\o/")),
    ])

    private func lines(_ version: VCard.Version) -> [String] {
        String(decoding: VCardWriter(version: version).bytes(card), as: UTF8.self).replacing("\r\n ", with: "")
            .split(separator: "\r\n").map(String.init)
    }

    @Test("4.0 is written with the escapes and parameters of RFC 6350")
    func version40() {
        #expect(
            lines(.v40) == [
                "BEGIN:VCARD", "VERSION:4.0", "FN:Zhang San\\; \"Sam\"\\, 张三", "N:Zhang;San;;;",
                "EMAIL;TYPE=work;PREF=1:sam@example.com", "EMAIL;TYPE=home;PREF=2:sam@example.org",
                "ORG:Acme\\, Inc.;Pumps", "ADR;TYPE=work:;;1 Main St\\nFloor 2;Beijing;;100000;China",
                "CATEGORIES:vip,a\\,b", "URL:https://example.com/a,b;c", "BDAY:19600131",
                "TEL;VALUE=uri:tel:+1-555-0100;ext=1", "item1.X-NEEDS:pump\\; valve",
                "NOTE;X-BY=\"^'A^': b\",^^,c^nd:\\\\o/", "END:VCARD",
            ])
    }

    @Test("3.0 is written with its own preference, date and telephone number")
    func version30() {
        let lines = lines(.v30)
        #expect(lines[1] == "VERSION:3.0")
        #expect(lines.contains("EMAIL;TYPE=work,pref:sam@example.com"))
        #expect(lines.contains("EMAIL;TYPE=home:sam@example.org"))
        #expect(lines.contains("BDAY:1960-01-31"))
        #expect(lines.contains("TEL:+1-555-0100\\;ext=1"))
    }

    @Test("an older preference becomes a rank in 4.0")
    func preference() throws {
        let old = try VCardTests.card(
            "TEL;TYPE=HOME,pref:1", "TEL;TYPE=\"home,PREF\":2", "TEL;PREF;WORK:3", version: "3.0")
        let new = old.adapted(to: .v40)
        #expect(new.phones.map(\.preference) == [1, 1, 1])
        #expect(new.properties("TEL").map { $0.parameter("TYPE") } == [["HOME"], ["home"], ["WORK"]])
        #expect(new.adapted(to: .v40) == new)
    }

    @Test("what a version requires is added where it is missing")
    func required() {
        let text = { (properties: [VCard.Property]) in
            VCard(properties: properties).adapted(to: .v30).properties.map { "\($0.name):\($0.text)" }
        }
        #expect(text([]) == ["FN:", "N:"])
        #expect(text([VCard.Property("EMAIL", "a@b.example")]) == ["FN:a@b.example", "N:", "EMAIL:a@b.example"])
        #expect(text([VCard.Property("N", components: ["张", "三"])]) == ["FN:张三", "N:张 三"])
        #expect(VCard(properties: []).adapted(to: .v40).properties.map(\.name) == ["FN"])
        #expect(VCard(properties: []).adapted(to: .v21).version == .v30)
    }

    @Test("lines are folded at 75 octets and never within a character")
    func folding() {
        for padding in 0...4 {
            let text = String(repeating: "x", count: padding) + String(repeating: "张😀", count: 60)
            let bytes = VCardWriter().bytes(VCard(properties: [VCard.Property("FN", text)]))
            let lines = bytes.split(separator: 10).map { $0.dropLast() }
            #expect(lines.allSatisfy { $0.count <= 75 && String(validating: $0, as: UTF8.self) != nil })
            #expect(lines.dropFirst(2).dropLast(2).allSatisfy { $0.count > 71 })
            #expect(cards(bytes).first?.formattedName == text)
        }
    }

    @Test("a property takes the shape that its name asks for")
    func shapes() {
        #expect(VCard.Property("ORG", "Acme").value == .structured([["Acme"]]))
        #expect(VCard.Property("N", .list(["a", "b"])).components == [["a, b"]])
        #expect(VCard.Property("ORG", .structured([["a", "b"], [""]])).value == .structured([["a, b"], []]))
        #expect(VCard.Property("categories", "a,b").value == .list(["a,b"]))
        #expect(VCard.Property("X-Ä", "a;b").name == "X---")
        #expect(VCard.Property("X-A", "a;b").value == .raw("a\\;b"))
        #expect(VCard.Property("FN", "a\r\nb\u{0}\rc").text == "a\nb\nc")
    }
}

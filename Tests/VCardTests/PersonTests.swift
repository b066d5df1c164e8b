import Testing
import VCard

@Suite("What a card says of a person")
struct PersonTests {
    @Test(
        "a birthday is a full date or none",
        arguments: [
            ("19600131", "1960-01-31"), ("1960-01-31", "1960-01-31"), ("19600131T102200Z", "1960-01-31"),
            ("1960-01-31T00:00:00+08:00", "1960-01-31"), (" 1960-01-31 ", "1960-01-31"), ("20000229", "2000-02-29"),
            ("1960-01-31 10:00", "1960-01-31"), ("00010101", "0001-01-01"),
            ("--0131", nil), ("--01-31", nil), ("1960-01", nil), ("1960", nil), ("circa 1800", nil), ("", nil),
            ("19001301", nil), ("19000229", nil), ("00000101", nil), ("196001311", nil), ("1960-0131", nil),
            ("1960-01/31", nil), ("١٩٦٠٠١٣١", nil), ("---31", nil),
        ] as [(String, String?)])
    func birthday(text: String, date: String?) throws {
        #expect(try card("BDAY:\(text)").birthday?.text == date)
    }

    @Test("an empty card says nothing")
    func empty() throws {
        let card = try card("FN: ", "N:;;;;", "ORG:;", "ADR:;;;;;;", "EMAIL:", "NOTE:", "CATEGORIES:", "TEL:tel:")
        #expect(card.formattedName == nil && card.name == nil && card.organization.isEmpty && card.addresses.isEmpty)
        #expect(card.emails.isEmpty && card.note == nil && card.categories.isEmpty && card.phones.isEmpty)
        #expect(
            card.title == nil && card.role == nil && card.uid == nil && card.revision == nil && card.birthday == nil)
        #expect(card.urls.isEmpty && card.messengers.isEmpty && card.socialProfiles.isEmpty)
    }

    @Test("the preferred property comes first, whichever version says so")
    func preference() throws {
        let new = try card("FN;PREF=2:Second", "FN;PREF=1:First", "FN:Other", "ROLE:a", "ROLE;PREF=100:b")
        #expect(new.formattedName == "First")
        #expect(new.role == "b")
        let old = try card("TITLE:Other", "TITLE;TYPE=pref:First", "EMAIL;PREF=0:a@b.example", version: "3.0")
        #expect(old.title == "First")
        #expect(old.emails.first?.preference == nil)
    }

    @Test("schemes are taken off addresses and numbers, services are named")
    func channels() throws {
        let card = try card(
            "EMAIL:mailto:a@b.example", "TEL;VALUE=uri:TEL:+1-555-0100", "TEL:555 0100;ext", "X-QQ:10001",
            "IMPP;TYPE=work:xmpp:a@b.example", "SOCIALPROFILE;SERVICE-TYPE=Mastodon:https://example.social/@a",
            "UID:urn:uuid:1", "NOTE:one", "NOTE:two", "CATEGORIES:a,b", "CATEGORIES:b,c")
        #expect(card.emails.map(\.value) == ["a@b.example"])
        #expect(card.phones.map(\.value) == ["+1-555-0100", "555 0100;ext"])
        #expect(card.messengers.map(\.service) == ["xmpp", "QQ"])
        #expect(card.socialProfiles.map(\.service) == ["Mastodon"])
        #expect(card.uid == "urn:uuid:1")
        #expect(card.note == "one\n\ntwo")
        #expect(card.categories == ["a", "b", "c"])
    }

    @Test("Chinese names begin with the family, others with the given name")
    func names() throws {
        #expect(try card("N:欧阳;娜娜;;;").name?.formatted == "欧阳娜娜")
        #expect(try card("N:Public;John;Quinlan,Paul;Mr.;Esq.").name?.formatted == "Mr. John Quinlan Paul Public Esq.")
        #expect(try card("N:Public").name?.formatted == "Public")
    }
}

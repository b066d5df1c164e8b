import Testing
import VCard

/// Cards in the manner of the programs that write most of them; the people in them are invented.
@Suite("Cards of other programs")
struct ForeignCardTests {
    @Test("Apple: grouped labels, escaped colons, a birthday without a year, social profiles")
    func apple() throws {
        let card = try card(
            "PRODID:-//Apple Inc.//macOS 15.0//EN", "N:Muster;Eva;;;", "FN:Eva Muster", "ORG:Muster AG;Verkauf;",
            "item1.EMAIL;type=INTERNET;type=pref:eva@example.com", "item1.X-ABLabel:_$!<Work>!$_",
            "TEL;type=IPHONE;type=CELL;type=VOICE:+41 79 555 01 00",
            "item2.ADR;type=HOME:;;Seeweg 4\\nHinterhaus;Bern;;3000;Schweiz", "item2.X-ABADR:ch",
            "item3.URL:http\\://www.example.com/a\\,b", "item3.X-ABLabel:Blog",
            "BDAY;X-APPLE-OMIT-YEAR=1604:1604-03-09",
            "X-SOCIALPROFILE;type=twitter;x-user=eva:https://twitter.com/eva",
            "IMPP;X-SERVICE-TYPE=QQ;type=HOME:x-apple:10001", "X-ABShowAs:COMPANY", version: "3.0")
        #expect(card.emails.first?.value == "eva@example.com")
        #expect(card.emails.first?.label == "Work")
        #expect(card.emails.first?.preference == 1)
        #expect(card.phones.first?.types == ["iphone", "cell", "voice"])
        let address = try #require(card.addresses.first)
        #expect(address.street == "Seeweg 4\nHinterhaus")
        #expect(address.countryCode == "CH")
        #expect(address.types == ["home"])
        #expect(card.urls.first?.value == "http://www.example.com/a,b")
        #expect(card.urls.first?.label == "Blog")
        #expect(card.birthday == nil)
        #expect(card.socialProfiles.first?.types == ["twitter"])
        #expect(card.messengers.first?.service == "QQ")
        #expect(card.organization == ["Muster AG", "Verkauf"])
    }

    @Test("Google: a label in place of a type, several notes and my contacts")
    func google() throws {
        let card = try card(
            "FN:李小龙", "N:李;小龙;;;", "EMAIL;TYPE=INTERNET;TYPE=HOME:li@example.cn", "item1.TEL:+86 139 5550 0100",
            "item1.X-ABLabel:微信", "BDAY:19601127", "CATEGORIES:myContacts,朋友", "NOTE:喜欢喝茶\\n下午打电话", version: "3.0")
        #expect(card.name?.formatted == "李小龙")
        #expect(card.emails.first?.types == ["internet", "home"])
        #expect(card.phones.first?.label == "微信")
        #expect(card.birthday?.text == "1960-11-27")
        #expect(card.categories == ["myContacts", "朋友"])
        #expect(card.note == "喜欢喝茶\n下午打电话")
    }

    @Test("Outlook: 2.1 with a language, a label in quoted-printable and a picture before an empty line")
    func outlook() throws {
        let card = try card(
            "N;LANGUAGE=de;CHARSET=Windows-1252:Probe;Max", "FN;CHARSET=Windows-1252:Max Probe", "ORG:Probe GmbH, Wien",
            "TITLE:Einkauf", "TEL;WORK;VOICE:+43 1 555 0100", "TEL;CELL;VOICE:+43 660 555 0100",
            "ADR;WORK;PREF:;;Ring 1;Wien;;1010;Österreich",
            "LABEL;WORK;PREF;ENCODING=QUOTED-PRINTABLE:Ring 1=0D=0A=\r\n1010 Wien",
            "X-MS-OL-DEFAULT-POSTAL-ADDRESS:2", "EMAIL;PREF;INTERNET:max@example.at",
            "X-MS-CARDPICTURE;TYPE=JPEG;ENCODING=BASE64:\r\n /9j/4AAQSkZJRgABAQEAYABgAAD/\r\n 2wBDAAEBAQ==\r\n",
            "REV:20250101T101500Z", version: "2.1")
        #expect(card.name?.family == "Probe")
        #expect(card.organization == ["Probe GmbH, Wien"])
        #expect(card.phones.map(\.types) == [["work", "voice"], ["cell", "voice"]])
        #expect(card.addresses.first?.preference == 1)
        #expect(card.property("LABEL")?.text == "Ring 1\n1010 Wien")
        #expect(card.emails.first?.types == ["internet"])
        #expect(card.revision == "20250101T101500Z")
        #expect(!card.properties.contains { $0.name == "X-MS-CARDPICTURE" })
    }
}

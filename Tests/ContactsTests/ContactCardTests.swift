import Foundation
import Records
import Testing

@testable import Contacts

@Suite("Contacts as vCards")
struct ContactCardTests {
    private static let people: [[String: JSONValue]] = [
        [
            "given_name": "伟, 大", "family_name": "王; \\n", "display_name": "王伟 🙂 \"老王\"", "region": "上海",
            "needs": ["茶", "a;b", "c,d", "\\", "e\\nf"], "source": "shop", "external_id": "urn:uuid:7",
            "emails": [
                ["value": "wei@example.cn", "kind": "mobile", "primary": true, "verified": true],
                ["value": "b@example.eu", "kind": "other", "primary": false, "verified": false],
                ["value": "c@example.eu", "kind": .null, "primary": .null, "verified": .null],
            ],
            "phones": [["value": "+8613955500100", "kind": "home", "primary": true, "verified": false]],
            "socials": [["value": "微信: wei,;:\\", "kind": "work", "primary": false, "verified": false]],
            "addresses": [
                ["kind": "home", "house_number": "7", "country": "CN"],
                [
                    "kind": "work", "street": "Main, Street", "house_number": "1;2", "additional": "二楼, rechts",
                    "city": "Leiden", "region": "ZH", "postal_code": "2311 AB", "country": "NL",
                ],
                ["kind": .null, "street": "שדרות רוטשילד"],
            ],
        ],
        [
            "display_name": "عمر بن الخطاب", "job_title": .string(String(repeating: "很长的职位,;\"", count: 12)),
            "occupation": "x",
            "birth_date": "1980-01-31", "industry": "9", "risk_attitude": "bold", "likelihood_to_repurchase": 3,
            "do_not_contact": true, "identifiers": [["value": "=7\u{202E}abc", "kind": "tax"]],
            "organization_id": "01a2031f-160e-783b-bc33-56355b57bb39", "needs": .null, "phones": .null, "emails": [],
            "socials": [], "addresses": [],
        ],
        ["display_name": "—", "do_not_contact": false, "needs": [], "addresses": .null],
    ]

    @Test("a contact's card gives the contact again, with every script, null and separator", arguments: people)
    func roundTrip(person: [String: JSONValue]) throws {
        var sent = person
        for (name, value) in ["id": "01a2031f-160e-783b-bc33-56355b57bb39", "updated_at": "2026-01-31T10:00:00.5Z"] {
            sent[name] = .string(value)
        }
        sent["version"] = 4
        sent["quality_score"] = 50
        var bytes: [UInt8] = []
        ContactCard.format.write(sent, &bytes)
        #expect(bytes.split(separator: 10).allSatisfy { $0.count <= 76 })
        var reader = ContactCard.format.reader(.start)
        // Piece by piece, as files come.
        var entries: [RecordFileEntry] = []
        for byte in bytes { entries += reader.feed([byte]) }
        entries += reader.finish()
        let entry = try #require(entries.first)
        #expect(entries.count == 1 && entry.error == nil && entry.unplaced.isEmpty && entry.named.isEmpty)
        // Lists that were not said are empty, as their defaults are.
        let expected = person.merging(
            ["emails", "phones", "socials", "addresses", "needs"].map { ($0, []) },
            uniquingKeysWith: { given, _ in given }
        ).filter { $0.key != "do_not_contact" || $0.value == true }
        #expect(JSONValue.object(entry.record).encoded == JSONValue.object(expected).encoded)
    }

    private func read(_ lines: String...) throws -> RecordFileEntry {
        let text = (["BEGIN:VCARD"] + lines + ["END:VCARD"]).joined(separator: "\r\n") + "\r\n"
        var reader = ContactCard.format.reader(.start)
        let entries = reader.feed(Array(text.utf8)[...]) + reader.finish()
        #expect(entries.count == 1)
        return try #require(entries.first)
    }

    @Test("an iPhone's card: labels beside the property, a birthday without a year, a country by its name")
    func apple() throws {
        let entry = try read(
            "VERSION:3.0", "PRODID:-//Apple Inc.//iPhone OS 18.1//EN", "N:Muster;Eva;Maria;Dr.;",
            "FN:Dr. Eva Maria Muster", "ORG:Muster AG;Verkauf", "TITLE:Leiterin",
            "item1.EMAIL;type=INTERNET;type=pref:Eva@Example.com", "item1.X-ABLabel:_$!<Work>!$_",
            "EMAIL;type=INTERNET;type=HOME:eva@home.example",
            "TEL;type=IPHONE;type=CELL;type=VOICE:+41 79 555 01 00",
            "item2.ADR;type=HOME:;;Seeweg 4\\nHinterhaus;Bern;;3000;Schweiz", "item2.X-ABADR:ch",
            "BDAY;X-APPLE-OMIT-YEAR=1604:1604-03-09", "NOTE:Mag\\, wie immer\\, Tee.",
            "IMPP;X-SERVICE-TYPE=QQ;type=HOME:x-apple:10001", "PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQSkZJRg==",
            "UID:4e0a-7")
        let emails = entry.record["emails"]?.array ?? []
        #expect(entry.record["given_name"] == "Eva Maria" && entry.record["family_name"] == "Muster")
        #expect(entry.record["display_name"] == "Dr. Eva Maria Muster" && entry.record["job_title"] == "Leiterin")
        #expect(emails.map { $0["kind"]! } == ["work", "home"] && emails.map { $0["primary"]! } == [true, false])
        #expect(entry.record["phones"]?.array?.first?["kind"] == "mobile")
        let address = entry.record["addresses"]?.array?.first
        #expect(address?["street"] == "Seeweg 4, Hinterhaus" && address?["country"] == "CH")
        #expect(entry.record["socials"]?.array?.first?["value"] == "x-apple:10001")
        #expect(entry.record["external_id"] == "4e0a-7" && entry.record["birth_date"] == nil)
        #expect(entry.named == ["organization_id": "Muster AG"])
        #expect(entry.unplaced.map(\.property) == ["BDAY", "NOTE"])
    }

    @Test("Outlook's card 2.1: quoted-printable, Latin 1, types without a name")
    func outlook() throws {
        let entry = try read(
            "VERSION:2.1", "N;LANGUAGE=de;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FCller;J=F6rg",
            "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=B6rg M=C3=BCl=", "ler", "TEL;WORK;VOICE:030 1234567",
            "ADR;WORK;PREF;ENCODING=QUOTED-PRINTABLE:;;Hauptstr. 1=0D=0A2. OG;Berlin;;10115;Deutschland",
            "EMAIL;PREF;INTERNET:joerg@example.de", "X-MS-OL-DESIGN;CHARSET=utf-8:<card/>", "REV:20240102T030405Z")
        #expect(entry.record["given_name"] == "Jörg" && entry.record["display_name"] == "Jörg Müller")
        #expect(entry.record["phones"]?.array?.first?["kind"] == "work")
        #expect(entry.record["addresses"]?.array?.first?["country"] == "DE")
        #expect(entry.unplaced.isEmpty)
    }

    @Test("Google's card: its group of all contacts is no need; a land nobody knows is told")
    func google() throws {
        let entry = try read(
            "VERSION:3.0", "FN:李小龙", "N:李;小龙;;;", "EMAIL;TYPE=INTERNET;TYPE=HOME:li@example.cn",
            "item1.TEL:+86 139 5550 0100", "item1.X-ABLabel:mobile", "BDAY:19601127", "CATEGORIES:myContacts,朋友",
            "ADR;TYPE=HOME:;;1 Road;Nowhere;;;Atlantis", "URL:https://example.cn")
        #expect(entry.record["birth_date"] == "1960-11-27" && entry.record["needs"] == ["朋友"])
        #expect(entry.record["phones"]?.array?.first?["kind"] == "mobile")
        #expect(entry.unplaced.map(\.property) == ["ADR", "URL"])
    }

    @Test("a card that is none says where; the next one is read, and reading goes on from any entry's end")
    func broken() throws {
        let text = "hello\r\nBEGIN:VCARD\r\nVERSION:4.0\r\nFN:A\r\nEND:VCARD\r\nBEGIN:VCARD\r\nFN:B\r\n"
        var reader = ContactCard.format.reader(.start)
        let entries = reader.feed(Array(text.utf8)[...]) + reader.finish()
        #expect(entries.map(\.error?.code) == ["outside_card", nil, "missing_end"])
        let place = entries[0].place
        var second = ContactCard.format.reader(place)
        let rest = second.feed(Array(text.utf8)[place.offset...]) + second.finish()
        #expect(rest.map(\.number) == [2, 3] && rest.map(\.place.offset) == entries.dropFirst().map(\.place.offset))
        #expect(rest.last?.error?.message == entries.last?.error?.message)
    }
}

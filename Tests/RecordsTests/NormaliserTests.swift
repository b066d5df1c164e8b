import Database
import Foundation
import Testing

@testable import Records

@Suite("Normalising")
struct NormaliserTests {
    @Test(
        "telephone numbers come to E.164",
        arguments: [
            ("138 0013 8000", "CN", "+8613800138000"), ("(030) 123-45678", "DE", "+493012345678"),
            ("+1 (415) 555-2671", "DE", "+14155552671"), ("0044 20 7946 0958", "CN", "+442079460958"),
            ("１３８００１３８０００", "CN", "+8613800138000"), ("06 12345678", "NL", "+31612345678"),
        ])
    func phones(text: String, country: String, expected: String) {
        #expect(Normaliser.phone(text, country: country) == expected)
    }

    @Test(
        "what is no telephone number is refused",
        arguments: ["", "12", "call me", "+", "++4912345678", "1234567890123456789"])
    func noPhones(text: String) { #expect(Normaliser.phone(text, country: "DE") == nil) }

    @Test(
        "addresses are lower-cased",
        arguments: [
            ("Ada@Example.COM", "ada@example.com"), ("o'neill+x@a-b.ie", "o'neill+x@a-b.ie"), ("用户@例子.公司", "用户@例子.公司"),
        ])
    func emails(text: String, expected: String) { #expect(Normaliser.email(text) == expected) }

    @Test(
        "what is no address is refused",
        arguments: [
            "", "a", "a@", "@b.c", "a@b", "a..b@c.de", ".a@c.de", "a b@c.de", "a@-c.de", "a@c..de", "a@1.2.3.4",
        ])
    func noEmails(text: String) { #expect(Normaliser.email(text) == nil) }

    @Test("folding for matching ignores case, accents and width, and keeps the two Chinese scripts apart")
    func folding() {
        #expect(Normaliser.folded("ＭÜLLER  josé") == "muller jose")
        #expect(Normaliser.folded("关系") != Normaliser.folded("關係"))
    }

    @Test("times are read and written exactly")
    func times() {
        let text = "2026-11-22T05:32:26.123456Z"
        #expect(Timestamp.rfc3339(Timestamp.parse(text)!) == text)
        #expect(Timestamp.parse("2026-11-22 05:32:26.5+00") == Timestamp.parse("2026-11-22T13:32:26.5+08:00"))
        #expect(Timestamp.parse("1969-12-31T23:59:59.5Z").map(Timestamp.rfc3339) == "1969-12-31T23:59:59.5Z")
        for bad in [
            "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01", "2026-01-01T00:00:00",
            "",
        ] {
            #expect(Timestamp.parse(bad) == nil, "\(bad)")
        }
    }

    @Test("days count back and forth over a thousand years")
    func days() {
        for days in stride(from: -400_000, through: 400_000, by: 13) {
            let civil = Timestamp.civil(daysSinceEpoch: days)
            #expect(Timestamp.daysSinceEpoch(year: civil.year, month: civil.month, day: civil.day) == days)
        }
    }
}

import Testing

@testable import Records

@Suite("JSON")
struct JSONParserTests {
    @Test(
        "what is not JSON, or can't be stored, is refused",
        arguments: [
            "", "{", "[1,]", #"{"a":1,"a":2}"#, #""\ud800""#, #""\udc00x""#, #""\u0000""#, "01", "1.", "+1", "nul",
            "[1] 2",
            "\"a\nb\"", #"{"a" 1}"#, "{1:2}", "'a'", "NaN", "-",
        ])
    func refused(text: String) {
        #expect(throws: JSONError.self) { try JSONParser.parse(text.utf8) }
    }

    @Test("bytes that are not UTF-8 are refused")
    func notUTF8() {
        #expect(throws: JSONError.self) { try JSONParser.parse([0x22, 0xff, 0x22]) }
        #expect(throws: JSONError.self) { try JSONParser.parse([0x22, 0xed, 0xa0, 0x80, 0x22]) }
    }

    @Test("nesting is bounded, so that no body can exhaust the stack")
    func depth() throws {
        let deep = String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000)
        #expect(throws: JSONError.self) { try JSONParser.parse(deep.utf8) }
        _ = try JSONParser.parse((String(repeating: "[", count: 30) + String(repeating: "]", count: 30)).utf8)
    }

    @Test("numbers keep every digit, and whole numbers may be written with a point")
    func numbers() throws {
        #expect(try JSONParser.parse("9007199254740993".utf8) == .number("9007199254740993"))
        #expect(try JSONParser.parse("9007199254740993".utf8).int == 9_007_199_254_740_993)
        #expect(try JSONParser.parse("5.0".utf8).int == 5)
        #expect(try JSONParser.parse("5e2".utf8).int == 500)
        #expect(try JSONParser.parse("5.5".utf8).int == nil)
        #expect(try JSONParser.parse("1e400".utf8).int == nil)
    }

    @Test("text of any script comes back as it went in")
    func roundTrip() throws {
        let text = "关系 \u{1F91D} مرحبا \"quoted\" \\ \t\n e\u{301} \u{7f}"
        #expect(try JSONParser.parse(JSONValue.string(text).encodedBytes) == .string(text))
        #expect(try JSONParser.parse(#""\ud83e\udd1d\u4f60""#.utf8) == .string("🤝你"))
    }
}

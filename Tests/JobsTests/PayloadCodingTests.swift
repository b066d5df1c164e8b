import Database
import Foundation
import Testing

@testable import Jobs

@Suite("Payloads")
struct PayloadCodingTests {
    enum Kind: String, Codable { case one, two }
    enum Shape: Codable, Equatable {
        case circle(radius: Double)
        case none
    }
    struct Inner: Codable, Equatable {
        var name: String
        var numbers: [Int16]
    }
    struct Everything: Codable, Equatable {
        var text: String
        var id: UUID
        var date: Date
        var data: Data
        var url: URL
        var decimal: Decimal
        var bool: Bool
        var small: Int8
        var large: UInt64
        var least: Int64
        var float: Float
        var double: Double
        var missing: String?
        var kind: Kind
        var shapes: [Shape]
        var inner: Inner
        var list: [Inner?]
        var map: [String: [String: Int]]
    }

    private func everything(_ random: inout SystemRandomNumberGenerator) -> Everything {
        let texts = [
            "", "plain", "\"quoted\" \\ /", "line\nend\t\u{1}\u{7f}", "关系 🤝 مرحبا e\u{301}", "\u{0}", "\u{2028}",
        ]
        func text() -> String { texts.randomElement(using: &random)! }
        return Everything(
            text: text(), id: UUID(),
            date: Date(timeIntervalSince1970: Double(Int.random(in: 0...4_000_000_000_000)) / 1000),
            data: Data((0..<9).map { _ in UInt8.random(in: .min ... .max) }),
            url: URL(string: "https://a.example/x?y=%20")!,
            decimal: Decimal(string: "-12345678901234567890.123456789")!, bool: .random(),
            small: .random(in: .min ... .max),
            large: .random(in: .min ... .max), least: .min, float: .random(in: -1e9...1e9),
            double: .random(in: -1e300...1e300),
            missing: Bool.random() ? nil : text(), kind: .two, shapes: [.none, .circle(radius: 1.5)],
            inner: Inner(name: text(), numbers: [.min, 0, .max]), list: [nil, Inner(name: text(), numbers: [])],
            map: [text(): ["a": 1], "z": [:]])
    }

    @Test("what is encoded is decoded, whatever a value holds, and as Foundation decodes it")
    func roundTrips() throws {
        var random = SystemRandomNumberGenerator()
        let foundation = JSONDecoder()
        foundation.dateDecodingStrategy = .custom {
            Timestamp.parse(try $0.singleValueContainer().decode(String.self))!
        }
        for _ in 0..<200 {
            let value = everything(&random)
            let payload = try JobCoding.encode(value)
            #expect(try JobCoding.decode(Everything.self, from: payload) == value)
            #expect(try foundation.decode(Everything.self, from: Data(payload)) == value)
        }
        #expect(try JobCoding.decode([Int].self, from: Array("[ 1 , 2.0,3e2 ]".utf8)) == [1, 2, 300])
        #expect(try JobCoding.decode(String.self, from: Array(#""\ud83e\udd1d \u5173""#.utf8)) == "🤝 关")
    }

    /// Writes an inherited part, an array of arrays and an object within itself.
    class Base: Codable {
        var base = 1
    }
    final class Derived: Base {
        enum CodingKeys: CodingKey { case own, lists }
        override func encode(to encoder: any Encoder) throws {
            var members = encoder.container(keyedBy: CodingKeys.self)
            try members.encode("x", forKey: .own)
            var lists = members.nestedUnkeyedContainer(forKey: .lists)
            var inner = lists.nestedUnkeyedContainer()
            try inner.encode(1)
            try inner.encode(Float(2.5))
            var object = lists.nestedContainer(keyedBy: CodingKeys.self)
            try object.encodeNil(forKey: .own)
            try lists.encode(true)
            #expect(lists.count == 3)
            try super.encode(to: encoder)
        }
    }

    @Test("what Foundation writes is written, byte by byte but for the order of members")
    func likeFoundation() throws {
        func object(_ bytes: some Sequence<UInt8>) throws -> NSObject {
            let found = try JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
            guard let object = found as? NSObject else { throw CocoaError(.coderReadCorrupt) }
            return object
        }
        func same(_ value: some Encodable) throws {
            #expect(try object(JobCoding.encode(value)) == object(JSONEncoder().encode(value)))
        }
        try same(Derived())
        try same([1.0, -0.5, 1e300, 5e-300, 123_456_789_012])
        try same([Float(0.1), 1e20])
        try same(["\u{7f}\u{0}\u{1f}\"\\/": [1: "一", -2: ""]])
        try same([[Int]]())
        try same([Shape.none])
        struct Empty: Encodable {}
        try same([Empty()])
        #expect(try String(decoding: JobCoding.encode(["a": 1.0]), as: UTF8.self) == #"{"a":1}"#)
    }

    struct NotANumber: Encodable { var value = Double.nan }
    /// Goes on with an array after its object went on.
    struct OutOfOrder: Encodable {
        enum CodingKeys: CodingKey { case first, second }
        func encode(to encoder: any Encoder) throws {
            var members = encoder.container(keyedBy: CodingKeys.self)
            var list = members.nestedUnkeyedContainer(forKey: .first)
            try members.encode(1, forKey: .second)
            try list.encode(2)
        }
    }
    struct TwoValues: Encodable {
        func encode(to encoder: any Encoder) throws {
            var single = encoder.singleValueContainer()
            try single.encode(1)
            try single.encode(2)
        }
    }

    @Test("what JSON has no text for is an error, never broken text")
    func notEncoded() {
        #expect(throws: EncodingError.self) { try JobCoding.encode(NotANumber()) }
        #expect(throws: EncodingError.self) { try JobCoding.encode([Float.infinity]) }
        #expect(throws: EncodingError.self) { try JobCoding.encode(Decimal.nan) }
        #expect(throws: EncodingError.self) { try JobCoding.encode(OutOfOrder()) }
        #expect(throws: EncodingError.self) { try JobCoding.encode(TwoValues()) }
    }

    @Test(
        "what is no JSON, or not what is wanted, is an error and nothing worse",
        arguments: [
            "", " ", "{", "}", "[1,]", "{\"a\":}", "{\"a\" 1}", "{a:1}", "01", "1.", "-", "1e", "\"", "\"\\",
            "\"\u{1}\"",
            "tru", "nul", "[1] 2", "{\"name\": 1, \"numbers\": []}", "{\"name\": null, \"numbers\": []}",
            "{\"numbers\": []}",
            "{\"name\": \"\\ud800\", \"numbers\": []}", "{\"name\": \"\\x\", \"numbers\": []}",
            "{\"name\": \"x\", \"numbers\": [40000]}", "{\"name\": \"x\", \"numbers\": [1.5]}",
            "{\"name\": \"x\", \"numbers\": [1e999]}", "{\"name\": \"x\", \"numbers\": {}}",
        ])
    func refused(_ text: String) {
        #expect(throws: DecodingError.self) { try JobCoding.decode(Inner.self, from: Array(text.utf8)) }
    }

    @Test("bytes that are not UTF-8, and what is nested without end, are refused")
    func hostile() {
        #expect(throws: DecodingError.self) {
            try JobCoding.decode([String].self, from: Array("[\"".utf8) + [0xff] + Array("\"]".utf8))
        }
        let deep = [UInt8](repeating: UInt8(ascii: "["), count: 200_000)
        #expect(throws: DecodingError.self) { try JobCoding.decode([[Int]].self, from: deep) }
    }

    @Test("any bytes are read to an end", arguments: 0..<50)
    func noise(_: Int) {
        let alphabet = Array(#"{}[]",:\u0012enltrfa-+. "#.utf8) + [0, 0x80, 0xff]
        for _ in 0..<200 {
            let bytes = (0..<Int.random(in: 0...40)).map { _ in alphabet.randomElement()! }
            let ours = try? JobCoding.decode([String: Int].self, from: bytes)
            if ours != nil { #expect(try! JSONDecoder().decode([String: Int].self, from: Data(bytes)) == ours) }
        }
    }
}

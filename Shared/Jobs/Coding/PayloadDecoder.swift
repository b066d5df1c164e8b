import Database
import Foundation

/// Reads a job's value out of its payload: what `JSONEncoder` wrote with RFC 3339 times.
struct PayloadDecoder: Decoder {
    fileprivate let document: PayloadDocument
    fileprivate let node: Int
    /// The way to the value: that of what holds it, and its own name there. Put together only for an error.
    fileprivate let holder: [any CodingKey]
    fileprivate let key: (any CodingKey)?
    var codingPath: [any CodingKey] { key.map { holder + [$0] } ?? holder }
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    /// Reads `type` out of `payload`; throws `DecodingError` where it is not there.
    static func decode<Value: Decodable>(_ type: Value.Type, from payload: [UInt8]) throws -> Value {
        let document = try PayloadDocument(payload)
        return try PayloadDecoder(document: document, node: 0, holder: [], key: nil).value(type)
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        try require(.object, [String: Any].self)
        return KeyedDecodingContainer(Members<Key>(decoder: self))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        try require(.array, [Any].self)
        return Elements(decoder: self)
    }

    func singleValueContainer() throws -> any SingleValueDecodingContainer { self }

    // MARK: Values

    private var kind: PayloadDocument.Kind { document.nodes[node].kind }

    private func require(_ wanted: PayloadDocument.Kind, _ type: Any.Type) throws {
        if kind != wanted { throw mismatch(type) }
    }

    private func mismatch(_ type: Any.Type) -> DecodingError {
        let context = DecodingError.Context(codingPath: codingPath, debugDescription: "found \(kind), not \(type)")
        return kind == .null ? .valueNotFound(type, context) : .typeMismatch(type, context)
    }

    private func corrupted(_ text: String) -> DecodingError { PayloadDocument.corrupted(text, codingPath) }

    fileprivate func string() throws -> String {
        try require(.string, String.self)
        guard let text = document.string(node) else { throw corrupted("a string that is no text") }
        return text
    }

    fileprivate func bool() throws -> Bool {
        if kind == .yes { return true }
        if kind == .no { return false }
        throw mismatch(Bool.self)
    }

    fileprivate func integer<Integer: FixedWidthInteger>() throws -> Integer {
        try require(.number, Integer.self)
        guard let value: Integer = document.integer(node) else {
            throw corrupted("\(document.number(node)) is no \(Integer.self)")
        }
        return value
    }

    fileprivate func floating<Float: BinaryFloatingPoint & LosslessStringConvertible>() throws -> Float {
        try require(.number, Float.self)
        guard let value = Float(String(document.number(node))), value.isFinite else {
            throw corrupted("\(document.number(node)) is no \(Float.self)")
        }
        return value
    }

    /// Any type; those that Foundation's coders treat on their own as they do.
    fileprivate func value<Value: Decodable>(_ type: Value.Type) throws -> Value {
        func parsed<Found>(_ parse: (String) -> Found?) throws -> Value {
            let text = try string()
            guard let found = parse(text) else { throw corrupted("not a \(type): \(text)") }
            return found as! Value
        }
        if type == UUID.self { return try parsed { UUID(uuidString: $0) } }
        if type == Date.self { return try parsed { Timestamp.parse($0) } }
        if type == Data.self { return try parsed { Data(base64Encoded: $0) } }
        if type == URL.self { return try parsed { URL(string: $0) } }
        if type == Decimal.self {
            try require(.number, type)
            guard let found = Decimal(string: String(document.number(node)), locale: nil) else {
                throw corrupted("\(document.number(node)) is no decimal number")
            }
            return found as! Value
        }
        return try Value(from: self)
    }
}

extension PayloadDecoder: SingleValueDecodingContainer {
    func decodeNil() -> Bool { kind == .null }
    func decode(_: Bool.Type) throws -> Bool { try bool() }
    func decode(_: String.Type) throws -> String { try string() }
    func decode(_: Double.Type) throws -> Double { try floating() }
    func decode(_: Float.Type) throws -> Float { try floating() }
    func decode(_: Int.Type) throws -> Int { try integer() }
    func decode(_: Int8.Type) throws -> Int8 { try integer() }
    func decode(_: Int16.Type) throws -> Int16 { try integer() }
    func decode(_: Int32.Type) throws -> Int32 { try integer() }
    func decode(_: Int64.Type) throws -> Int64 { try integer() }
    func decode(_: UInt.Type) throws -> UInt { try integer() }
    func decode(_: UInt8.Type) throws -> UInt8 { try integer() }
    func decode(_: UInt16.Type) throws -> UInt16 { try integer() }
    func decode(_: UInt32.Type) throws -> UInt32 { try integer() }
    func decode(_: UInt64.Type) throws -> UInt64 { try integer() }
    func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try value(type) }
}

/// An object's members.
private struct Members<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let decoder: PayloadDecoder
    let codingPath: [any CodingKey]

    init(decoder: PayloadDecoder) {
        self.decoder = decoder
        codingPath = decoder.codingPath
    }

    var allKeys: [Key] {
        var keys: [Key] = []
        var name = decoder.document.children(of: decoder.node)
        while !name.isEmpty {
            if let key = decoder.document.string(name.lowerBound).flatMap({ Key(stringValue: $0) }) { keys.append(key) }
            name = decoder.document.after(name.lowerBound + 1)..<name.upperBound
        }
        return keys
    }

    /// Members are few: looking through them costs less than an index.
    private func find(_ key: Key) -> Int? {
        let wanted = key.stringValue
        let all = decoder.document.children(of: decoder.node)
        var name = all.lowerBound
        while name < all.upperBound {
            if decoder.document.isNamed(name, wanted) { return name + 1 }
            name = decoder.document.after(name + 1)
        }
        return nil
    }

    private func member(_ key: Key) throws -> PayloadDecoder {
        guard let node = find(key) else {
            throw DecodingError.keyNotFound(
                key, DecodingError.Context(codingPath: codingPath, debugDescription: "no member \(key.stringValue)"))
        }
        return PayloadDecoder(document: decoder.document, node: node, holder: codingPath, key: key)
    }

    func contains(_ key: Key) -> Bool { find(key) != nil }
    func decodeNil(forKey key: Key) throws -> Bool { try member(key).decodeNil() }
    func decode(_: Bool.Type, forKey key: Key) throws -> Bool { try member(key).bool() }
    func decode(_: String.Type, forKey key: Key) throws -> String { try member(key).string() }
    func decode(_: Double.Type, forKey key: Key) throws -> Double { try member(key).floating() }
    func decode(_: Int.Type, forKey key: Key) throws -> Int { try member(key).integer() }
    func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value { try member(key).value(type) }

    func nestedContainer<Inner: CodingKey>(
        keyedBy type: Inner.Type, forKey key: Key
    ) throws -> KeyedDecodingContainer<Inner> { try member(key).container(keyedBy: type) }

    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
        try member(key).unkeyedContainer()
    }

    /// A class's inherited part, under the name that `Encoder` gives it.
    func superDecoder() throws -> any Decoder { try Key(stringValue: "super").map { try member($0) } ?? decoder }
    func superDecoder(forKey key: Key) throws -> any Decoder { try member(key) }
}

/// An array's elements.
private struct Elements: UnkeyedDecodingContainer {
    private struct Index: CodingKey {
        let intValue: Int?
        var stringValue: String { "\(intValue ?? 0)" }
        init(_ index: Int) { intValue = index }
        init?(intValue: Int) { self.intValue = intValue }
        init?(stringValue: String) { return nil }
    }

    let decoder: PayloadDecoder
    private(set) var currentIndex = 0
    private var position: Int
    private let end: Int
    let codingPath: [any CodingKey]
    /// Not counted: to count is to read.
    var count: Int? { nil }
    var isAtEnd: Bool { position >= end }

    init(decoder: PayloadDecoder) {
        self.decoder = decoder
        codingPath = decoder.codingPath
        let all = decoder.document.children(of: decoder.node)
        position = all.lowerBound
        end = all.upperBound
    }

    private mutating func next<Value>(_ read: (PayloadDecoder) throws -> Value) throws -> Value {
        let key = Index(currentIndex)
        guard !isAtEnd else {
            throw DecodingError.valueNotFound(
                Value.self,
                DecodingError.Context(codingPath: codingPath + [key], debugDescription: "the array has ended"))
        }
        let value = try read(PayloadDecoder(document: decoder.document, node: position, holder: codingPath, key: key))
        position = decoder.document.after(position)
        currentIndex += 1
        return value
    }

    mutating func decodeNil() throws -> Bool {
        if !isAtEnd && decoder.document.nodes[position].kind != .null { return false }
        return try next { $0.decodeNil() }
    }

    mutating func decode(_: Bool.Type) throws -> Bool { try next { try $0.bool() } }
    mutating func decode(_: String.Type) throws -> String { try next { try $0.string() } }
    mutating func decode(_: Double.Type) throws -> Double { try next { try $0.floating() } }
    mutating func decode(_: Int.Type) throws -> Int { try next { try $0.integer() } }
    mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try next { try $0.value(type) } }

    mutating func nestedContainer<Inner: CodingKey>(keyedBy type: Inner.Type) throws -> KeyedDecodingContainer<Inner> {
        try next { try $0.container(keyedBy: type) }
    }

    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
        try next { try $0.unkeyedContainer() }
    }

    mutating func superDecoder() throws -> any Decoder { try next { $0 } }
}

import Database
import Foundation

/// Writes a job's value as JSON with RFC 3339 times, as `PayloadDecoder` reads it and Foundation's coder would write it.
struct PayloadEncoder: Encoder {
    fileprivate let writer: PayloadWriter
    /// How many objects and arrays are open around the value.
    fileprivate let depth: Int
    let codingPath: [any CodingKey] = []
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    fileprivate init(_ writer: PayloadWriter) {
        self.writer = writer
        depth = writer.depth
    }

    /// The bytes of `value`. Throws `EncodingError` for a number that JSON has none for, and for a value that writes
    /// nothing, or writes to a container that has ended.
    static func encode(_ value: some Encodable) throws -> [UInt8] {
        let writer = PayloadWriter()
        try writer.value(value)
        writer.close(to: 0)
        if let failure = writer.failure { throw failure }
        return writer.bytes
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        KeyedEncodingContainer(Members(writer: writer, place: writer.open(.object, at: depth)))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        Elements(writer: writer, place: writer.open(.array, at: depth))
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { Single(writer: writer) }
}

extension PayloadWriter {
    /// Any type; those that Foundation's coders treat on their own as they do.
    fileprivate func value<Value: Encodable>(_ value: Value) throws {
        switch Value.self {
        case is Date.Type: text(Timestamp.rfc3339(value as! Date))
        case is Data.Type: text((value as! Data).base64EncodedString())
        case is URL.Type: text((value as! URL).absoluteString)
        case is Decimal.Type:
            let decimal = value as! Decimal
            if decimal.isNaN { fail("no number of JSON") } else { literal(decimal.description) }
        default:
            let depth = depth
            try value.encode(to: PayloadEncoder(self))
            close(to: depth)
            // It wrote nothing at all: an empty object, as a value without members is.
            if isDue { literal("{}") }
        }
    }

    fileprivate func integer(_ value: some FixedWidthInteger) { literal(value.description) }
}

private struct Single: SingleValueEncodingContainer {
    let writer: PayloadWriter
    let codingPath: [any CodingKey] = []

    func encodeNil() { writer.literal("null") }
    func encode(_ value: Bool) { writer.literal(value ? "true" : "false") }
    func encode(_ value: String) { writer.text(value) }
    func encode(_ value: Double) { writer.number(value) }
    func encode(_ value: Float) { writer.number(value) }
    func encode(_ value: Int) { writer.integer(value) }
    func encode(_ value: Int8) { writer.integer(value) }
    func encode(_ value: Int16) { writer.integer(value) }
    func encode(_ value: Int32) { writer.integer(value) }
    func encode(_ value: Int64) { writer.integer(value) }
    func encode(_ value: UInt) { writer.integer(value) }
    func encode(_ value: UInt8) { writer.integer(value) }
    func encode(_ value: UInt16) { writer.integer(value) }
    func encode(_ value: UInt32) { writer.integer(value) }
    func encode(_ value: UInt64) { writer.integer(value) }
    func encode(_ value: some Encodable) throws { try writer.value(value) }
}

/// An object's members.
private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let writer: PayloadWriter
    let place: PayloadWriter.Place
    let codingPath: [any CodingKey] = []

    private func named(_ key: some CodingKey) -> PayloadWriter {
        writer.member(key.stringValue, of: place)
        return writer
    }

    func encodeNil(forKey key: Key) { named(key).literal("null") }
    func encode(_ value: Bool, forKey key: Key) { named(key).literal(value ? "true" : "false") }
    func encode(_ value: String, forKey key: Key) { named(key).text(value) }
    func encode(_ value: Double, forKey key: Key) { named(key).number(value) }
    func encode(_ value: Int, forKey key: Key) { named(key).integer(value) }
    func encode(_ value: some Encodable, forKey key: Key) throws { try named(key).value(value) }

    func nestedContainer<Inner: CodingKey>(
        keyedBy type: Inner.Type, forKey key: Key
    ) -> KeyedEncodingContainer<Inner> { PayloadEncoder(named(key)).container(keyedBy: type) }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        PayloadEncoder(named(key)).unkeyedContainer()
    }

    /// For a class's inherited part, under the name that `Encoder` gives it.
    func superEncoder() -> any Encoder {
        writer.member("super", of: place)
        return PayloadEncoder(writer)
    }

    func superEncoder(forKey key: Key) -> any Encoder { PayloadEncoder(named(key)) }
}

/// An array's elements.
private struct Elements: UnkeyedEncodingContainer {
    let writer: PayloadWriter
    let place: PayloadWriter.Place
    let codingPath: [any CodingKey] = []
    var count: Int { writer.count(of: place) }

    private var next: PayloadWriter {
        writer.element(of: place)
        return writer
    }

    func encodeNil() { next.literal("null") }
    func encode(_ value: Bool) { next.literal(value ? "true" : "false") }
    func encode(_ value: String) { next.text(value) }
    func encode(_ value: Double) { next.number(value) }
    func encode(_ value: Int) { next.integer(value) }
    func encode(_ value: some Encodable) throws { try next.value(value) }

    func nestedContainer<Inner: CodingKey>(keyedBy type: Inner.Type) -> KeyedEncodingContainer<Inner> {
        PayloadEncoder(next).container(keyedBy: type)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { PayloadEncoder(next).unkeyedContainer() }
    func superEncoder() -> any Encoder { PayloadEncoder(next) }
}

import Testing

@testable import Webhooks

@Suite("Delivery queue")
struct DeliveryQueueTests {
    @Test("a host gets no more than its places, others go past it")
    func perHost() {
        var queue = DeliveryQueue(perHost: 2, atOnce: 10)
        for id in 1...5 { queue.add(UInt64(id), host: "slow") }
        queue.add(6, host: "quick")
        #expect(Self.drain(&queue) == [1, 6, 2])
        queue.finish(host: "slow")
        #expect(Self.drain(&queue) == [3])
        queue.finish(host: "quick")
        #expect(Self.drain(&queue) == [])
    }

    @Test("hosts take turns for the client's places")
    func turns() {
        var queue = DeliveryQueue(perHost: 2, atOnce: 3)
        for id in 1...4 { queue.add(UInt64(id), host: "a") }
        for id in 5...6 { queue.add(UInt64(id), host: "b") }
        #expect(Self.drain(&queue) == [1, 5, 2])
        queue.finish(host: "a")
        #expect(Self.drain(&queue) == [6])
        queue.finish(host: "b")
        #expect(Self.drain(&queue) == [3])
    }

    @Test("what is taken out never starts and leaves nothing behind")
    func remove() {
        var queue = DeliveryQueue(perHost: 1, atOnce: 3)
        for id in 1...3 { queue.add(UInt64(id), host: "a") }
        queue.add(4, host: "b")
        queue.remove(1, host: "a")
        queue.remove(4, host: "b")
        queue.remove(9, host: "c")
        #expect(Self.drain(&queue) == [2])
        queue.remove(3, host: "a")
        queue.finish(host: "a")
        #expect(Self.drain(&queue) == [])
        queue.add(5, host: "a")
        #expect(Self.drain(&queue) == [5])
    }

    private static func drain(_ queue: inout DeliveryQueue) -> [UInt64] {
        var ids: [UInt64] = []
        while let id = queue.next() { ids.append(id) }
        return ids
    }
}

@Suite("Answer reader")
struct AnswerReaderTests {
    @Test("interim answers are passed over, trailers ignored")
    func interim() {
        var reader = AnswerReader()
        let lines = [
            "HTTP/1.1 103 Early Hints\r\n", "Location: /early\r\n", "\r\n", "HTTP/1.1 302 Found\r\n",
            "LOCATION: \t/there \r\n",
        ]
        for line in lines { #expect(Self.header(line, &reader)) }
        #expect(!reader.isAnswered)
        #expect(Self.header("\r\n", &reader))
        #expect(reader.isAnswered)
        #expect(Self.header("Retry-After: 5\r\n", &reader))
        let answer = reader.answer(isComplete: true)
        #expect(answer == DeliveryAnswer(status: 302, location: "/there"))
    }

    @Test("a character that the limit cuts in two is left out")
    func cutCharacter() {
        for filler in 0..<3 {
            var reader = AnswerReader()
            let text = String(repeating: "x", count: filler) + String(repeating: "关", count: 2_000)
            #expect(Self.body(Array(text.utf8), &reader))
            let answer = reader.answer(isComplete: true)
            #expect(!answer.body.contains("\u{fffd}"))
            #expect((4_094...4_096).contains(answer.body.utf8.count))
            #expect(!answer.isBodyComplete)
        }
    }

    @Test("what a database doesn't take becomes U+FFFD")
    func unclean() {
        var reader = AnswerReader()
        #expect(Self.body([0x61, 0, 0x62, 0xff], &reader))
        #expect(reader.answer(isComplete: true).body == "a\u{fffd}b\u{fffd}")
    }

    @Test("reading ends when the body or the header is too long")
    func limits() {
        var reader = AnswerReader()
        #expect(Self.body([UInt8](repeating: 0x61, count: AnswerReader.bodyLimit), &reader))
        #expect(!Self.body([0x61], &reader))
        #expect(Self.header(String(repeating: "a", count: AnswerReader.headerLimit), &reader))
        #expect(!Self.header("a", &reader))
        #expect(reader.isHeaderTooLong)
    }

    private static func header(_ line: String, _ reader: inout AnswerReader) -> Bool {
        Array(line.utf8).withUnsafeBytes { reader.header($0) }
    }

    private static func body(_ bytes: [UInt8], _ reader: inout AnswerReader) -> Bool {
        bytes.withUnsafeBytes { reader.body($0) }
    }
}

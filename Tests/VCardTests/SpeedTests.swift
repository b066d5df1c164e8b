import Foundation
import Testing
import VCard

/// Debug builds say nothing about speed.
private var isOptimised: Bool {
    #if DEBUG
        false
    #else
        true
    #endif
}

/// Megabytes a second of this thread's own time, the best of five rounds: what else runs doesn't count, but for the
/// caches and the core that it shares.
private func speed(of bytes: Int, _ body: () -> Void) -> Double {
    let seconds = (0..<5).map { _ in
        let start = threadTime()
        body()
        return threadTime() - start
    }
    return Double(bytes) / 1e6 / seconds.min()!
}

private func threadTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// A quiet machine does far better than this floor; a busy one still reaches it.
private let floor = 10.0

@Suite("Speed", .serialized)
struct SpeedTests {
    private func text(megabytes: Int) -> [UInt8] {
        let card = """
            BEGIN:VCARD\r
            VERSION:3.0\r
            N:Muster;Eva;Maria;Dr.;\r
            FN:Dr. Eva Maria Muster\r
            ORG:Muster Maschinen AG;Verkauf\r
            TITLE:Leiterin Einkauf\r
            item1.EMAIL;type=INTERNET;type=WORK;type=pref:eva.muster@example.com\r
            item1.X-ABLabel:_$!<Work>!$_\r
            TEL;type=CELL;type=VOICE:+41 79 555 01 00\r
            ADR;type=WORK:;;Bahnhofstrasse 1;Zürich;ZH;8001;Schweiz\r
            NOTE:Trifft sich gern am Vormittag\\, trinkt Tee\\nund redet über Pumpen. 关系\r
              Zweite Zeile der Notiz.\r
            CATEGORIES:Kunde,VIP\r
            BDAY:1960-01-31\r
            UID:urn:uuid:4fbe8971-0bc3-424c-9c26-36c3e1eff6b1\r
            END:VCARD\r

            """
        let bytes = Array(card.utf8)
        return Array(repeatElement(bytes, count: (megabytes << 20) / bytes.count).joined())
    }

    @Test("cards are read in chunks of 64 KiB at 10 MB a second at the very least", .enabled(if: isOptimised))
    func reading() throws {
        let bytes = text(megabytes: 16)
        var count = 0
        let speed = speed(of: bytes.count) {
            count = 0
            var reader = VCardReader()
            for start in stride(from: 0, to: bytes.count, by: 1 << 16) {
                count += reader.feed(bytes[start..<min(start + 1 << 16, bytes.count)]).count
            }
            count += reader.finish().count
        }
        print("read \(count) cards: \(Int(speed)) MB/s")
        #expect(speed > floor)
    }

    @Test("a picture is passed over faster than a card is read", .enabled(if: isOptimised))
    func pictures() throws {
        let line = Array((" " + String(repeating: "A", count: 74) + "\r\n").utf8)
        let bytes =
            Array("BEGIN:VCARD\r\nPHOTO;ENCODING=b:\r\n".utf8) + Array(repeatElement(line, count: 200_000).joined())
            + Array("END:VCARD\r\n".utf8)
        var count = 0
        let speed = speed(of: bytes.count) { count = cards(bytes).count }
        print("passed over \(bytes.count >> 20) MiB of picture: \(Int(speed)) MB/s")
        #expect(speed > floor && count == 1)
    }

    @Test("cards are written at 10 MB a second at the very least", .enabled(if: isOptimised))
    func writing() throws {
        let all = cards(text(megabytes: 8))
        var bytes: [UInt8] = []
        for card in all { VCardWriter().append(card, to: &bytes) }
        let speed = speed(of: bytes.count) {
            bytes.removeAll(keepingCapacity: true)
            for card in all { VCardWriter().append(card, to: &bytes) }
        }
        print("wrote \(all.count) cards: \(Int(speed)) MB/s")
        #expect(speed > floor)
    }
}

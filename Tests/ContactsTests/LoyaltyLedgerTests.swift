import Foundation
import Testing

@testable import Contacts

@Suite("Points and their lots")
struct LoyaltyLedgerTests {
    private func time(_ day: Int) -> Date { Date(timeIntervalSince1970: Double(day) * 86_400) }

    private func lot(_ points: Int, day: Int, expires: Int? = nil) -> LoyaltyLedger.Lot {
        LoyaltyLedger.Lot(id: UUID(), remaining: points, at: time(day), expiresAt: expires.map(time))
    }

    @Test("points are used oldest first, and no more of them than there are")
    func oldestFirst() throws {
        let (old, new) = (lot(50, day: 1), lot(80, day: 2))
        var ledger = LoyaltyLedger(lots: [new, old])
        let draws = try ledger.draw(70)
        #expect(draws.map(\.lot) == [old.id, new.id] && draws.map(\.points) == [50, 20])
        #expect(ledger.balance == 60)
        let before = ledger
        #expect(throws: LoyaltyLedger.InsufficientPoints(balance: 60, wanted: 61)) { _ = try ledger.draw(61) }
        #expect(ledger == before, "a refusal changes nothing")
        let rest = try ledger.draw(60)
        #expect(rest.count == 1 && ledger.balance == 0 && ledger.lots.isEmpty)
    }

    @Test("what is taken back comes from its own lot first")
    func preferred() throws {
        let (old, new) = (lot(50, day: 1), lot(80, day: 2))
        var ledger = LoyaltyLedger(lots: [old, new])
        let draws = try ledger.draw(100, first: new.id)
        #expect(draws.map(\.points) == [80, 20])
        #expect(ledger.lots.map(\.id) == [old.id])
    }

    @Test("random sequences: the balance is what came in less what went out, each lot's story adds up")
    func random() throws {
        for seed in 0..<60 {
            var random = SplitMix(state: UInt64(seed) &* 0x9e37_79b9_7f4a_7c15)
            var ledger = LoyaltyLedger()
            var came: [UUID: (points: Int, expires: Int?)] = [:]
            var went: [UUID: Int] = [:]
            var (incoming, outgoing) = (0, 0)
            for day in 1...120 {
                switch random.next() % 4 {
                case 0, 1:
                    let expires = random.next() % 3 == 0 ? nil : day + Int(random.next() % 40)
                    let new = lot(Int(random.next() % 200) + 1, day: day, expires: expires)
                    ledger.add(new)
                    came[new.id] = (new.remaining, expires)
                    incoming += new.remaining
                case 2:
                    let wanted = Int(random.next() % 300) + 1
                    let balance = ledger.balance
                    let oldest = ledger.lots.first
                    do {
                        let draws = try ledger.draw(wanted)
                        #expect(draws.reduce(0) { $0 + $1.points } == wanted && wanted <= balance)
                        #expect(draws.first?.lot == oldest?.id)
                        for draw in draws { went[draw.lot, default: 0] += draw.points }
                        outgoing += wanted
                    } catch { #expect(wanted > balance && ledger.balance == balance) }
                default:
                    for draw in ledger.expire(at: time(day)) {
                        #expect(came[draw.lot]!.expires! <= day)
                        went[draw.lot, default: 0] += draw.points
                        outgoing += draw.points
                    }
                    #expect(ledger.lots.allSatisfy { came[$0.id]!.expires.map { $0 > day } ?? true })
                }
                #expect(ledger.balance == incoming - outgoing && ledger.balance >= 0)
                for (id, points) in went { #expect(points <= came[id]!.points) }
                #expect(ledger.lots == ledger.lots.sorted { $0.at < $1.at })
            }
        }
    }

    @Test("points last to the end of their day where the tenant lives, through short months and changes of the clock")
    func expiry() {
        func text(_ at: String, _ months: Int, _ zone: String) -> String {
            let format = ISO8601DateFormatter()
            let expires = LoyaltyLedger.expiry(
                of: format.date(from: at)!, months: months, timeZone: TimeZone(identifier: zone)!)
            return format.string(from: expires)
        }
        #expect(text("2025-01-31T15:00:00Z", 1, "UTC") == "2025-03-01T00:00:00Z", "the last of February is the day")
        #expect(text("2025-01-31T17:00:00Z", 12, "Asia/Shanghai") == "2026-02-01T16:00:00Z", "it was February there")
        #expect(text("2025-03-29T12:00:00Z", 12, "Europe/Berlin") == "2026-03-29T22:00:00Z", "the night has 23 hours")
    }

    @Test("a tier is the highest whose threshold is reached")
    func tiers() {
        let tiers = [("Gold", 1000), ("Silver", 100), ("Basic", 0)].map { (name: $0.0, threshold: $0.1) }
        let names = [-5, 0, 99, 100, 5000].map { LoyaltyLedger.tier(earned: $0, of: tiers) }
        #expect(names == [nil, "Basic", "Basic", "Silver", "Gold"])
    }
}

private struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

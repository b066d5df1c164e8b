import Foundation
import Testing

@testable import Contacts

@Suite("How far a call is")
struct CallProgressTests {
    private let start = Date(timeIntervalSince1970: 1_800_000_000)
    private let ada = UUID()
    private let bob = UUID()

    private func told(_ state: CallProgress.State, _ seconds: Double, _ user: UUID? = nil, _ duration: Int? = nil)
        -> CallProgress.Told
    {
        CallProgress.Told(state: state, at: start.addingTimeInterval(seconds), user: user, duration: duration)
    }

    private func after(_ tellings: [CallProgress.Told]) -> CallProgress {
        var progress = CallProgress()
        for telling in tellings { progress.take(telling) }
        return progress
    }

    @Test("whatever the order and however often it is told, a call comes to the same")
    func order() {
        let stories: [([CallProgress.Told], CallProgress.State, UUID?, Int?)] = [
            ([told(.ringing, 0, ada), told(.answered, 5, ada), told(.ended, 65)], .ended, ada, 60),
            ([told(.ringing, 0, ada), told(.missed, 30)], .missed, ada, nil),
            // Put through: it rang at one and was answered by the other.
            (
                [told(.ringing, 0, ada), told(.ringing, 8, bob), told(.answered, 10, bob), told(.ended, 20, nil, 9)],
                .ended, bob, 9
            ),
            // Given up by one, answered by another all the same.
            ([told(.ringing, 0, ada), told(.missed, 8), told(.answered, 9, bob), told(.ended, 29)], .ended, bob, 20),
            // Ended without an answer is missed.
            ([told(.ringing, 0, bob), told(.ended, 12)], .missed, bob, nil),
        ]
        var generator = SystemRandomNumberGenerator()
        for (tellings, state, user, length) in stories {
            let expected = after(tellings)
            #expect(expected.state == state && expected.agent?.user == user && expected.length == length)
            for _ in 0..<50 {
                let repeated = (tellings + tellings.filter { _ in Bool.random() }).shuffled(using: &generator)
                #expect(after(repeated) == expected)
            }
        }
    }

    @Test("a call rings, is answered, is over")
    func states() {
        #expect(after([told(.ringing, 0)]).state == .ringing)
        #expect(after([told(.ringing, 0), told(.answered, 1)]).state == .answered)
        #expect(!after([told(.ringing, 0), told(.answered, 1)]).isOver)
        #expect(after([told(.answered, 3), told(.ringing, 1)]).startedAt == start.addingTimeInterval(1))
        #expect(after([told(.ended, 3, nil, 0)]).state == .missed, "nobody spoke")
    }
}

import Foundation
import Testing

@testable import Matching

@Suite struct ModelTests {
    private let anna = MatchProfile(
        id: UUID(), givenName: "Anna", familyName: "Wagner", birthDate: "1980-03-12", houseNumber: "4",
        street: "Gartenweg", city: "Köln", postalCode: "50667", emails: ["anna.wagner@web.de"],
        phones: ["+4917612345678"])

    @Test("the initial model is usable and its probabilities sum to one")
    func initialModel() {
        #expect(MatchModel.initial.isUsable)
        for field in MatchField.allCases {
            let levels = MatchModel.initial[field]
            #expect(abs(levels.m.reduce(0, +) - 1) < 1e-9, "\(field)")
            #expect(abs(levels.u.reduce(0, +) - 1) < 1e-9, "\(field)")
        }
    }

    @Test("the explanation and the prior sum to the probability")
    func explanation() {
        var other = anna
        other.givenName = "Ana"
        other.phones = []
        other.city = "Bonn"
        let score = MatchModel.initial.score(anna, other)
        let bits = score.priorBits + score.explanation.reduce(0) { $0 + $1.bits }
        #expect(abs(score.probability - 1 / (1 + exp2(-bits))) < 1e-12)
        #expect(score.explanation.first { $0.field == "given_name" }?.level == "close")
        #expect(score.explanation.first { $0.field == "phones" }?.bits == 0)
        #expect(score.probability > 0.99)
        let lifted = MatchModel.initial.score(anna, MatchProfile(id: UUID(), givenName: "Bob"))
            .implied(through: other.id, probability: 0.7)
        #expect(abs(lifted.probability - 0.7) < 1e-9)
        #expect(lifted.explanation.last?.level == other.id.uuidString)
    }

    @Test("a score does not depend on the order of the two people")
    func symmetry() {
        var other = anna
        other.givenName = "Wagner"
        other.familyName = nil
        other.emails = ["info@web.de", "anna.wagner@gmx.de"]
        let (one, two) = (MatchModel.initial.score(anna, other), MatchModel.initial.score(other, anna))
        #expect(one.probability == two.probability)
        #expect(one.explanation.map(\.bits) == two.explanation.map(\.bits))
    }

    @Test("twins, spouses and a father of the same name are other people, also before anything is fitted")
    func households() {
        var twin = anna
        twin.givenName = "Sabine"
        twin.emails = ["sabine.wagner@gmx.de"]
        var spouse = twin
        spouse.birthDate = "1978-11-25"
        var mother = anna
        mother.birthDate = "1951-07-30"
        mother.emails = []
        let namesake = MatchProfile(
            id: UUID(), givenName: "Anna", familyName: "Wagner", birthDate: "1999-10-07", city: "Kiel",
            postalCode: "24103")
        for (name, other) in [("twin", twin), ("spouse", spouse), ("mother", mother), ("namesake", namesake)] {
            let score = MatchModel.initial.score(anna, other)
            #expect(score.probability < 0.5, "\(name) \(score)")
        }
    }

    @Test("nothing in common but missing values is no evidence")
    func missing() {
        let score = MatchModel.initial.score(MatchProfile(id: UUID()), MatchProfile(id: UUID()))
        #expect(score.probability < 0.001)
        #expect(score.explanation.map(\.field) == ["household"])
    }

    @Test("a model survives being stored, and a damaged one is replaced by the initial one")
    func storing() throws {
        let data = try JSONEncoder().encode(MatchModel.initial)
        #expect(try JSONDecoder().decode(MatchModel.self, from: data) == .initial)
        var damaged = MatchModel.initial
        damaged.fields.removeLast()
        #expect(!damaged.isUsable)
        #expect(damaged.score(anna, anna) == MatchModel.initial.score(anna, anna))
    }
}

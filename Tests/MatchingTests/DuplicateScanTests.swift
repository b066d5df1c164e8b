import Foundation
import Synchronization
import SyntheticPeople
import Testing

@testable import Matching

@Suite struct DuplicateScanTests {
    /// A small sample: debug builds are thirty times slower.
    private static var quick: DuplicateScan.Options {
        var options = DuplicateScan.Options()
        options.strangerSample = 6_000
        return options
    }

    /// Precision, recall and F1 of the pairs at 0.5.
    private static func quality(
        _ people: [PeopleGenerator.Labelled], _ result: ScanResult
    ) -> (precision: Double, recall: Double, f1: Double) {
        let personOf = Dictionary(uniqueKeysWithValues: people.map { ($0.profile.id, $0.person) })
        let sizes = Dictionary(grouping: people, by: \.person).values.map(\.count)
        let truth = Double(sizes.reduce(0) { $0 + $1 * ($1 - 1) / 2 })
        let found = result.pairs.filter { $0.probability >= 0.5 }
        let right = Double(found.count { personOf[$0.first] == personOf[$0.second] })
        let precision = right / Double(max(1, found.count))
        let recall = right / truth
        return (precision, recall, 2 * precision * recall / (precision + recall))
    }

    @Test("corrupted duplicates are found in every language", arguments: PeopleGenerator.Language.allCases)
    func corrupted(_ language: PeopleGenerator.Language) async throws {
        var generator = PeopleGenerator(seed: 21, language: language)
        let people = generator.tenant(records: 600, hardNegatives: false)
        let quality = Self.quality(people, try await DuplicateScan.run(people.map(\.profile), options: Self.quick))
        #expect(quality.f1 >= 0.985, "\(language) \(quality)")
    }

    @Test("relatives, colleagues and namesakes stay apart", arguments: PeopleGenerator.Language.allCases)
    func hardNegatives(_ language: PeopleGenerator.Language) async throws {
        var generator = PeopleGenerator(seed: 22, language: language)
        let people = generator.tenant(records: 600)
        let quality = Self.quality(people, try await DuplicateScan.run(people.map(\.profile), options: Self.quick))
        #expect(quality.f1 >= 0.96, "\(language) \(quality)")
    }

    @Test("a tenant without duplicates gets next to none")
    func noDuplicates() async throws {
        var generator = PeopleGenerator(seed: 4, language: .english)
        let people = generator.tenant(records: 500, duplicates: 0)
        let result = try await DuplicateScan.run(people.map(\.profile), options: Self.quick)
        #expect(result.pairs.count { $0.probability >= 0.5 } <= 4)
    }

    @Test("the same people give the same result, on however many tasks")
    func determinism() async throws {
        var generator = PeopleGenerator(seed: 6, language: .continental)
        let people = generator.tenant(records: 500).map(\.profile)
        var options = Self.quick
        let one = try await DuplicateScan.run(people, options: options)
        options.parallelism = 5
        let other = try await DuplicateScan.run(people, options: options)
        #expect(one.model == other.model)
        #expect(one.pairs == other.pairs)
        #expect(one.clusters == other.clusters)
        #expect(one.model.termFrequencies.count <= TermFrequencies.maxEntries)
    }

    @Test("nobody, one person, two people and people without values are no trouble", arguments: [0, 1, 2, 200])
    func fewOrEmpty(_ count: Int) async throws {
        let people = (0..<count).map { _ in MatchProfile(id: UUID()) }
        let result = try await DuplicateScan.run(people, options: Self.quick)
        #expect(result.pairs.isEmpty)
        #expect(result.clusters.isEmpty)
        #expect(result.model.isUsable)
    }

    @Test("two equal records are one person, with nothing else to learn from")
    func twoEqual() async throws {
        let person = MatchProfile(
            id: UUID(), givenName: "Maria", familyName: "Keller", birthDate: "1971-05-06", emails: ["m.keller@web.de"])
        var copy = person
        copy.id = UUID()
        let result = try await DuplicateScan.run([person, copy])
        #expect(result.clusters == [[person.id, copy.id]])
    }

    @Test("five hundred copies of one record are one cluster, in bounded work")
    func flood() async throws {
        let copies = (0..<500).map { _ in
            MatchProfile(
                id: UUID(), givenName: "Maria", familyName: "Keller", birthDate: "1971-05-06", city: "Köln",
                emails: ["m.keller@web.de"], phones: ["+4917612345678"])
        }
        let result = try await DuplicateScan.run(copies, options: Self.quick)
        #expect(result.clusters.count == 1)
        #expect(result.clusters.first?.count == 500)
        #expect(result.pairs.count < 15_000)
        #expect(result.figures.oversizeBlocks > 0)
    }

    @Test("what a cluster implies is in the result, with through whom")
    func implied() async throws {
        var generator = PeopleGenerator(seed: 9, language: .english)
        let people = generator.tenant(records: 600, duplicates: 0.8, changes: 14).map(\.profile)
        let result = try await DuplicateScan.run(people, options: Self.quick)
        let byID = Dictionary(uniqueKeysWithValues: people.map { ($0.id, $0) })
        let implied = result.pairs.filter { $0.impliedThrough != nil }
        #expect(!implied.isEmpty)
        for pair in implied {
            #expect(pair.probability >= 0.5 && pair.directProbability < 0.5)
            let first = try #require(byID[pair.first])
            let second = try #require(byID[pair.second])
            let score = pair.lifted(result.model.score(first, second))
            #expect(abs(score.probability - pair.probability) < 1e-6)
            #expect(score.explanation.last?.field == "implied")
        }
    }

    @Test("a weak link does not chain a cluster to somebody who contradicts it")
    func noChaining() {
        let bits: [[Double]] = [[0, 30, -20], [30, 0, 2], [-20, 2, 0]]
        var clustering = PairClustering(thresholdBits: 0) { bits[$0][$1] }
        let clusters = clustering.clusters(of: [
            .init(left: 0, right: 1, bits: 30), .init(left: 1, right: 2, bits: 2),
        ])
        #expect(clusters == [[0, 1]])
    }

    @Test("an incremental scan gives the whole scan's pairs of the changed people")
    func incremental() async throws {
        var generator = PeopleGenerator(seed: 12, language: .english)
        let people = generator.tenant(records: 400).map(\.profile)
        let whole = try await DuplicateScan.run(people, options: Self.quick)
        let changed = Set(people.prefix(30).map(\.id))
        let part = try await DuplicateScan.run(people, model: whole.model, changed: changed)
        #expect(part.model == whole.model)
        #expect(part.figures.candidatePairs < whole.figures.candidatePairs / 3)
        let expected = Set(
            whole.pairs.filter {
                $0.directProbability >= 0.5 && (changed.contains($0.first) || changed.contains($0.second))
            }.map { [$0.first, $0.second] })
        let found = Set(part.pairs.filter { $0.directProbability >= 0.5 }.map { [$0.first, $0.second] })
        #expect(expected.subtracting(found).isEmpty)
        #expect(part.pairs.allSatisfy { changed.contains($0.first) || changed.contains($0.second) })
    }

    @Test("a scan can be watched and stopped")
    func watching() async throws {
        var generator = PeopleGenerator(seed: 2, language: .english)
        let people = generator.tenant(records: 200).map(\.profile)
        let last = Mutex(0.0)
        let watch = DuplicateScan.Watch(progress: { share in last.withLock { $0 = max($0, share) } })
        _ = try await DuplicateScan.run(people, options: Self.quick, watch: watch)
        #expect(last.withLock { $0 } == 1)
        await #expect(throws: CancellationError.self) {
            try await DuplicateScan.run(people, watch: DuplicateScan.Watch(isCancelled: { true }))
        }
    }

    @Test("only names and telephones are enough to find Chinese duplicates")
    func fewColumns() async throws {
        var generator = PeopleGenerator(seed: 31, language: .chinese)
        var people = generator.tenant(records: 600, changes: 4, hardNegatives: false)
        for place in people.indices {
            let full = people[place].profile
            people[place].profile = MatchProfile(
                id: full.id, givenName: full.givenName, familyName: full.familyName, displayName: full.displayName,
                phones: full.phones)
        }
        let quality = Self.quality(people, try await DuplicateScan.run(people.map(\.profile), options: Self.quick))
        #expect(quality.precision >= 0.97, "\(quality)")
        #expect(quality.recall >= 0.6, "\(quality)")
    }
}

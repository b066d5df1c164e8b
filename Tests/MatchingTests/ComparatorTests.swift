import Foundation
import Testing

@testable import Matching

@Suite struct ComparatorTests {
    @Test(
        "Jaro–Winkler gives the published values",
        arguments: [
            ("MARTHA", "MARHTA", 0.961), ("DIXON", "DICKSONX", 0.813), ("DWAYNE", "DUANE", 0.84), ("ABC", "XYZ", 0),
            ("", "", 1), ("A", "", 0), ("王小明", "王小明", 1),
        ])
    func jaroWinkler(_ left: String, _ right: String, _ expected: Double) {
        #expect(abs(JaroWinkler.similarity(left, right) - expected) < 0.001)
        #expect(JaroWinkler.similarity(left, right) == JaroWinkler.similarity(right, left))
    }

    @Test(
        "the edit distance counts a transposition of neighbours as one slip",
        arguments: [
            ("kitten", "sitting", 3), ("teh", "the", 1), ("ca", "abc", 3), ("smith", "smith", 0), ("", "abc", 3),
            ("saturday", "sunday", 3), ("王小明", "王明小", 1), ("a😀b", "ab", 1), ("shean place", "shean lpace", 1),
        ])
    func editDistance(_ left: String, _ right: String, _ expected: Int) {
        #expect(EditDistance.damerau(left, right) == expected)
        #expect(EditDistance.damerau(right, left) == expected)
    }

    @Test("the fast edit distance equals the textbook's table on random texts")
    func editDistanceAgainstTable() {
        var random = SplitMix64(seed: 3)
        let letters: [UInt16] = [97, 98, 99, 0x738b, 0x674e]
        for _ in 0..<2_000 {
            let left = (0..<Int(random.next() % 12)).map { _ in letters[Int(random.next() % 5)] }
            let right = (0..<Int(random.next() % 12)).map { _ in letters[Int(random.next() % 5)] }
            let fast = left.withUnsafeBufferPointer { left in
                right.withUnsafeBufferPointer { EditDistance.damerau(left, $0, limit: 20) }
            }
            #expect(fast == Self.table(left, right), "\(left) \(right)")
        }
    }

    private static func table(_ left: [UInt16], _ right: [UInt16]) -> Int {
        var cells = [[Int]](repeating: [Int](repeating: 0, count: right.count + 1), count: left.count + 1)
        for row in 0...left.count {
            for column in 0...right.count {
                if row == 0 || column == 0 {
                    cells[row][column] = row + column
                    continue
                }
                let cost = left[row - 1] == right[column - 1] ? 0 : 1
                var best = min(
                    cells[row - 1][column] + 1, cells[row][column - 1] + 1, cells[row - 1][column - 1] + cost)
                if row > 1, column > 1, left[row - 1] == right[column - 2], left[row - 2] == right[column - 1] {
                    best = min(best, cells[row - 2][column - 2] + 1)
                }
                cells[row][column] = best
            }
        }
        return cells[left.count][right.count]
    }

    @Test(
        "dates agree by digits, by day and month transposed, and by year",
        arguments: [
            ("1980-03-12", "1980-03-12", AgreementLevel.exact), ("1980-03-12", "1980-12-03", .swapped),
            ("1980-03-12", "1980-03-13", .close), ("1980-03-12", "1908-03-12", .close),
            ("1980-03-12", "1980-03-25", .similar), ("1980-03-12", "1980-11-30", .partial),
            ("1980-03-12", "1951-11-30", .different), ("1980-03-12", "1980-02-30", .missing),
        ])
    func dates(_ left: String, _ right: String, _ expected: AgreementLevel) {
        #expect(PackedDate.agreement(PackedDate(left), PackedDate(right)) == expected)
        #expect(PackedDate.agreement(PackedDate(right), PackedDate(left)) == expected)
    }

    @Test("case, accents, width, punctuation and spaces do not matter")
    func folding() {
        let left = MatchProfile(
            id: UUID(), givenName: "Jürgen", familyName: "O’Neil-Weiß", city: "Ｓydney", emails: ["A.B@Example.org"])
        let right = MatchProfile(
            id: UUID(), givenName: "JURGEN", familyName: "oneil weiss", city: "sydney", emails: ["a.b@example.org "])
        let pattern = PairComparator(profiles: PreparedProfiles([left, right])).pattern(0, 1)
        for field in [MatchField.givenName, .familyName, .city, .email] { #expect(pattern[field] == .exact) }
    }

    private func pattern(_ left: MatchProfile, _ right: MatchProfile) -> AgreementPattern {
        let comparator = PairComparator(profiles: PreparedProfiles([left, right]))
        #expect(comparator.pattern(0, 1) == comparator.pattern(1, 0))
        return comparator.pattern(0, 1)
    }

    @Test("swapped names and streets are recognised in either direction")
    func swapped() {
        let left = MatchProfile(
            id: UUID(), givenName: "Anna", familyName: "Wagner", street: "Hauptstraße", addressLine2: "Hinterhaus")
        let right = MatchProfile(
            id: UUID(), givenName: "Wagner", familyName: "Ana", street: "Hinterhaus", addressLine2: "Hauptstrasse")
        let found = pattern(left, right)
        for field in [MatchField.givenName, .familyName, .street, .addressLine2] { #expect(found[field] == .swapped) }
    }

    @Test("a Chinese name is read from one field, also with a two-character family name")
    func chineseNames() {
        let apart = MatchProfile(id: UUID(), givenName: "娜娜", familyName: "欧阳")
        let whole = MatchProfile(id: UUID(), displayName: "欧阳娜娜")
        let sibling = MatchProfile(id: UUID(), givenName: "娜红", familyName: "欧阳")
        #expect(pattern(apart, whole)[.familyName] == .exact)
        #expect(pattern(apart, whole)[.givenName] == .exact)
        #expect(pattern(apart, sibling)[.givenName] == .similar)
    }

    @Test(
        "a telephone number or an address shown in place of a name is no name",
        arguments: ["+4917612345678", "a@b.de", "—"])
    func displayedInPlaceOfName(_ display: String) {
        let profile = MatchProfile(id: UUID(), displayName: display)
        #expect(pattern(profile, profile)[.familyName] == .missing)
    }

    @Test(
        "the house number is found inside the street",
        arguments: ["12 Main Street", "Main Street 12", "Main Street, 12", "MAIN STREET 12"])
    func houseNumbers(_ street: String) {
        let left = MatchProfile(id: UUID(), houseNumber: "12", street: "Main Street")
        let found = pattern(left, MatchProfile(id: UUID(), street: street))
        #expect(found[.street] == .exact)
        #expect(found[.houseNumber] == .exact)
    }

    @Test("emoji, right-to-left and endless names are compared in bounded work")
    func oddTexts() {
        let names = ["😀👩‍👩‍👧", "محمد", "שלום", String(repeating: "long", count: 25_000), "\u{0}\u{200f}", "𠀀𠀁"]
        for left in names {
            for right in names {
                let found = pattern(
                    MatchProfile(id: UUID(), givenName: left, emails: [left]),
                    MatchProfile(id: UUID(), givenName: right, emails: [right]))
                if left == right && left != "\u{0}\u{200f}" { #expect(found[.givenName] == .exact) }
                if left != right { #expect(found[.givenName] != .exact) }
            }
        }
    }

    @Test("blocking keys are the same in every run, so they can be stored")
    func blockingKeys() {
        let profile = MatchProfile(id: UUID(), givenName: "Anna", familyName: "Lee", emails: ["anna@example.org"])
        #expect(BlockingKeys.keys(of: profile) == BlockingKeys.keys(of: profile))
        #expect(Set(BlockingKeys.keys(of: profile)).count == BlockingKeys.keys(of: profile).count)
        #expect(BlockingKeys.keys(of: profile).first == 15_098_513_494_930_832_117)
        #expect(BlockingKeys.keys(of: MatchProfile(id: UUID())).isEmpty)
    }

    @Test("two people with a slip in every name still meet in a block")
    func blocksOfCorrupted() {
        let left = MatchProfile(id: UUID(), givenName: "Karen", familyName: "Phillips", phones: ["+4917612345678"])
        let right = MatchProfile(id: UUID(), givenName: "Filips", familyName: "Karin", phones: ["017612345678"])
        let common = Set(BlockingKeys.keys(of: left)).intersection(BlockingKeys.keys(of: right))
        #expect(common.count >= 2)
    }
}

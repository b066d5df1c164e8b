import Foundation
import Matching

/// Makes tenants out of nothing: people with skewed name frequencies, their households and firms, and corrupted
/// duplicates. The same seed gives the same people.
package struct PeopleGenerator {
    /// The style of names and addresses; `register` is English without e-mails and phones, as in a civil register.
    package enum Language: String, CaseIterable, Sendable {
        case english, continental, chinese, register
    }

    /// A record and the number of the person that it is about.
    package struct Labelled: Sendable {
        package var person: Int
        package var profile: MatchProfile
    }

    var random: SplitMix64
    let language: Language
    let vocabulary: Vocabulary
    private var nextPerson = 0

    /// A generator whose output depends on these two only.
    package init(seed: UInt64, language: Language) {
        random = SplitMix64(seed: seed)
        self.language = language
        vocabulary =
            switch language {
            case .english, .register: .english
            case .continental: .continental
            case .chinese: .chinese
            }
    }

    /// About `count` records in random order: a good half of them are persons, the others their one to five duplicates
    /// with up to `changes` modifications each. `hardNegatives` adds relatives, namesakes and colleagues.
    package mutating func tenant(
        records count: Int, duplicates share: Double = 0.45, changes: Int = 10, hardNegatives: Bool = true
    ) -> [Labelled] {
        var labelled: [Labelled] = []
        while labelled.count < count {
            var group = [person()]
            if hardNegatives { group += relatives(of: group[0]) }
            for profile in group {
                nextPerson += 1
                labelled.append(Labelled(person: nextPerson, profile: profile))
                guard chance(share) else { continue }
                for _ in 0..<(chance(0.6) ? 1 : 1 + below(5)) {
                    labelled.append(
                        Labelled(person: nextPerson, profile: corrupted(profile, changes: 1 + below(changes))))
                }
            }
        }
        labelled.shuffle(using: &random)
        return labelled
    }

    // MARK: - Persons

    mutating func person() -> MatchProfile {
        var profile = MatchProfile(id: id())
        profile.givenName = name(vocabulary.given, tail: 0.25)
        profile.familyName = name(vocabulary.family, tail: 0.45)
        profile.birthDate = chance(0.9) ? date(1925 + below(80)) : nil
        if chance(0.9) { move(&profile) }
        if language == .register {
            if chance(0.97) { profile.identifiers = [digits(7)] }
            return profile
        }
        if chance(0.75) { profile.emails = [email(profile)] }
        if chance(0.8) { profile.phones = [phone()] }
        if chance(0.15) { profile.phones.append(phone()) }
        if chance(0.4) { profile.identifiers = [digits(language == .chinese ? 18 : 10)] }
        return profile
    }

    private mutating func relatives(of person: MatchProfile) -> [MatchProfile] {
        switch below(200) {
        case 0..<2: return [twin(of: person)]
        case 2: return [junior(of: person)]
        case 3..<24: return [spouse(of: person)]
        case 24..<32: return (0..<2 + below(4)).map { _ in colleague(of: person) }
        case 32..<36: return [namesake(of: person)]
        default: return []
        }
    }

    private mutating func relative(of person: MatchProfile, sharesPhone: Double) -> MatchProfile {
        var relative = self.person()
        relative.familyName = person.familyName
        relative.houseNumber = person.houseNumber
        relative.street = person.street
        relative.addressLine2 = person.addressLine2
        relative.city = person.city
        relative.postalCode = person.postalCode
        relative.region = person.region
        relative.country = person.country
        if chance(sharesPhone) { relative.phones = person.phones }
        if chance(0.1) { relative.emails = person.emails } else { renewEmail(&relative) }
        return relative
    }

    private mutating func twin(of person: MatchProfile) -> MatchProfile {
        var twin = relative(of: person, sharesPhone: 0.5)
        twin.birthDate = person.birthDate
        while twin.givenName == person.givenName { twin.givenName = name(vocabulary.given, tail: 0.25) }
        renewEmail(&twin)
        return twin
    }

    private mutating func junior(of person: MatchProfile) -> MatchProfile {
        var junior = relative(of: person, sharesPhone: 0.5)
        junior.givenName = person.givenName
        junior.birthDate = date(Int(person.birthDate?.prefix(4) ?? "1960")! + 20 + below(20))
        junior.emails = chance(0.5) ? [] : [digits(3) + email(junior)]
        return junior
    }

    private mutating func spouse(of person: MatchProfile) -> MatchProfile {
        var spouse = relative(of: person, sharesPhone: 0.5)
        while spouse.givenName == person.givenName { spouse.givenName = name(vocabulary.given, tail: 0.25) }
        if language == .chinese { spouse.familyName = name(vocabulary.family, tail: 0.3) }
        renewEmail(&spouse)
        return spouse
    }

    private mutating func colleague(of person: MatchProfile) -> MatchProfile {
        var colleague = relative(of: person, sharesPhone: 0.8)
        colleague.familyName = name(vocabulary.family, tail: 0.45)
        renewEmail(&colleague)
        return colleague
    }

    private mutating func namesake(of person: MatchProfile) -> MatchProfile {
        var namesake = self.person()
        namesake.givenName = person.givenName
        namesake.familyName = person.familyName
        namesake.emails = []
        return namesake
    }

    private mutating func renewEmail(_ profile: inout MatchProfile) {
        if !profile.emails.isEmpty { profile.emails = [email(profile)] }
    }

    // MARK: - Values

    mutating func name(_ list: [String], tail: Double) -> String {
        if language == .chinese {
            if chance(tail) && list.count < 80 { return pick(vocabulary.syllables) + pick(vocabulary.syllables) }
            return zipf(list)
        }
        if !chance(tail) { return zipf(list) }
        return madeUp()
    }

    /// A rare name.
    private mutating func madeUp() -> String {
        let made = (0..<2 + below(2)).map { _ in pick(vocabulary.syllables) }.joined()
        return made.prefix(1).uppercased() + made.dropFirst()
    }

    /// A new home.
    mutating func move(_ profile: inout MatchProfile) {
        let isHan = language == .chinese
        profile.houseNumber = String(1 + below(below(2) == 0 ? 30 : 200))
        let stem = isHan ? pick(vocabulary.streets) : (chance(0.3) ? pick(vocabulary.streets) : madeUp())
        let kind = pick(vocabulary.streetKinds)
        switch language {
        case .chinese: profile.street = stem + kind
        case .continental: profile.street = kind.hasPrefix(" ") ? kind.dropFirst() + " " + stem : stem + kind
        default: profile.street = stem + " " + kind
        }
        profile.addressLine2 = chance(0.4) ? pick(vocabulary.lines2) : nil
        if language == .register && chance(0.8) {
            profile.addressLine2 = madeUp() + " " + pick(["village", "park", "farm", "court"])
        }
        profile.city = chance(0.5) || isHan ? zipf(vocabulary.cities) : madeUp()
        profile.postalCode = digits(isHan ? 6 : language == .continental ? 5 : 4)
        profile.region = pick(vocabulary.regions)
        profile.country = chance(0.7) ? vocabulary.country : nil
    }

    mutating func email(_ profile: MatchProfile) -> String {
        let host = pick(["gmail.com", "example.org", "web.de", "qq.com", "163.com", "orange.fr", "outlook.com"])
        if language == .chinese {
            return (chance(0.5) ? digits(9) : pick(["wang", "li", "zhang", "liu"]) + digits(5)) + "@" + host
        }
        let given = (profile.givenName ?? "x").lowercased().filter(\.isLetter)
        let family = (profile.familyName ?? "y").lowercased().filter(\.isLetter)
        switch below(3) {
        case 0: return "\(given).\(family)@\(host)"
        case 1: return "\(given.prefix(1))\(family)\(below(100))@\(host)"
        default: return "\(family)\(below(1000))@\(host)"
        }
    }

    mutating func phone() -> String { language == .chinese ? "+861" + digits(10) : "+61" + digits(9) }

    mutating func date(_ year: Int) -> String {
        let month = 1 + below(12)
        let day = 1 + below(28)
        return "\(year)-\(month < 10 ? "0" : "")\(month)-\(day < 10 ? "0" : "")\(day)"
    }

    mutating func digits(_ count: Int) -> String { (0..<count).map { _ in String(below(10)) }.joined() }

    private mutating func id() -> UUID {
        var bytes: [UInt8] = []
        for _ in 0..<2 { withUnsafeBytes(of: random.next()) { bytes += $0 } }
        return bytes.withUnsafeBytes { UUID(uuid: $0.load(as: uuid_t.self)) }
    }

    /// A copy's id.
    mutating func renewID(_ profile: inout MatchProfile) { profile.id = id() }

    // MARK: - Chance

    mutating func below(_ bound: Int) -> Int { Int(random.next() % UInt64(max(1, bound))) }

    mutating func chance(_ probability: Double) -> Bool { Double(random.next() >> 11) * 0x1p-53 < probability }

    mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }

    /// The first words of a list are the most common ones.
    mutating func zipf(_ list: [String]) -> String {
        let uniform = Double(random.next() >> 11) * 0x1p-53
        return list[min(list.count - 1, Int(Double(list.count) * uniform * uniform))]
    }
}

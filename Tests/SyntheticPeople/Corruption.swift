import Matching

/// What happens to a person's values on the way into a second record.
extension PeopleGenerator {
    private static let texts: [any WritableKeyPath<MatchProfile, String?> & Sendable] = [
        \.givenName, \.familyName, \.street, \.addressLine2, \.city, \.postalCode, \.houseNumber, \.region,
    ]

    /// A copy with that many modifications, at most three in one field.
    mutating func corrupted(_ profile: MatchProfile, changes: Int) -> MatchProfile {
        var copy = profile
        renewID(&copy)
        var counts = [Int](repeating: 0, count: 12)
        for _ in 0..<changes {
            let field = below(12)
            counts[field] += 1
            // A Chinese name is so short that a second change would leave nothing of it.
            let most = language == .chinese && field < 2 ? 1 : 3
            if counts[field] > most { continue }
            switch field {
            case 0..<8: corruptText(&copy, Self.texts[field], field)
            case 8: copy.birthDate = corruptedDate(copy.birthDate)
            case 9: copy.identifiers = copy.identifiers.map { chance(0.1) ? digits($0.count) : slip($0, digits: true) }
            case 10: corruptChannels(&copy)
            default: rearrange(&copy)
            }
        }
        return copy
    }

    private mutating func corruptText(
        _ profile: inout MatchProfile, _ path: WritableKeyPath<MatchProfile, String?>, _ field: Int
    ) {
        guard let value = profile[keyPath: path] else { return }
        switch below(20) {
        case 0: profile[keyPath: path] = nil
        case 1: profile[keyPath: path] = replacement(field)
        case 2 where field == 0: profile.givenName = String(value.prefix(1))
        case 3..<6 where field < 5: profile[keyPath: path] = phonetic(value)
        case 6: profile[keyPath: path] = value.uppercased() + " "
        case 7 where field < 5: profile[keyPath: path] = respaced(value)
        default: profile[keyPath: path] = slip(value, digits: field == 5 || field == 6)
        }
    }

    private mutating func replacement(_ field: Int) -> String? {
        var other = person()
        move(&other)
        return other[keyPath: Self.texts[field]]
    }

    /// Insertion, deletion, substitution, transposition, or a letter misread by a scanner.
    private mutating func slip(_ text: String, digits: Bool) -> String {
        var letters = Array(text)
        if letters.isEmpty { return text }
        let place = below(letters.count)
        let isHan = language == .chinese && !digits
        let letter: Character =
            digits
            ? pick(Array("0123456789"))
            : isHan ? Character(pick(vocabulary.syllables)) : pick(Array("aeiourstlnmdcpbgk"))
        // A single character has no part that could be mistyped: it is misread or not touched.
        if isHan && letters.count == 1 { return String(misread(letters[0])) }
        switch below(5) {
        case 0 where letters.count > 1: letters.remove(at: place)
        case 1 where !isHan: letters.insert(letter, at: place)
        case 2 where place + 1 < letters.count: letters.swapAt(place, place + 1)
        case 3: letters[place] = misread(letters[place])
        default: letters[place] = letter
        }
        return String(letters)
    }

    private func misread(_ letter: Character) -> Character {
        let pairs: [Character: Character] = [
            "l": "1", "o": "0", "s": "5", "b": "8", "e": "c", "i": "l", "g": "q", "m": "n", "u": "v", "0": "8",
            "1": "7",
            "5": "6", "3": "8", "明": "朋", "王": "玉", "李": "季", "陈": "阵", "刘": "列",
        ]
        return pairs[letter] ?? letter
    }

    private mutating func phonetic(_ text: String) -> String {
        let rules = [
            ("ph", "f"), ("c", "k"), ("th", "t"), ("ie", "y"), ("ck", "k"), ("sch", "sh"), ("ei", "ai"), ("z", "s"),
            ("ll", "l"), ("ss", "s"), ("y", "i"), ("v", "w"), ("dt", "t"), ("ü", "ue"), ("ö", "oe"), ("é", "e"),
            ("ß", "ss"),
        ]
        let lower = text.lowercased()
        let applicable = rules.filter { lower.contains($0.0) }
        if applicable.isEmpty { return slip(text, digits: false) }
        let rule = pick(applicable)
        return lower.replacing(rule.0, with: rule.1, maxReplacements: 1)
    }

    private mutating func respaced(_ text: String) -> String {
        if text.contains(" ") { return text.replacing(" ", with: "", maxReplacements: 1) }
        var letters = Array(text)
        letters.insert(" ", at: below(letters.count + 1))
        return String(letters)
    }

    private mutating func corruptedDate(_ date: String?) -> String? {
        guard let date else { return nil }
        let parts = date.split(separator: "-").map(String.init)
        switch below(12) {
        case 0: return nil
        case 1: return "\(parts[0])-\(parts[2])-\(parts[1])"
        case 2: return "\(parts[0])-01-01"
        case 3: return self.date(1925 + below(80))
        default:
            var digits = Array(date)
            let place = pick([2, 3, 6, 8, 9])
            digits[place] = pick(Array("0123456789"))
            return String(digits)
        }
    }

    private mutating func corruptChannels(_ profile: inout MatchProfile) {
        switch below(6) {
        case 0: profile.emails = profile.emails.isEmpty ? [] : [email(profile)]
        case 1: profile.emails = []
        case 2: profile.phones = [phone()]
        case 3: profile.phones = []
        case 4: profile.emails = profile.emails.map { slip($0, digits: false) }
        default: profile.phones = profile.phones.map { slip($0, digits: true) }
        }
        if language == .register { profile.emails = [] }
        if language == .register { profile.phones = [] }
    }

    /// Values in the wrong columns.
    private mutating func rearrange(_ profile: inout MatchProfile) {
        switch below(6) {
        case 0, 1: swap(&profile.givenName, &profile.familyName)
        case 2: swap(&profile.street, &profile.addressLine2)
        case 3:
            if let street = profile.street, let house = profile.houseNumber {
                profile.street =
                    language == .chinese
                    ? street + house + "号" : chance(0.5) ? house + " " + street : street + " " + house
                profile.houseNumber = nil
            }
        case 4: swap(&profile.postalCode, &profile.city)
        default:
            if let given = profile.givenName, let family = profile.familyName {
                profile.displayName =
                    language == .chinese ? family + given : chance(0.5) ? "\(family), \(given)" : "\(given) \(family)"
                profile.givenName = nil
                profile.familyName = nil
            }
        }
    }
}

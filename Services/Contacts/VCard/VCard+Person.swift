/// What a card says of a person. Texts are without white space around them; an empty one is none.
extension VCard {
    /// The name as it is to be shown: FN (RFC 6350 §6.2.1).
    package var formattedName: String? { filled("FN") }

    /// The name's components, when N has any (RFC 6350 §6.2.2).
    package var name: Name? {
        let name = property("N").map { Name(components: $0.components) }
        return name == Name() ? nil : name
    }

    /// ORG: the organisation's name, then its units from the largest down; empty when there is none (RFC 6350 §6.6.4).
    package var organization: [String] {
        property("ORG")?.components.map { $0.joined(separator: ", ").trimmed }.filter { !$0.isEmpty } ?? []
    }

    /// TITLE: the position held (RFC 6350 §6.6.1).
    package var title: String? { filled("TITLE") }

    /// ROLE: the part played in a situation (RFC 6350 §6.6.2).
    package var role: String? { filled("ROLE") }

    /// BDAY, when it is a full date; nil without a year, without a day, or as free text (RFC 6350 §6.2.5).
    package var birthday: CalendarDate? {
        guard let property = property("BDAY"), let date = CalendarDate(property.text) else { return nil }
        // Apple writes a date without a year as one in a year that it says to omit.
        return property.parameter("X-APPLE-OMIT-YEAR").contains(String(date.year)) ? nil : date
    }

    /// All of NOTE, with a blank line between two (RFC 6350 §6.7.2).
    package var note: String? {
        let notes = properties("NOTE").map(\.text.trimmed).filter { !$0.isEmpty }
        return notes.isEmpty ? nil : notes.joined(separator: "\n\n")
    }

    /// All of CATEGORIES, each once, in the order of the card (RFC 6350 §6.7.1).
    package var categories: [String] {
        var seen: Set<String> = []
        return properties("CATEGORIES").flatMap { $0.components.joined() }.map(\.trimmed)
            .filter { !$0.isEmpty && seen.insert($0).inserted }
    }

    /// What identifies the card wherever it comes from: UID, often `urn:uuid:…` (RFC 6350 §6.7.6).
    package var uid: String? { filled("UID") }

    /// When the card was last changed, as the card writes it: REV (RFC 6350 §6.7.4).
    package var revision: String? { filled("REV") }

    private func filled(_ name: String) -> String? {
        let text = property(name)?.text.trimmed
        return text?.isEmpty == true ? nil : text
    }
}

extension VCard {
    /// The components of N; what a card lists several times (two given names) is joined by spaces.
    package struct Name: Sendable, Equatable {
        package var family = ""
        package var given = ""
        package var additional = ""
        package var prefixes = ""
        package var suffixes = ""

        /// A name of which nothing is known yet.
        package init() {}

        init(components: [[String]]) {
            let texts = components.map { $0.map(\.trimmed).filter { !$0.isEmpty }.joined(separator: " ") }
            let slots: [WritableKeyPath<Name, String>] = [\.family, \.given, \.additional, \.prefixes, \.suffixes]
            for (slot, text) in zip(slots, texts) { self[keyPath: slot] = text }
        }

        /// In the order in which it is spoken. Chinese names begin with the family and have no space.
        package var formatted: String {
            let parts = [prefixes, given, additional, family, suffixes].filter { !$0.isEmpty }
            let isHan = (family + given).unicodeScalars.allSatisfy { $0.properties.isIdeographic }
            if isHan && additional.isEmpty && prefixes.isEmpty && suffixes.isEmpty { return family + given }
            return parts.joined(separator: " ")
        }
    }

    /// A day of the Gregorian calendar.
    package struct CalendarDate: Sendable, Equatable {
        package let year: Int
        package let month: Int
        package let day: Int

        /// A full date, basic or extended, with or without a time: `19600131`, `1960-01-31`, `19600131T102200Z`. nil
        /// for a part of a date (`--0131`, `1960-01`), a day that there never was, and free text (RFC 6350 §4.3).
        package init?(_ text: String) {
            let characters = Array(text.trimmed.utf8)
            let isExtended = characters.count >= 10 && characters[4] == UInt8(ascii: "-")
            let length = isExtended ? 10 : 8
            guard characters.count >= length else { return nil }
            if characters.count > length {
                guard characters[length] == UInt8(ascii: "T") || characters[length] == 32 else { return nil }
            }
            if isExtended && characters[7] != UInt8(ascii: "-") { return nil }
            guard let year = Self.number(characters[0..<4]),
                let month = Self.number(characters[isExtended ? 5..<7 : 4..<6]),
                let day = Self.number(characters[isExtended ? 8..<10 : 6..<8]),
                year > 0, (1...12).contains(month), day > 0, day <= Self.days(of: month, year)
            else { return nil }
            self.year = year
            self.month = month
            self.day = day
        }

        /// ISO 8601, extended: `1960-01-31`.
        package var text: String {
            [Self.padded(year, 4), Self.padded(month, 2), Self.padded(day, 2)].joined(separator: "-")
        }

        private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
            digits.allSatisfy { (48...57).contains($0) } ? digits.reduce(0) { $0 * 10 + Int($1 - 48) } : nil
        }

        private static func days(of month: Int, _ year: Int) -> Int {
            let isLeapYear = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            return [31, isLeapYear ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
        }

        private static func padded(_ number: Int, _ length: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, length - digits.count)) + digits
        }
    }
}

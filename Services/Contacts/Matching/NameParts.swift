/// Given and family name, also where a person's names stand in one field.
struct NameParts {
    var given: String?
    var family: String?

    /// Two-character Chinese family names, simplified and traditional.
    private static let compoundFamilies: Set<String> = [
        "欧阳", "歐陽", "司马", "司馬", "上官", "诸葛", "諸葛", "东方", "東方", "皇甫", "尉迟", "尉遲", "公孙", "公孫", "令狐", "慕容", "宇文",
        "长孙", "長孫", "司徒", "司空", "夏侯", "端木", "百里", "南宫", "南宮", "独孤", "獨孤", "呼延", "西门", "西門",
    ]

    /// Names as given; with one of them missing the other is split where it evidently holds both, and with both
    /// missing the display name is.
    init(_ profile: MatchProfile) {
        given = profile.givenName.flatMap(Self.nonEmpty)
        family = profile.familyName.flatMap(Self.nonEmpty)
        switch (given, family) {
        case (nil, nil):
            if let display = profile.displayName, Self.isName(display) { split(display) }
        case (let whole?, nil), (nil, let whole?):
            if Self.isHan(whole) && whole.count > 2 { split(whole) }
        default:
            break
        }
    }

    private mutating func split(_ whole: String) {
        let whole = whole.prefix(128)
        if Self.isHan(whole) {
            let characters = whole.filter { $0 != " " && $0 != "·" }
            if characters.count < 2 {
                family = Self.nonEmpty(characters)
            } else {
                let size = characters.count > 2 && Self.compoundFamilies.contains(String(characters.prefix(2))) ? 2 : 1
                family = String(characters.prefix(size))
                given = Self.nonEmpty(String(characters.dropFirst(size)))
            }
        } else if let comma = whole.firstIndex(of: ",") {
            family = Self.nonEmpty(String(whole[..<comma]))
            given = Self.nonEmpty(String(whole[whole.index(after: comma)...]))
        } else {
            let words = whole.split(separator: " ")
            family = words.last.map(String.init)
            given = words.count > 1 ? words.dropLast().joined(separator: " ") : nil
        }
    }

    /// The CRM shows an e-mail address, a telephone number or an id where it knows no name.
    private static func isName(_ display: String) -> Bool {
        !display.utf8.prefix(256).contains { $0 == 0x40 || (0x30...0x39).contains($0) }
    }

    private static func nonEmpty(_ text: String) -> String? { text.isEmpty ? nil : text }

    private static func isHan(_ text: some StringProtocol) -> Bool {
        guard let first = text.unicodeScalars.first, first.value >= 0x3400 else { return false }
        return text.unicodeScalars.prefix(32).allSatisfy { $0.properties.isIdeographic || $0 == " " || $0 == "·" }
    }
}

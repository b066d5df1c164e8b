import VCard

/// Cards that no person would write, from a seed.
struct RandomCard {
    private var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    mutating func next() -> VCard {
        var properties = [VCard.Property("FN", text())]
        properties += (0..<number(0...8)).map { _ in property() }
        properties.append(VCard.Property("N", value()))
        return VCard(properties: properties)
    }

    private mutating func property() -> VCard.Property {
        let names = [
            "EMAIL", "TEL", "ADR", "IMPP", "URL", "X-SOCIALPROFILE", "ORG", "TITLE", "ROLE", "NOTE", "CATEGORIES",
            "UID",
            "NICKNAME", "GENDER", "X-CUSTOM", "x-lower_case", "GEO", "N", "X-ABLABEL",
        ]
        let groups = [nil, nil, "item1", "Item-2", "组"]
        return VCard.Property(
            names.randomElement(using: &generator)!, group: groups.randomElement(using: &generator)!,
            parameters: (0..<number(0...3)).map { _ in parameter() }, value())
    }

    private mutating func parameter() -> VCard.Parameter {
        let names = ["TYPE", "LABEL", "VALUE", "X-P", "LANGUAGE", "ENCODING", "CHARSET", "不"]
        return VCard.Parameter(names.randomElement(using: &generator)!, (0..<number(0...3)).map { _ in text() })
    }

    private mutating func value() -> VCard.Value {
        switch number(0...3) {
        case 0: .text(text())
        case 1: .list((0..<number(0...4)).map { _ in text() })
        case 2: .structured((0..<number(0...8)).map { _ in (0..<number(0...3)).map { _ in text() } })
        default: .raw(text())
        }
    }

    private mutating func text() -> String {
        let length = number(0...1000) == 0 ? number(0...10_000) : number(0...3) == 0 ? 0 : number(0...25)
        let pieces = [
            "a", "Z", "7", " ", "\t", ",", ";", ":", "\\", "\\n", "\n", "\r\n", "\r", "\"", "'", "^", "^n", "=", "=\n",
            "张", "关系", "é", "e\u{301}", "👩‍👩‍👧‍👦", "🇨🇳", "\u{202e}שלום", "مرحبا", "\u{feff}", "\u{0}", "\u{7}", "\u{1b}",
            "\u{7f}", "\u{85}", "\u{2028}", "\u{10ffff}", "\n ", "END:VCARD", "BEGIN:VCARD\n", ".", "-",
            "QUOTED-PRINTABLE",
        ]
        return (0..<length).map { _ in pieces.randomElement(using: &generator)! }.joined()
    }

    private mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
}

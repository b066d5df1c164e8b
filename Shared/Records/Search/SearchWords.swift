import Database
import Foundation

/// How texts become the words that a search finds them by, and a search the words it asks for.
///
/// Latin and other alphabetic words are found by their beginnings, whatever their case and accents. Chinese and Japanese
/// ideographs, which no space parts, are kept one by one and in pairs: a query of two characters finds them side by side
/// without a dictionary. Each word carries the tenant's number, so that tenants who share an index share no entry of it.
enum SearchWords {
    /// Of a record no more words than this are kept.
    static let most = 80
    /// A longer word is cut, in the record and in the query alike.
    private static let longest = 40

    /// The words of a record's searchable fields, sorted, without repeats, as a PostgreSQL array.
    static func array(of record: Record, _ type: RecordType, tenant: TenantID) -> String {
        var words = Set<String>()
        for field in type.searchFields {
            guard let text = record.text(field.name) else { continue }
            for value in values(text, field) where words.count < most { add(value, to: &words) }
        }
        let prefix = prefix(tenant)
        let quoted = words.sorted().prefix(most).map { "\"\(prefix)\($0)\"" }
        return "{" + quoted.joined(separator: ",") + "}"
    }

    /// The query as a tsquery's text; nil when nothing in it can be searched for.
    static func query(_ text: String, tenant: TenantID) -> String? {
        let prefix = prefix(tenant)
        let terms = terms(text).map { "'\(prefix)\($0.word)'" + ($0.isPrefix ? ":*" : "") }
        return terms.isEmpty ? nil : terms.joined(separator: " & ")
    }

    /// True when the record is found by `text` through `fields` alone, as the index finds it through all.
    static func matches(_ record: Record, _ text: String, fields: [Field]) -> Bool {
        var words = Set<String>()
        for field in fields {
            for value in record.text(field.name).map({ values($0, field) }) ?? [] { add(value, to: &words) }
        }
        return terms(text).allSatisfy { term in
            term.isPrefix ? words.contains { $0.hasPrefix(term.word) } : words.contains(term.word)
        }
    }

    /// What the text asks for: at most twelve words.
    private static func terms(_ text: String) -> [(word: String, isPrefix: Bool)] {
        var terms: [(String, Bool)] = []
        func add(_ word: some StringProtocol, isPrefix: Bool) {
            if terms.count < 12 { terms.append((String(word), isPrefix)) }
        }
        for run in runs(text) {
            switch run {
            case .word(let word): add(word.prefix(longest), isPrefix: true)
            case .ideographs(let characters) where characters.count == 1:
                add(String(characters[0]), isPrefix: false)
            case .ideographs(let characters):
                for (left, right) in zip(characters, characters.dropFirst()) {
                    add("\(left)\(right)", isPrefix: false)
                }
            }
        }
        return terms
    }

    /// The query for a telephone number's digits as one whole word.
    static func query(exactly number: String, tenant: TenantID) -> String {
        "'\(prefix(tenant))\(number.filter(\.isNumber))'"
    }

    /// `7k:`, the tenant's number to the base of 36.
    private static func prefix(_ tenant: TenantID) -> String { String(tenant.rawValue, radix: 36) + ":" }

    private static func values(_ text: String, _ field: Field) -> [String] {
        guard case .list = field.kind else { return [text] }
        if text == "[]" { return [] }
        return ((try? JSONParser.parse(text.utf8))?.array ?? []).compactMap { $0["value"]?.text }
    }

    private static func add(_ text: String, to words: inout Set<String>) {
        for run in runs(text) {
            switch run {
            case .word(let word): words.insert(String(word.prefix(longest)))
            case .ideographs(let characters):
                for character in characters { words.insert(String(character)) }
                for (left, right) in zip(characters, characters.dropFirst()) { words.insert("\(left)\(right)") }
            }
        }
        // A number is known by how it ends, too: few say their country's code.
        if text.hasPrefix("+"), text.utf8.count > 9 { words.insert(String(text.suffix(8))) }
    }

    private enum Run {
        case word(String)
        case ideographs([Unicode.Scalar])
    }

    /// Letters and digits as they stand together; ideographs apart from other letters.
    private static func runs(_ text: String) -> [Run] {
        var runs: [Run] = []
        var word = String.UnicodeScalarView()
        var ideographs: [Unicode.Scalar] = []
        func end() {
            if !word.isEmpty { runs.append(.word(String(word))) }
            if !ideographs.isEmpty { runs.append(.ideographs(ideographs)) }
            word = String.UnicodeScalarView()
            ideographs = []
        }
        for scalar in folded(text).unicodeScalars {
            if !scalar.isASCII && scalar.properties.isIdeographic {
                if !word.isEmpty { end() }
                ideographs.append(scalar)
            } else if isPartOfWord(scalar) {
                if !ideographs.isEmpty { end() }
                word.append(scalar)
            } else {
                end()
            }
        }
        end()
        return runs
    }

    private static func isPartOfWord(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return (48...57).contains(scalar.value) || (97...122).contains(scalar.value) }
        return scalar.properties.isAlphabetic || scalar.properties.numericType != nil
    }

    /// As `Normaliser.folded`, without asking Unicode about plain ASCII.
    private static func folded(_ text: String) -> String {
        text.utf8.allSatisfy { $0 < 128 } ? text.lowercased() : Normaliser.folded(text)
    }
}

import Foundation

/// Brings values that people write in many ways into one.
package enum Normaliser {
    /// Lower case; one `@`; a local part of RFC 5321's dot-atoms (Unicode letters too, RFC 6531); a domain of at least
    /// two labels, internationalised ones as they are. Nil when it is not an address.
    package static func email(_ text: String) -> String? {
        let address = text.lowercased()
        guard address.utf8.count <= 254, let at = address.lastIndex(of: "@") else { return nil }
        let local = address[..<at]
        let domain = address[address.index(after: at)...]
        guard !local.isEmpty, local.utf8.count <= 64, isDotted(local, isLocalCharacter) else { return nil }
        let labels = domain.split(separator: ".", omittingEmptySubsequences: false)
        guard labels.count >= 2, labels.allSatisfy(isDomainLabel), !labels.last!.allSatisfy(\.isNumber) else {
            return nil
        }
        return address
    }

    /// The text without white space at its ends; itself, uncopied, where there is none.
    package static func trimmed(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard let first = scalars.first, let last = scalars.last else { return text }
        if !isSpace(first) && !isSpace(last) { return text }
        guard let start = scalars.firstIndex(where: { !isSpace($0) }),
            let end = scalars.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(scalars[start...end])
    }

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.isASCII ? scalar.value == 32 || (9...13).contains(scalar.value) : scalar.properties.isWhitespace
    }

    private static func isDotted(_ text: Substring, _ isAllowed: (Unicode.Scalar) -> Bool) -> Bool {
        text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { atom in
            !atom.isEmpty && atom.unicodeScalars.allSatisfy(isAllowed)
        }
    }

    private static func isLocalCharacter(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return isAlphanumeric(scalar) || "!#$%&'*+/=?^_`{|}~-".unicodeScalars.contains(scalar) }
        return scalar.properties.isAlphabetic || scalar.properties.numericType != nil
    }

    private static func isDomainLabel(_ label: Substring) -> Bool {
        guard !label.isEmpty, label.utf8.count <= 63, label.first != "-", label.last != "-" else { return false }
        return label.unicodeScalars.allSatisfy { scalar in
            scalar.isASCII ? isAlphanumeric(scalar) || scalar == "-" : scalar.properties.isAlphabetic
        }
    }

    private static func isAlphanumeric(_ scalar: Unicode.Scalar) -> Bool {
        (48...57).contains(scalar.value) || (65...90).contains(scalar.value) || (97...122).contains(scalar.value)
    }

    /// E.164: `+` and at most fifteen digits. A number without a country's code gets that of `country`, its trunk
    /// prefix removed. Nil when too short, too long, or something else.
    package static func phone(_ text: String, country: String) -> String? {
        var digits = ""
        var isInternational = false
        for (index, scalar) in text.unicodeScalars.enumerated() {
            if let value = fullWidthDigit(scalar) {
                digits.append(String(value))
            } else if scalar == "+" || scalar == "＋" {
                guard digits.isEmpty, index == 0 || !isInternational else { return nil }
                isInternational = true
            } else if !" -./()（）－\u{a0}".unicodeScalars.contains(scalar) {
                return nil
            }
        }
        if !isInternational && digits.hasPrefix("00") {
            digits.removeFirst(2)
            isInternational = true
        }
        if !isInternational {
            guard let plan = dialling[country] else { return nil }
            if let trunk = plan.trunk, digits.hasPrefix(trunk) { digits.removeFirst(trunk.count) }
            digits = plan.code + digits
        }
        guard (8...15).contains(digits.count), digits.first != "0" else { return nil }
        return "+" + digits
    }

    private static func fullWidthDigit(_ scalar: Unicode.Scalar) -> UInt32? {
        switch scalar.value {
        case 48...57: scalar.value - 48
        case 0xff10...0xff19: scalar.value - 0xff10
        default: nil
        }
    }

    /// Country codes of ITU-T E.164 and the prefix that is dialled within the country only.
    private static let dialling: [String: (code: String, trunk: String?)] = [
        "US": ("1", "1"), "CA": ("1", "1"), "CN": ("86", "0"), "HK": ("852", nil), "TW": ("886", "0"),
        "JP": ("81", "0"), "KR": ("82", "0"), "SG": ("65", nil), "IN": ("91", "0"), "AU": ("61", "0"),
        "NZ": ("64", "0"), "GB": ("44", "0"), "IE": ("353", "0"), "DE": ("49", "0"), "AT": ("43", "0"),
        "CH": ("41", "0"), "FR": ("33", "0"), "BE": ("32", "0"), "NL": ("31", "0"), "ES": ("34", nil),
        "PT": ("351", nil), "IT": ("39", nil), "PL": ("48", nil), "CZ": ("420", nil), "SK": ("421", "0"),
        "HU": ("36", "06"), "SE": ("46", "0"), "NO": ("47", nil), "DK": ("45", nil), "FI": ("358", "0"),
        "RU": ("7", "8"), "UA": ("380", "0"), "TR": ("90", "0"), "IL": ("972", "0"), "SA": ("966", "0"),
        "AE": ("971", "0"), "EG": ("20", "0"), "ZA": ("27", "0"), "NG": ("234", "0"), "KE": ("254", "0"),
        "BR": ("55", "0"), "MX": ("52", nil), "AR": ("54", "0"), "CL": ("56", nil), "CO": ("57", nil),
        "MY": ("60", "0"), "TH": ("66", "0"), "VN": ("84", "0"), "ID": ("62", "0"), "PH": ("63", "0"),
        "GR": ("30", nil), "RO": ("40", "0"), "BG": ("359", "0"), "HR": ("385", "0"), "LU": ("352", nil),
    ]

    /// True for a code that ISO 3166-1 or ISO 4217 assigns, as Foundation knows them.
    package static func isCountry(_ code: String) -> Bool { countries.contains(code) }
    /// True for a code that ISO 4217 assigns, as Foundation knows them.
    package static func isCurrency(_ code: String) -> Bool { currencies.contains(code) }

    private static let countries = Set(
        Locale.Region.isoRegions.map(\.identifier).filter { $0.utf8.count == 2 })
    private static let currencies = Set(Locale.Currency.isoCurrencies.map { $0.identifier.uppercased() })

    /// A text for matching: compatibility forms folded (full width, ligatures), case and accents removed. Simplified
    /// and traditional characters stay apart.
    package static func folded(_ text: String) -> String {
        text.precomposedStringWithCompatibilityMapping
            .folding(options: [.caseInsensitive, .diacriticInsensitive, .widthInsensitive], locale: nil)
            .split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
}

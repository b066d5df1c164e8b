/// What two people are compared on. The raw values are stored in models and patterns, so they never change.
package enum MatchField: Int, CaseIterable, Codable, Sendable {
    case givenName, familyName, birthDate, identifier, email, phone
    case houseNumber, street, addressLine2, city, postalCode, region, country

    /// The name in explanations: the column's name in the CRM's interface.
    package var name: String {
        switch self {
        case .givenName: "given_name"
        case .familyName: "family_name"
        case .birthDate: "birth_date"
        case .identifier: "identifiers"
        case .email: "emails"
        case .phone: "phones"
        case .houseNumber: "house_number"
        case .street: "street"
        case .addressLine2: "address_line_2"
        case .city: "city"
        case .postalCode: "postal_code"
        case .region: "region"
        case .country: "country"
        }
    }

    /// The levels that a comparison of this field can give besides `missing`; a model has a probability for each.
    package var levels: [AgreementLevel] {
        switch self {
        case .givenName, .familyName: [.exact, .close, .similar, .partial, .swapped, .different]
        case .birthDate: [.exact, .close, .similar, .partial, .swapped, .different]
        case .identifier: [.exact, .close, .similar, .different]
        case .email, .phone: [.exact, .close, .partial, .different]
        case .houseNumber: [.exact, .close, .different]
        case .street, .addressLine2: [.exact, .close, .similar, .partial, .swapped, .different]
        case .city, .postalCode: [.exact, .close, .similar, .partial, .different]
        case .region, .country: [.exact, .close, .different]
        }
    }

    /// Whether agreeing on a rare value weighs more than agreeing on a common one (Winkler 1989, frequency-based
    /// matching).
    package var weighsRareValues: Bool {
        switch self {
        case .givenName, .familyName, .email, .phone, .street, .city: true
        default: false
        }
    }
}

/// How well two values of one field agree. The raw values are stored in patterns (three bits each).
package enum AgreementLevel: Int, CaseIterable, Codable, Sendable {
    /// At least one side has no value: weight 0.
    case missing = 0
    case exact = 1
    /// One slip of the keyboard, or two in a long text.
    case close = 2
    /// Several slips, or a sound-alike.
    case similar = 3
    /// A part agrees: an initial, the year of a date, the local part of an e-mail, the start of a postcode.
    case partial = 4
    /// The values agree crosswise with the neighbouring field, or day and month are transposed.
    case swapped = 5
    case different = 6

    /// The name in explanations.
    package var name: String { String(describing: self) }
}

/// The agreement levels of one pair in all fields, three bits each: equal patterns are equal evidence, which lets
/// the fit count patterns instead of keeping pairs.
struct AgreementPattern: Hashable, Comparable, Sendable {
    var bits: UInt64 = 0

    subscript(field: MatchField) -> AgreementLevel {
        get { AgreementLevel(rawValue: level(at: field.rawValue)) ?? .missing }
        set {
            let shift = UInt64(field.rawValue * 3)
            bits = bits & ~(7 << shift) | UInt64(newValue.rawValue) << shift
        }
    }

    /// The raw level of the field with that raw value, 0...6.
    func level(at field: Int) -> Int { Int(bits >> UInt64(field * 3) & 7) }

    static func < (left: Self, right: Self) -> Bool { left.bits < right.bits }
}

import Foundation

/// People ready to be compared: folded, interned, in contiguous arrays. About 250 bytes a typical person, so that a
/// tenant of 100,000 fits in memory; feed it page by page and drop the raw profiles.
package struct PreparedProfiles: Sendable {
    /// One person's values as ids of the pool.
    struct Row: Sendable {
        var given = ValuePool.none
        var family = ValuePool.none
        var house = ValuePool.none
        var street = ValuePool.none
        var line2 = ValuePool.none
        var city = ValuePool.none
        var postalCode = ValuePool.none
        var region = ValuePool.none
        var country = ValuePool.none
        var birthDate = PackedDate.none
        /// Where e-mails, phones and identifiers begin in `listed`, in this order.
        var listStart: UInt32 = 0
        var emailCount: UInt8 = 0
        var phoneCount: UInt8 = 0
        var identifierCount: UInt8 = 0

        var emails: Range<Int> { Int(listStart)..<Int(listStart) + Int(emailCount) }
        var phones: Range<Int> { emails.upperBound..<emails.upperBound + Int(phoneCount) }
        var identifiers: Range<Int> { phones.upperBound..<phones.upperBound + Int(identifierCount) }
    }

    /// In the order they were appended.
    package private(set) var ids: [UUID] = []
    private(set) var rows: [Row] = []
    private(set) var listed: [ValuePool.ID] = []
    private(set) var pool = ValuePool()
    private var scratch = FoldedText()

    /// Longer lists are cut: the work per pair is bounded.
    static let maxListed = 8

    /// Nobody yet.
    package init() {}

    /// Everybody in `profiles`, in order.
    package init(_ profiles: some Sequence<MatchProfile>) {
        self.init()
        for profile in profiles { append(profile) }
        seal()
    }

    /// How many people.
    package var count: Int { rows.count }

    /// Adds one person at the end. Costs a few microseconds, whatever the length of the values.
    package mutating func append(_ profile: MatchProfile) {
        let name = NameParts(profile)
        let address = AddressParts(profile)
        var row = Row()
        row.given = intern(name.given, .text)
        row.family = intern(name.family, .text)
        row.house = intern(address.house, .alphanumeric)
        row.street = intern(address.street, .text)
        row.line2 = intern(address.line2, .text)
        row.city = intern(address.city, .text)
        row.postalCode = intern(address.postalCode, .alphanumeric)
        row.region = intern(profile.region, .text)
        row.country = intern(profile.country, .text)
        row.birthDate = PackedDate(profile.birthDate)
        row.listStart = UInt32(listed.count)
        row.emailCount = list(profile.emails, .email)
        row.phoneCount = list(profile.phones, .digits)
        row.identifierCount = list(profile.identifiers, .alphanumeric)
        ids.append(profile.id)
        rows.append(row)
    }

    /// Call after the last `append`: frees the table that interning needs.
    package mutating func seal() { pool.seal() }

    private mutating func intern(_ raw: String?, _ kind: FoldedText.Kind) -> ValuePool.ID {
        guard let raw else { return ValuePool.none }
        scratch.fold(raw, as: kind)
        // Spaces inside a code are noise, so codes are one word each.
        if kind == .alphanumeric || kind == .digits { scratch.wordStarts = 1 }
        return pool.intern(scratch)
    }

    private mutating func list(_ raw: [String], _ kind: FoldedText.Kind) -> UInt8 {
        var count: UInt8 = 0
        for value in raw.prefix(Self.maxListed) {
            let id = intern(value, kind)
            if id == ValuePool.none { continue }
            listed.append(id)
            count += 1
        }
        return count
    }

    /// The value of a field as it was compared, for explanations; lists are joined with ", ".
    func text(_ index: Int, _ field: MatchField) -> String? {
        let row = rows[index]
        switch field {
        case .givenName: return pool.text(row.given)
        case .familyName: return pool.text(row.family)
        case .birthDate: return row.birthDate.text
        case .identifier: return text(of: row.identifiers)
        case .email: return text(of: row.emails)
        case .phone: return text(of: row.phones)
        case .houseNumber: return pool.text(row.house)
        case .street: return pool.text(row.street)
        case .addressLine2: return pool.text(row.line2)
        case .city: return pool.text(row.city)
        case .postalCode: return pool.text(row.postalCode)
        case .region: return pool.text(row.region)
        case .country: return pool.text(row.country)
        }
    }

    private func text(of range: Range<Int>) -> String? {
        range.isEmpty ? nil : listed[range].compactMap(pool.text).joined(separator: ", ")
    }
}

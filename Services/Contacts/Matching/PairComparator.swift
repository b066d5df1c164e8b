/// Compares two prepared people field by field.
struct PairComparator: Sendable {
    let profiles: PreparedProfiles

    /// Symmetric in the two people. About a microsecond; allocates nothing.
    func pattern(_ left: Int, _ right: Int) -> AgreementPattern {
        let one = profiles.rows[left]
        let other = profiles.rows[right]
        let pool = profiles.pool
        var pattern = AgreementPattern()
        let names = Self.crossable(
            (one.given, one.family), (other.given, other.family), compare: { pool.nameAgreement($0, $1) })
        pattern[.givenName] = names.0
        pattern[.familyName] = names.1
        if names.0.isWeak && names.1.isWeak && sameWhole(one, other) {
            pattern[.givenName] = .swapped
            pattern[.familyName] = .swapped
        }
        let lines = Self.crossable(
            (one.street, one.line2), (other.street, other.line2), compare: { pool.lineAgreement($0, $1) })
        pattern[.street] = lines.0
        pattern[.addressLine2] = lines.1
        pattern[.birthDate] = PackedDate.agreement(one.birthDate, other.birthDate)
        pattern[.houseNumber] = Self.slip(pool.codeAgreement(one.house, other.house))
        pattern[.city] = pool.placeAgreement(one.city, other.city)
        pattern[.postalCode] = pool.codeAgreement(one.postalCode, other.postalCode)
        pattern[.region] = Self.slip(pool.codeAgreement(one.region, other.region))
        pattern[.country] = Self.slip(pool.codeAgreement(one.country, other.country))
        pattern[.email] = emailAgreement(one, other)
        pattern[.phone] = best(one.phones, other.phones) { pool.phoneAgreement($0, $1) }
        let identifier = best(one.identifiers, other.identifiers) { pool.codeAgreement($0, $1) }
        pattern[.identifier] = identifier == .partial ? .different : identifier
        return pattern
    }

    /// The same local part elsewhere says nothing new where both people's names are in it: "michael.williams" is what
    /// every Michael Williams would choose.
    private func emailAgreement(_ one: PreparedProfiles.Row, _ other: PreparedProfiles.Row) -> AgreementLevel {
        let pool = profiles.pool
        let level = best(one.emails, other.emails) { pool.emailAgreement($0, $1) }
        guard level == .partial else { return level }
        let isNamed = { (row: PreparedProfiles.Row) in
            row.emails.contains { place in
                pool.isName(row.family, partOf: profiles.listed[place])
                    || pool.isName(row.given, partOf: profiles.listed[place])
            }
        }
        return isNamed(one) && isNamed(other) ? .missing : .partial
    }

    /// Two neighbouring fields that people mix up. They count as swapped where they agree crosswise, clearly better
    /// than straight; then the second field is given the better of the two cross agreements, on whichever side it
    /// lies, so that the result does not depend on the order of the people. The second, because where one name agrees
    /// only it is likelier the family's.
    private static func crossable(
        _ left: (ValuePool.ID, ValuePool.ID), _ right: (ValuePool.ID, ValuePool.ID),
        compare: (ValuePool.ID, ValuePool.ID) -> AgreementLevel
    ) -> (AgreementLevel, AgreementLevel) {
        let first = compare(left.0, right.0)
        let second = compare(left.1, right.1)
        let straight = first.strength + second.strength
        if straight >= 4 { return (first, second) }
        let crossed = compare(left.0, right.1)
        let crossedBack = compare(left.1, right.0)
        guard max(crossed.strength, crossedBack.strength) >= 3,
            crossed.strength + crossedBack.strength > straight + 1
        else { return (first, second) }
        let weaker = crossed.strength < crossedBack.strength ? crossed : crossedBack
        return (weaker.strength >= 3 ? .swapped : weaker, .swapped)
    }

    /// Whether the names are the same when written together ("Anna Maria" + "Lee", "Anna" + "Maria Lee"), or in the
    /// other order.
    private func sameWhole(_ one: PreparedProfiles.Row, _ other: PreparedProfiles.Row) -> Bool {
        let pool = profiles.pool
        return pool.withUnits(one.given) { given in
            pool.withUnits(one.family) { family in
                pool.withUnits(other.given) { otherGiven in
                    pool.withUnits(other.family) { otherFamily in
                        let count = given.count + family.count
                        guard count >= 3, count == otherGiven.count + otherFamily.count else { return false }
                        return Self.sameJoined((given, family), (otherGiven, otherFamily))
                            || Self.sameJoined((family, given), (otherFamily, otherGiven))
                            || Self.sameJoined((given, family), (otherFamily, otherGiven))
                            || Self.sameJoined((family, given), (otherGiven, otherFamily))
                    }
                }
            }
        }
    }

    private typealias Joined = (UnsafeBufferPointer<UInt16>, UnsafeBufferPointer<UInt16>)

    private static func sameJoined(_ left: Joined, _ right: Joined) -> Bool {
        func unit(_ joined: Joined, _ index: Int) -> UInt16 {
            index < joined.0.count ? joined.0[index] : joined.1[index - joined.0.count]
        }
        for index in 0..<left.0.count + left.1.count where unit(left, index) != unit(right, index) { return false }
        return true
    }

    /// The best agreement of any two values of two lists.
    private func best(
        _ left: Range<Int>, _ right: Range<Int>, _ compare: (ValuePool.ID, ValuePool.ID) -> AgreementLevel
    ) -> AgreementLevel {
        var best = AgreementLevel.missing
        for one in left {
            for other in right {
                let level = compare(profiles.listed[one], profiles.listed[other])
                if level == .exact { return .exact }
                if best == .missing || level.rawValue < best.rawValue { best = level }
            }
        }
        return best
    }

    /// For short values two slips are no agreement.
    private static func slip(_ level: AgreementLevel) -> AgreementLevel {
        level == .similar || level == .partial ? .different : level
    }
}

extension AgreementLevel {
    /// How much it says, to choose between straight and crosswise agreement.
    fileprivate var strength: Int {
        switch self {
        case .exact: 4
        case .close: 3
        case .similar, .partial: 1
        default: 0
        }
    }

    fileprivate var isWeak: Bool { strength <= 1 }
}

import Foundation

/// The keys under which a person can be found: two people are compared only where they share one. There are enough
/// kinds that one or two bad fields do not hide a pair.
package struct BlockingKeys: Sendable {
    /// Strongest first: a pair is compared in the first block that it shares. Raw values go into stored keys.
    enum Kind: UInt64, CaseIterable {
        case identifier = 1, email, phone, localPart, birthDate, names, nameParts
        case nameAndYear, nameAndPostalCode, address, nameAndStreet, nameAndCity, lineAndPostalCode, identifierHalf
        case nameAndDay
    }

    let profiles: PreparedProfiles

    /// The keys of one person, without repeats, at most about 80 and typically 20. The same in every run and on every
    /// machine, so they may be stored and looked up when a contact is created; they change with
    /// `MatchModel.currentFormula`.
    package static func keys(of profile: MatchProfile) -> [UInt64] {
        let blocking = BlockingKeys(profiles: PreparedProfiles([profile]))
        var keys: [UInt64] = []
        let names = blocking.codes(of: 0)
        for kind in Kind.allCases { blocking.append(kind, of: 0, names, to: &keys) }
        var seen: Set<UInt64> = []
        return keys.filter { seen.insert($0).inserted }
    }

    /// Sounds of the values that several kinds of key are made of; 0 where missing.
    struct Codes: Sendable {
        var given: UInt32
        var family: UInt32
        var street: UInt32
        var line2: UInt32
        var city: UInt32
    }

    func codes(of index: Int) -> Codes {
        let row = profiles.rows[index]
        return Codes(
            given: code(row.given), family: code(row.family), street: code(row.street), line2: code(row.line2),
            city: code(row.city))
    }

    private func code(_ id: ValuePool.ID) -> UInt32 { profiles.pool.withUnits(id, PhoneticCode.code) }

    /// Appends the person's keys of one kind.
    func append(_ kind: Kind, of index: Int, _ codes: Codes, to keys: inout [UInt64]) {
        let row = profiles.rows[index]
        let pool = profiles.pool
        let date = row.birthDate
        let names = [codes.given, codes.family]
        func add(_ first: UInt64, _ second: UInt64 = 0) { keys.append(Self.key(kind, first, second)) }
        func hash(_ id: ValuePool.ID) -> UInt64 { pool.values[Int(id)].hash }
        switch kind {
        case .identifier:
            for place in row.identifiers { add(hash(profiles.listed[place])) }
        case .email:
            for place in row.emails { add(hash(profiles.listed[place])) }
        case .phone:
            for place in row.phones { add(pool.withUnits(profiles.listed[place]) { Self.hash($0.suffix(8)) }) }
        case .localPart:
            for place in row.emails {
                pool.withUnits(profiles.listed[place]) { units in
                    let local = EmailParts.local(units)
                    if EmailParts.isPersonal(local) { add(Self.hash(local)) }
                }
            }
        case .birthDate:
            if date != .none {
                add(UInt64(date.year), UInt64(min(date.month, date.day) * 100 + max(date.month, date.day)))
            }
        case .names:
            let (low, high) = (min(codes.given, codes.family), max(codes.given, codes.family))
            if high != 0 { add(UInt64(low), UInt64(high)) }
        case .nameParts:
            appendNameParts(row, to: &keys)
        case .nameAndYear:
            if date != .none { for name in names where name != 0 { add(UInt64(name), UInt64(date.year)) } }
        case .nameAndDay:
            if date != .none {
                for name in names where name != 0 { add(UInt64(name), UInt64(date.month * 100 + date.day)) }
            }
        case .nameAndPostalCode:
            if row.postalCode != ValuePool.none {
                for name in names where name != 0 { add(UInt64(name), hash(row.postalCode)) }
            }
        case .address:
            if row.house != ValuePool.none {
                for line in [codes.street, codes.line2] where line != 0 { add(UInt64(line), hash(row.house)) }
            }
        case .nameAndStreet:
            for name in names where name != 0 {
                for line in [codes.street, codes.line2] where line != 0 { add(UInt64(name), UInt64(line)) }
            }
        case .nameAndCity:
            if codes.city != 0 { for name in names where name != 0 { add(UInt64(name), UInt64(codes.city)) } }
        case .lineAndPostalCode:
            if row.postalCode != ValuePool.none {
                for line in [codes.street, codes.line2] where line != 0 { add(UInt64(line), hash(row.postalCode)) }
            }
        case .identifierHalf:
            for place in row.identifiers {
                pool.withUnits(profiles.listed[place]) { units in
                    if units.count < 6 { return }
                    let half = units.count / 2
                    add(Self.hash(units.prefix(half)), 1)
                    add(Self.hash(units.dropFirst(half)), 2)
                }
            }
        }
    }

    /// The first letters of both names in either order, where sounds differ but beginnings do not; for Chinese names
    /// the family name with each character of the given name.
    private func appendNameParts(_ row: PreparedProfiles.Row, to keys: inout [UInt64]) {
        if row.given == ValuePool.none || row.family == ValuePool.none { return }
        let pool = profiles.pool
        pool.withUnits(row.given) { given in
            pool.withUnits(row.family) { family in
                if given[0] >= 0x2e80 {
                    for unit in given.prefix(4) where given.count > 1 {
                        keys.append(Self.key(.nameParts, UInt64(unit), Self.hash(family.prefix(4))))
                    }
                } else {
                    let one = Self.hash(given.prefix(3))
                    let other = Self.hash(family.prefix(3))
                    keys.append(Self.key(.nameParts, min(one, other), max(one, other)))
                }
            }
        }
    }

    private static func key(_ kind: Kind, _ first: UInt64, _ second: UInt64) -> UInt64 {
        var hash = FNVHash(seed: kind.rawValue)
        hash.combine(first)
        hash.combine(second)
        return hash.value
    }

    private static func hash(_ units: some Sequence<UInt16>) -> UInt64 {
        var hash = FNVHash()
        for unit in units { hash.combine(unit) }
        return hash.value
    }
}
